"""Turn what a caller gives (path, gzip, bzip2, file object) into one real file to read from."""

import bz2
import contextlib
import gzip
import mmap
import os
import shutil
import tempfile
import weakref
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from astro_vq.errors import FormatError

_COPY_BYTES = 1 << 20
_FOREIGN = {
    b"\x1f\x9d": "is compressed by Unix compress (.Z); run gunzip on it first",
    b"\x1f\xa0": "is compressed by Unix compress (.Z); run gunzip on it first",
    b"\xfd7zXZ": "is compressed by xz; run unxz on it first",
    b"PK\x03\x04": "is a zip archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed by zstandard; run unzstd on it first",
    b"\x89HDF": "is an HDF5 file; give it as --hdf5 FILE::DATASET",
    b"\x89PNG": "is a PNG picture, not FITS",
    b"\xff\xd8\xff": "is a JPEG picture, not FITS",
    b"<": "is an HTML or XML page, not FITS; was the download refused?",
    b"version https://git-lfs": "is a git-lfs pointer, not the file itself; run git lfs pull",
}


class Source:
    """A real file opened for reading at any place; closed when nothing refers to it any more.

    Parameters
    ----------
    descriptor : int
        Open file descriptor; this object owns it.
    name : str
        Name for messages.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._close()

    @property
    def closed(self) -> bool:
        """Whether the file has been closed."""
        return not self._close.alive

    def map(self, start: int, n_bytes: int) -> memoryview:
        """Return a read-only view of bytes of the file; only those that are used get read.

        Raises
        ------
        ValueError
            The file is closed.
        FormatError
            The bytes lie beyond the end of the file.
        """
        if self.closed:
            raise ValueError(f"{self.name}: the file is closed")
        if start < 0 or n_bytes < 0 or start + n_bytes > self.size:
            raise FormatError(
                f"{self.name}: bytes {start} to {start + n_bytes} asked, the file has {self.size}"
            )
        if n_bytes == 0:
            return memoryview(b"")
        aligned = start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        view = mmap.mmap(
            self._descriptor, start - aligned + n_bytes, access=mmap.ACCESS_READ, offset=aligned
        )
        return memoryview(view)[start - aligned :]

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of the file; fewer at its end."""
        start = min(start, self.size)
        return bytes(self.map(start, min(n_bytes, self.size - start)))


def open_source(path: str | os.PathLike[str] | BinaryIO) -> Source:
    """Open a file, unpacking gzip and bzip2 (told by content) to an unlinked temporary file.

    Parameters
    ----------
    path : path-like or binary file object
        A file object is read from its current position to its end, and left open.

    Raises
    ------
    FormatError
        Empty, damaged compression, or a kind of file that is known not to be FITS.
    OSError
        The file cannot be opened or there is no room to unpack it.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(path, str | os.PathLike):
            file: BinaryIO = stack.enter_context(Path(path).open("rb"))
            name = os.fspath(path)
        else:
            given = getattr(path, "name", None)
            name = given if isinstance(given, str) else "<file object>"
            file = stack.enter_context(tempfile.TemporaryFile())
            _copy(path, file, name)
        head = file.read(32)
        file.seek(0)
        _refuse_foreign(head, name)
        packed: Any = None
        if head[:2] == b"\x1f\x8b":
            packed = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
        elif head[:3] == b"BZh":
            packed = stack.enter_context(bz2.BZ2File(file))
        if packed is not None:
            file = stack.enter_context(tempfile.TemporaryFile())
            _copy(packed, file, name)
            _refuse_foreign(file.read(32), name)
        return Source(os.dup(file.fileno()), name)


def _refuse_foreign(head: bytes, name: str) -> None:
    if not head:
        raise FormatError(f"{name} is empty; fetch it again")
    for magic, remedy in _FOREIGN.items():
        if head.startswith(magic):
            raise FormatError(f"{name} {remedy}")


def _copy(stream: BinaryIO, file: BinaryIO, name: str) -> None:
    """Copy a stream, chunk by chunk, to a temporary file that has no name."""
    try:
        shutil.copyfileobj(stream, file, _COPY_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise FormatError(
            f"{name}: the compressed file is damaged or cut off ({err}); fetch it again"
        ) from err
    except OSError as err:
        if err.errno is not None:  # of the system: no room, no permission
            raise
        raise FormatError(
            f"{name}: the compressed file is damaged ({err}); fetch it again"
        ) from err
    file.flush()
    file.seek(0)
