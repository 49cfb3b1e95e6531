"""Files behind a URL, read by ranges of bytes through fsspec, with a small cache.

What is asked for is fetched with some bytes more, since headers and rows lie close together, and
ranges that are announced are fetched in one go: those near each other as one, the others at the
same time. Local files can be read this way too (``file://``), which the tests use.
"""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from astro_vq.errors import AstroVQWarning, DataError

READ_AHEAD = 2**14
"""Least bytes of a request that was not announced."""

LARGEST_GAP = 2**14
"""Bytes that are read for nothing rather than asked for in a second request."""

CACHE_BYTES = 2**24
"""Bytes that are kept; the latest request is, however long."""

_EXTRAS = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


class RemoteFile:
    """A file behind a URL.

    Parameters
    ----------
    url : str
        Anything that fsspec knows: ``https://``, ``s3://``, ``simplecache::https://``.
    storage_options : mapping, optional
        What fsspec's file system takes.

    Attributes
    ----------
    name : str
        The URL.
    size : int
        Bytes of the file.

    Raises
    ------
    DataError
        fsspec, or the package that it needs for this kind of URL, is not installed.
    OSError
        The file cannot be found or read.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.name = url
        self._options = dict(storage_options or {})
        self._start()
        self.size = self._ask_size()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._system: Any = None
        self._path = ""
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._closed = False

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of the file, fewer at its end."""
        n_bytes = min(n_bytes, self.size - start)
        if n_bytes <= 0:
            return b""
        found = self._cached(start, n_bytes)
        if found is None:
            self._fetch([(start, max(n_bytes, READ_AHEAD))])
            found = self._cached(start, n_bytes)
        if found is None:  # pushed out by another thread
            first, piece = next(iter(self._request([(start, n_bytes)]).items()))
            found = piece[start - first : start - first + n_bytes]
        return found

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch bytes that will be read next."""
        wanted = [part for part in ranges if part[1] > 0 and self._cached(*part) is None]
        self._fetch(merge_ranges(wanted, LARGEST_GAP))

    def close(self) -> None:
        """Forget what was read; connections are fsspec's, and shared."""
        with self._lock:
            self._closed = True
            self._pieces.clear()

    def _cached(self, start: int, n_bytes: int) -> bytes | None:
        """Return bytes that are here already, or None."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.name}: the file is closed")
            for first, piece in self._pieces.items():
                if first <= start and start + n_bytes <= first + len(piece):
                    self._pieces.move_to_end(first)
                    return piece[start - first : start - first + n_bytes]
        return None

    def _fetch(self, ranges: list[tuple[int, int]]) -> None:
        """Put some ranges into the cache."""
        ranges = [(start, min(n_bytes, self.size - start)) for start, n_bytes in ranges]
        ranges = [part for part in ranges if part[1] > 0]
        if not ranges:
            return
        pieces = self._request(ranges)
        with self._lock:
            for start, piece in pieces.items():
                if len(piece) > len(self._pieces.get(start, b"")):
                    self._pieces[start] = piece
                self._pieces.move_to_end(start)
            held = sum(map(len, self._pieces.values()))
            for start in list(self._pieces):
                if held <= CACHE_BYTES or start in pieces:
                    break
                held -= len(self._pieces.pop(start))

    def _request(self, ranges: list[tuple[int, int]]) -> dict[int, bytes]:
        """Return what the server gives, by first byte."""
        starts = [start for start, _ in ranges]
        ends = [start + n_bytes for start, n_bytes in ranges]
        system = self._connected()
        try:
            got = system.cat_ranges([self._path] * len(ranges), starts, ends, on_error="raise")
        except Exception as err:
            raise self._failure(err) from err
        pieces = {}
        for start, end, piece in zip(starts, ends, got, strict=True):
            if len(piece) == self.size > end - start:
                warnings.warn(
                    f"{self.name}: the server gives whole files only; all {self.size} bytes were "
                    "read",
                    AstroVQWarning,
                    stacklevel=2,
                )
                return {0: bytes(piece)}
            if len(piece) != end - start:
                raise OSError(
                    f"{self.name}: {len(piece)} bytes came where {end - start} were asked for; "
                    "has the file changed?"
                )
            pieces[start] = bytes(piece)
        return pieces

    def _ask_size(self) -> int:
        system = self._connected()
        try:
            size = system.size(self._path)
        except Exception as err:
            raise self._failure(err) from err
        if size is None:
            raise OSError(f"{self.name}: the server does not say how long the file is; download it")
        return int(size)

    def _connected(self) -> Any:  # noqa: ANN401 - a file system of fsspec, which has no types
        with self._lock:
            if self._system is None:
                self._system, self._path = _connect(self.name, self._options)
            return self._system

    def _failure(self, err: Exception) -> Exception:
        """Return an error that names the URL."""
        cause = err.__cause__
        missing = cause is None or getattr(cause, "status", 0) == 404
        if isinstance(err, FileNotFoundError) and missing:
            return FileNotFoundError(f"{self.name}: there is no such file")
        shown = cause or err  # over HTTP, fsspec takes whatever goes wrong for a missing file
        text = str(shown) or type(shown).__name__
        return OSError(f"{self.name}: cannot be read: {text}")

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_options": self._options, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._start()


def merge_ranges(ranges: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Return ranges in order, with those joined that are at most `gap` bytes apart."""
    merged: list[tuple[int, int]] = []
    for start, n_bytes in sorted(ranges):
        if merged and start <= sum(merged[-1]) + gap:
            first, length = merged[-1]
            merged[-1] = first, max(length, start + n_bytes - first)
        else:
            merged.append((start, n_bytes))
    return merged


def _connect(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    scheme = url.partition("://")[0].rpartition("::")[2].lower()
    needed = _EXTRAS.get(scheme)
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # an optional package
    except ImportError as err:
        raise DataError(
            f'{url}: reading URLs needs the package fsspec: pip install "astro-vq[remote]"'
        ) from err
    try:
        system, path = url_to_fs(url, **options)
    except ImportError as err:
        extra = "astro-vq[remote]" if needed in (None, "aiohttp") else needed
        raise DataError(
            f'{url}: reading {scheme}:// needs another package ({err}): pip install "{extra}"'
        ) from err
    except ValueError as err:
        raise DataError(f"{url}: this kind of URL is not known: {err}") from err
    return system, path
