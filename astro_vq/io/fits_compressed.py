"""Pixels of tile-compressed images (ZIMAGE), as funpack gives them.

Astropy does the decompression.  It is handed a small virtual file with only those cards that
decompression needs, so that damaged or foreign cards elsewhere in the header do no harm.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), section 10.1.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from numpy.typing import NDArray

from astro_vq.errors import FormatError
from astro_vq.io import cards as card_io
from astro_vq.io.compressed_header import decompression_header, is_offset_plio, tile_height
from astro_vq.io.fits_pixels import plane_shape
from astro_vq.io.fits_structure import DTYPES, Structure, first_cards
from astro_vq.io.source import Source
from astro_vq.io.tile_quantization import TileQuantization, read_quantization

_BAND_BYTES = 128 * 2**20
_PLIO_OFFSET = np.uint16(0x8000)
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    VerifyError,
    struct.error,
    zlib.error,
)


class CompressedImage:
    """Reads pixels of one tile-compressed image.

    Parameters
    ----------
    source : Source
        The file.
    cards : sequence of bytes
        Header of the table.
    structure : Structure
        What they say.
    data_offset : int
        Where the data unit begins.
    where : str
        File and HDU, for messages.

    Attributes
    ----------
    quantization : TileQuantization or None
        How floats were quantised, if they were.
    """

    def __init__(
        self,
        source: Source,
        cards: Sequence[bytes],
        structure: Structure,
        data_offset: int,
        where: str,
    ) -> None:
        self._source = source
        self._structure = structure
        self._where = where
        self._header = decompression_header(cards)
        self._data_offset = data_offset
        self._tile_height = tile_height(cards, structure.shape, where)
        self.quantization: TileQuantization | None = read_quantization(
            source, cards, structure, data_offset, where
        )
        self._is_offset = is_offset_plio(first_cards(cards), structure)
        self._section: Any = None
        self._band: NDArray[Any] | None = None
        self._band_place = (-1, 0, 0)

    def read(self, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
        """Return a rectangle of a plane: stored values, integers unscaled.

        Whole rows of tiles are decompressed, and the last ones are kept, up to a bound.

        Raises
        ------
        FormatError
            The compressed data are damaged.
        """
        height, width = plane_shape(self._structure.shape)
        if ys.stop == ys.start or xs.stop == xs.start:
            return np.empty((ys.stop - ys.start, xs.stop - xs.start), self._dtype)
        step = self._tile_height
        y0, y1 = ys.start // step * step, min(-(-ys.stop // step) * step, height)
        if (y1 - y0) * width * self._dtype.itemsize > _BAND_BYTES:
            return np.ascontiguousarray(self._decompress(plane, ys, xs))
        kept_plane, kept_y0, kept_y1 = self._band_place
        if self._band is None or plane != kept_plane or not kept_y0 <= y0 <= y1 <= kept_y1:
            self._band = self._decompress(plane, slice(y0, y1), slice(0, width))
            self._band_place = (plane, y0, y1)
        top = self._band_place[1]
        return self._band[ys.start - top : ys.stop - top, xs].copy()

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(DTYPES[self._structure.bitpix])

    def _decompress(self, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
        shape = self._structure.shape
        leading = tuple(int(i) for i in np.unravel_index(plane, shape[:-2])) if shape[:-2] else ()
        index = (*leading, ys, xs) if len(shape) > 1 else (xs,)
        if self._source.closed:
            raise ValueError(f"{self._where}: the file is closed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if self._section is None:
                    self._section = self._open()
                pixels = np.asarray(self._section[index], dtype=self._dtype)
                pixels = pixels.reshape(ys.stop - ys.start, xs.stop - xs.start)
            except _DAMAGE as err:
                raise FormatError(
                    f"{self._where}: the compressed image is damaged ({err}); fetch it again, "
                    "or see whether funpack can read it"
                ) from err
        if self._is_offset:
            pixels = (pixels.view("uint16") ^ _PLIO_OFFSET).view("int16")
        return pixels

    def _open(self) -> Any:  # noqa: ANN401 - astropy has no types
        head = card_io.build_header(
            [
                card_io.format_card("SIMPLE", value=True),
                card_io.format_card("BITPIX", 8),
                card_io.format_card("NAXIS", 0),
                card_io.format_card("EXTEND", value=True),
            ]
        )
        table = card_io.padded_size(self._source.size - self._data_offset)
        file = _Joined(head + self._header, self._source, self._data_offset, table)
        hdus = fits.open(file, mode="readonly", do_not_scale_image_data=True, lazy_load_hdus=True)
        return hdus[1].section


class _Joined(io.RawIOBase):
    """A header followed by the rest of another file, as one seekable file to read from."""

    def __init__(self, head: bytes, source: Source, offset: int, size: int) -> None:
        self._head = head
        self._source = source
        self._offset = offset
        self._size = len(head) + size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        start, wanted = self._position, len(buffer)
        if start < len(self._head):
            piece = self._head[start : start + wanted]
        else:
            piece = self._source.read(self._offset + start - len(self._head), wanted)
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def read(self, size: int | None = -1) -> bytes:  # never short, unlike a raw file's
        left = max(self._size - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = []
        while wanted > 0:
            piece = bytearray(wanted)
            got = self.readinto(piece)
            if got == 0:
                break
            pieces.append(bytes(piece[:got]))
            wanted -= got
        return b"".join(pieces)
