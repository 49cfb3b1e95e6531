"""How the floats of a tile-compressed image were quantised: scale, zero and dither of each tile.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), sections 10.1.3 and 10.2.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.io import cards as card_io
from astro_vq.io.compressed_header import tile_shape
from astro_vq.io.fits_structure import Structure, first_cards, text_of
from astro_vq.io.source import Source

_METHODS = {"SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_WIDTHS = {"L": 1, "X": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "P": 8, "Q": 16}
_DITHER_NUMBERS = 10_000


class TileQuantization(NamedTuple):
    """What turns the integers of a tile-compressed image into its floats.

    Attributes
    ----------
    height, width : int
        Rows and columns of a plane.
    tile : (int, int)
        Rows and columns of a tile.
    method : int
        0 no dither, 1 or 2 SUBTRACTIVE_DITHER_1 or _2.
    seed : int
        ZDITHER0; 1 without dither.
    scale, zero : ndarray of float64
        For each tile; a scale of 0 where the tile was not quantised.
    transformed : bool
        Whether integers went through the H-transform (HCOMPRESS).
    """

    height: int
    width: int
    tile: tuple[int, int]
    method: int
    seed: int
    scale: NDArray[np.float64]
    zero: NDArray[np.float64]
    transformed: bool


def read_quantization(
    source: Source, cards: Sequence[bytes], structure: Structure, data_offset: int, where: str
) -> TileQuantization | None:
    """Return how an image was quantised; None where it was not, or in a way unknown here.

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
    """
    first = first_cards(cards)
    if structure.bitpix >= 0 or not structure.shape:
        return None
    tiles = tile_shape(cards, structure.shape, where)
    if any(side > 1 for side in tiles[2:]):
        return None
    method = _METHODS.get(text_of(first, "ZQUANTIZ").upper(), 0)
    seed = card_io.integer_value(first["ZDITHER0"]) if "ZDITHER0" in first else None
    if method and (seed is None or not 1 <= seed <= _DITHER_NUMBERS):
        return None
    scale = _numbers(source, first, "ZSCALE", data_offset)
    zero = _numbers(source, first, "ZZERO", data_offset)
    if scale is None or zero is None or not np.isfinite(zero).all():
        return None
    good = np.isfinite(scale) & (scale > 0)
    return TileQuantization(
        height=structure.shape[-2] if len(structure.shape) > 1 else 1,
        width=structure.shape[-1],
        tile=(tiles[1] if len(tiles) > 1 else 1, tiles[0]),
        method=method,
        seed=seed or 1,
        scale=np.where(good, scale, 0.0),
        zero=zero,
        transformed=text_of(first, "ZCMPTYPE").strip().upper() == "HCOMPRESS_1",
    )


def _numbers(
    source: Source, first: dict[str, bytes], name: str, data_offset: int
) -> NDArray[np.float64] | None:
    """Return a column of doubles, or the keyword of that name for all rows, or None."""
    rows = card_io.integer_value(first.get("NAXIS2", b"")) or 0
    width = card_io.integer_value(first.get("NAXIS1", b"")) or 0
    at = 0
    for i in range(1, (card_io.integer_value(first.get("TFIELDS", b"")) or 0) + 1):
        form = re.match(r"(\d*)([A-Z])", text_of(first, f"TFORM{i}").strip().upper())
        if form is None or form[2] not in _WIDTHS:
            return None
        count = int(form[1] or 1)
        if text_of(first, f"TTYPE{i}").strip().upper() == name:
            if (count, form[2]) != (1, "D") or at + 8 > width:
                return None
            table = np.frombuffer(source.read(data_offset, rows * width), np.uint8)
            if table.size != rows * width:
                return None
            octets = np.ascontiguousarray(table.reshape(rows, width)[:, at : at + 8])
            return octets.view(">f8").ravel().astype(np.float64)
        at += -(-count // 8) if form[2] == "X" else count * _WIDTHS[form[2]]
    value = card_io.float_value(first[name]) if name in first else None
    return None if value is None else np.full(rows, value)
