"""Where the bytes of an `.avq` file come from: a local file, a file object, or a URL.

Readers ask for bytes by place, and may say beforehand which ones they will ask for, so that a
remote source can fetch them together. All sources may be used by several threads at once, and go
to other processes by pickle, where they are opened again when they are first read.
"""

import io
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from astro_vq.errors import FormatError
from astro_vq.io.remote import RemoteFile

Range = tuple[int, int]
"""First byte and number of bytes."""


class ByteSource(Protocol):
    """Bytes that can be read from any place.

    Attributes
    ----------
    name : str
        For messages.
    size : int
        Number of bytes.
    """

    name: str
    size: int

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return bytes, fewer where the source ends.

        Raises
        ------
        ValueError
            The source is closed.
        OSError
            They cannot be read.
        """
        ...

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Say which bytes will be read next; what is slow to ask for one by one is fetched."""
        ...

    def close(self) -> None:
        """Close what was opened here; closing twice does nothing."""
        ...


class LocalFile:
    """A file by its name.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    OSError
        It cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = str(Path(path))
        self._path = os.path.abspath(path)  # noqa: PTH100 - keeps symbolic links as they are
        self._lock = threading.Lock()
        self._closed = False
        self._descriptor: int | None = None
        self.size = os.fstat(self._opened()).st_size

    def _opened(self) -> int:
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.name}: the file is closed")
            if self._descriptor is None:
                try:
                    self._descriptor = os.open(self._path, os.O_RDONLY)
                except OSError as err:
                    err.filename = self.name  # as it was given
                    raise
                self._release = weakref.finalize(self, os.close, self._descriptor)
            return self._descriptor

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of the file."""
        descriptor = self._opened()
        parts = []
        while n_bytes > 0:  # the system may return less than was asked for
            part = os.pread(descriptor, n_bytes, start)
            if not part:
                break
            parts.append(part)
            start += len(part)
            n_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Do nothing: the system reads ahead."""

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            if self._descriptor is not None:
                self._release()
                self._descriptor = None

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_path": self._path, "size": self.size, "_closed": self._closed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()
        self._descriptor = None


class FileObject:
    """A seekable binary file that was opened by someone else, and stays open.

    Parameters
    ----------
    file : binary file object
        The file; it is read from its beginning, wherever it stands.
    name : str, optional
        For messages; by default what the file calls itself.
    """

    def __init__(self, file: BinaryIO, name: str = "") -> None:
        self.name = name or name_of(file)
        self._file = file
        self._lock = threading.Lock()
        self.size = file.seek(0, os.SEEK_END)

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of the file."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(n_bytes)

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Do nothing: the file knows best."""

    def close(self) -> None:
        """Do nothing: whoever opened the file closes it."""

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._file, io.FileIO | io.BufferedReader | io.BufferedRandom):
            raise TypeError(
                f"{self.name}: an open file cannot go to another process; open it by its name"
            )
        return {"name": self.name, "size": self.size, "_file": self._file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()


def open_bytes(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    storage_options: Mapping[str, Any] | None = None,
) -> ByteSource:
    """Return the bytes of a file, by name, URL, or as it is open already.

    Parameters
    ----------
    source : path, URL or binary file object
        Names with ``://`` are URLs, which are read by `fsspec`.
    storage_options : mapping, optional
        For `fsspec`: what the storage of a URL needs to know, such as ``{"anon": True}``.

    Raises
    ------
    FormatError
        The file object cannot seek.
    DataError
        A package that the URL needs is not installed.
    OSError
        It cannot be opened.
    """
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return RemoteFile(name, storage_options) if is_url(name) else LocalFile(name)
    try:
        return FileObject(source)
    except (OSError, AttributeError) as err:
        raise FormatError(
            f"{name_of(source)}: cannot seek in it; write it to a file first, or read it into "
            "io.BytesIO"
        ) from err


def is_url(name: str | os.PathLike[str]) -> bool:
    """Whether a name is a URL, and not that of a local file."""
    return "://" in os.fspath(name)


def name_of(file: object) -> str:
    """Return what to call a file object in messages."""
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "<file object>"
