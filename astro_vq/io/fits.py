"""Open FITS files: every HDU byte for byte, images a rectangle at a time.

The file is walked by the raw cards of its headers, so that what is odd but harmless (duplicate
or damaged cards, bytes that are no ASCII, padding that is no blanks) is kept and does no harm,
and what is damaged beyond use is refused with file, HDU and reason.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), section 3.
"""

import os
from typing import BinaryIO, Self

from astro_vq.errors import FormatError
from astro_vq.io.cards import BLOCK_BYTES, find_end, padded_size
from astro_vq.io.fits_hdu import FitsHDU
from astro_vq.io.fits_structure import Kind
from astro_vq.io.source import Source, open_source

__all__ = ["LARGEST_TRAILING", "FitsFile", "FitsHDU", "Kind", "open_fits"]

LARGEST_TRAILING = 64 * 2**20
"""Bytes that may follow the last HDU; more is taken for damage."""

_LARGEST_HEADER = 64 * 2**20
_HEADER_PIECE = 10 * BLOCK_BYTES


class FitsFile:
    """An open FITS file; a context manager.

    It closes when the block ends, by `close`, or when neither it nor an HDU is used any more.

    Parameters
    ----------
    source : Source
        The file.

    Attributes
    ----------
    hdus : tuple of FitsHDU
        All HDUs, in order.
    path : str
        Name as given.
    trailing : bytes
        What follows the last HDU; b'' in most files, at most `LARGEST_TRAILING` bytes.
    size : int
        Bytes of the file, unpacked; padding that its last block lacks is counted.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path = source.name
        self.hdus, end = _walk(source)
        self.size = max(source.size, end)
        if self.size - end > LARGEST_TRAILING:
            raise FormatError(
                f"{self.path}: {self.size - end} bytes after HDU {len(self.hdus) - 1} are no FITS "
                "(they do not begin with XTENSION); the file is damaged, fetch it again"
            )
        self.trailing = source.read(end, self.size - end)

    @property
    def name(self) -> str:
        """File name without folders."""
        return os.path.basename(self.path)  # noqa: PTH119 - not always a path

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kinds = ", ".join(hdu.kind for hdu in self.hdus)
        return f"<FitsFile {self.path!r}: {kinds}>"


def open_fits(path: str | os.PathLike[str] | BinaryIO) -> FitsFile:
    """Open a FITS file.

    Files packed by gzip or bzip2 (told by their content, whatever their name) are unpacked to a
    temporary file that has no name.

    Parameters
    ----------
    path : path-like or binary file object
        A file object is read from where it stands to its end.

    Returns
    -------
    FitsFile
        A context manager.

    Raises
    ------
    FormatError
        Not FITS, damaged, or cut off; the message names file, HDU and what would help.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> file = io.BytesIO()
    >>> fits.PrimaryHDU(np.arange(6, dtype="int16").reshape(2, 3)).writeto(file)
    >>> _ = file.seek(0)
    >>> with open_fits(file) as opened:
    ...     hdu = opened.hdus[0]
    ...     print(hdu.kind, hdu.shape, hdu.read_stored(0, slice(1, 2), slice(0, 2)))
    image (2, 3) [[3 4]]
    """
    source = open_source(path)
    try:
        return FitsFile(source)
    except BaseException:
        source.close()
        raise


def _walk(source: Source) -> tuple[tuple[FitsHDU, ...], int]:
    """Return all HDUs, and where the last one ends."""
    start = source.read(0, 30)
    if not start.startswith(b"SIMPLE") or b"=" not in start[:10]:
        shown = start[:16].decode("latin-1")
        raise FormatError(
            f"{source.name} is not a FITS file: it begins with {shown!r}, not with 'SIMPLE  ='"
        )
    hdus: list[FitsHDU] = []
    position = 0
    while not hdus or source.read(position, 8) == b"XTENSION":
        where = f"{source.name}: HDU {len(hdus)}"
        hdu = FitsHDU(source, len(hdus), position, _read_header(source, position, where))
        missing = hdu.data_offset + hdu.data_bytes - source.size
        if missing > 0:
            raise FormatError(
                f"{where}: the file is cut off: {missing} of {hdu.data_bytes} bytes of data are "
                "missing; fetch it again"
            )
        hdus.append(hdu)
        position = hdu.data_offset + padded_size(hdu.data_bytes)
    return tuple(hdus), position


def _read_header(source: Source, start: int, where: str) -> bytes:
    """Return a header with END and padding."""
    header = b""
    searched = 0
    while len(header) < _LARGEST_HEADER:
        piece = source.read(start + len(header), _HEADER_PIECE)
        header += piece
        end = find_end(header[searched:])
        if end is not None:
            size = padded_size(searched + end + 80)
            header += source.read(start + len(header), max(size - len(header), 0))
            if len(header) < size:
                raise FormatError(
                    f"{where}: the file is cut off within the header: {size - len(header)} bytes "
                    "are missing; fetch it again"
                )
            return header[:size]
        if len(piece) < _HEADER_PIECE:
            break
        searched = len(header) // BLOCK_BYTES * BLOCK_BYTES
    raise FormatError(
        f"{where}: the header has no END card within {len(header)} bytes; the file is damaged or "
        "cut off, fetch it again"
    )
