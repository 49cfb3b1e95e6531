"""One HDU of a FITS file: its bytes, its header, and its pixels a rectangle at a time."""

import math
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from numpy.typing import NDArray

from astro_vq.errors import DataError
from astro_vq.io import cards as card_io
from astro_vq.io.compressed_header import DEFAULT_NAME, image_header
from astro_vq.io.fits_compressed import CompressedImage
from astro_vq.io.fits_pixels import check_window, plane_shape, read_window, to_physical
from astro_vq.io.fits_structure import DTYPES, Kind, first_cards, read_structure, text_of
from astro_vq.io.source import Source
from astro_vq.io.tile_quantization import TileQuantization

_CHUNK_BYTES = 2**20


class FitsHDU:
    """One HDU; made by `open_fits`.

    Nothing is read before it is asked for.  Bytes come as they are in the file; pixels come as
    *stored* values (no BSCALE, BZERO or BLANK applied), native-endian.

    Parameters
    ----------
    source : Source
        The file.
    index : int
        Number of the HDU; 0 is the primary one.
    start : int
        Where it begins in the file.
    raw_header : bytes
        Its header, END and padding included.

    Attributes
    ----------
    index : int
        Number of the HDU.
    raw_header : bytes
        Header as it is in the file, END and padding included.
    kind : {'image', 'compressed-image', 'table', 'empty'}
        'empty' is an image HDU without pixels; 'table' is all that is no image: tables, random
        groups, unknown extensions.
    shape : tuple of int
        Of the image, numpy order; () for tables.
    bitpix : int
        Of the image (of the pixels, when it is compressed).
    data_offset, data_bytes : int
        Where the data unit lies in the file, and its size without padding.
    """

    def __init__(self, source: Source, index: int, start: int, raw_header: bytes) -> None:
        self._source = source
        self._start = start
        self.index = index
        self.raw_header = raw_header
        self._cards = card_io.split_cards(raw_header)
        self._first = first_cards(self._cards)
        self._structure = read_structure(self._first, primary=index == 0, where=self.where)
        self.kind: Kind = self._structure.kind
        self.shape = self._structure.shape
        self.bitpix = self._structure.bitpix
        self.data_offset = start + len(raw_header)
        self.data_bytes = self._structure.data_bytes

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return f"{self._source.name}: HDU {self.index}"

    @property
    def name(self) -> str:
        """EXTNAME, else 'PRIMARY' for the first HDU and '' for others."""
        name = text_of(self._first, "EXTNAME")
        if self.kind == "compressed-image" and name == DEFAULT_NAME:
            name = ""
        return name or ("PRIMARY" if self.index == 0 else "")

    # bytes

    @property
    def raw_size(self) -> int:
        """Bytes of header and data unit that are in the file, padding included."""
        end = self.data_offset + card_io.padded_size(self.data_bytes)
        return min(end, self._source.size) - self._start

    @property
    def missing_padding(self) -> int:
        """Bytes that the file lacks to fill the last block; 0 in a valid file."""
        end = self.data_offset + card_io.padded_size(self.data_bytes)
        return max(end - self._source.size, 0)

    @cached_property
    def padding(self) -> bytes:
        """What fills the last block of the data unit; b'' when it is zeros, as it should be."""
        start = self.data_offset + self.data_bytes
        fill = self._source.read(start, card_io.padded_size(self.data_bytes) - self.data_bytes)
        return fill if any(fill) else b""

    def read_raw(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of the HDU as stored, counted from the start of its header.

        Fewer come back where the HDU ends.
        """
        start = min(max(start, 0), self.raw_size)
        return self._source.read(self._start + start, min(n_bytes, self.raw_size - start))

    def iter_raw(self, chunk: int = _CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the whole HDU as stored (header, data unit, padding) in pieces."""
        for start in range(0, self.raw_size, chunk):
            yield self.read_raw(start, chunk)

    @cached_property
    def header_bytes(self) -> bytes:
        """Header of the image, END and padding included.

        That of the file; of a compressed image, the header of the image extension that
        decompression gives.
        """
        if self.kind != "compressed-image":
            return self.raw_header
        return image_header(self._cards, self._structure)

    @cached_property
    def header(self) -> fits.Header:
        """Header of the image as astropy reads it, without the cards that it cannot read."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = fits.Header.fromstring(self.header_bytes)
            damaged = [i for i, card in enumerate(header.cards) if not _is_readable(card)]
            for i in reversed(damaged):
                del header[i]
        return header

    # what the header says about pixels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype, native-endian; unsigned integers by BZERO are signed here."""
        return np.dtype(DTYPES[self.bitpix])

    @property
    def bscale(self) -> float:
        """BSCALE; 1 where there is none or none that makes sense."""
        return self._number("BSCALE", 1.0) or 1.0

    @property
    def bzero(self) -> float:
        """BZERO; 0 where there is none or none that makes sense."""
        return self._number("BZERO", 0.0)

    @property
    def blank(self) -> int | None:
        """Stored value of missing pixels; None for floats and where there is no BLANK."""
        if self.bitpix < 0:
            return None
        names = ("BLANK", "ZBLANK") if self.kind == "compressed-image" else ("BLANK",)
        cards = (self._first[name] for name in names if name in self._first)
        return next((card_io.integer_value(card) for card in cards), None)

    @property
    def unit(self) -> str:
        """BUNIT, else ''."""
        return text_of(self._first, "BUNIT")

    def _number(self, name: str, default: float) -> float:
        value = card_io.float_value(self._first[name]) if name in self._first else None
        return default if value is None or not math.isfinite(value) else value

    # pixels

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of the planes; a 1-D image is one row."""
        return plane_shape(self.shape)

    @property
    def n_planes(self) -> int:
        """Number of planes: the product of the leading axes; 0 where there are no pixels."""
        return math.prod(self.shape[:-2]) if self.kind in ("image", "compressed-image") else 0

    @cached_property
    def _compressed(self) -> CompressedImage:
        return CompressedImage(
            self._source, self._cards, self._structure, self.data_offset, self.where
        )

    @property
    def quantization(self) -> TileQuantization | None:
        """How the floats of a compressed image were quantised; None where they were not."""
        return self._compressed.quantization if self.kind == "compressed-image" else None

    def read_stored(self, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
        """Return stored values of a rectangle of a plane.

        Parameters
        ----------
        plane : int
            Number of the plane, over all leading axes.
        ys, xs : slice
            Rows and columns, as for a list: cut at the edges.

        Returns
        -------
        ndarray (ny, nx)
            A copy of its own, of `dtype`: unscaled, NaN payloads and BLANK as they are.  For a
            compressed image, pixels as funpack gives them.

        Raises
        ------
        DataError
            The HDU has no pixels.
        IndexError
            There is no such plane.
        FormatError
            Compressed data are damaged.
        """
        if self.kind not in ("image", "compressed-image"):
            raise DataError(
                f"{self.where} holds no image (it is of kind {self.kind!r}); choose another HDU"
            )
        ys, xs = check_window(self.shape, plane, ys, xs, self.where)
        if self.kind == "compressed-image":
            return self._compressed.read(plane, ys, xs)
        return read_window(self._source, self.data_offset, self.dtype, self.shape, plane, ys, xs)

    def to_physical(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return physical values of stored ones: BSCALE and BZERO applied, NaN for BLANK.

        Parameters
        ----------
        stored : ndarray
            From `read_stored`.

        Returns
        -------
        ndarray of float32 or float64
            float32 where that holds every value exactly (BITPIX -32 unscaled; 8 and 16 unless
            scaled, also unsigned ones), else float64, in the unit `unit`.
        """
        return to_physical(stored, bscale=self.bscale, bzero=self.bzero, blank=self.blank)


def _is_readable(card: fits.Card) -> bool:
    """Whether astropy can read a card."""
    try:
        _ = card.keyword, card.value, card.comment
    except (VerifyError, ValueError, TypeError, LookupError):
        return False
    return True
