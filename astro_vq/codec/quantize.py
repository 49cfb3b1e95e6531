"""From stored values to integers and back, with the bound guaranteed in the stored dtype.

A mapping says how an integer becomes a value. Every pixel is decoded once while encoding; where
the result is not within the bound (or, lossless, not the same bits) the pixel becomes an
exception and is stored as it is. The guarantee thus holds by construction, whatever the numbers.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.exceptions import Exceptions
from astro_vq.codec.grained import join_numbers, split_numbers
from astro_vq.codec.mappings import apply_mapping, nearest_indices
from astro_vq.codec.mappings.mapping import (
    COUNTED,
    GRAINED,
    IN_TWO_PARTS,
    LOOP,
    OF_INTEGERS,
    PALETTE,
    RATIO,
    SCALE,
    Mapping,
)
from astro_vq.codec.ordered import bit_patterns
from astro_vq.codec.remainders import decode_remainders, encode_remainders
from astro_vq.codec.tolerance import has_same_floor, has_slack, is_within
from astro_vq.errors import FormatError

_MANY_ZEROS = 0.01  # of pixels, from which on zeros among small floats are exceptions

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class QuantizedTile(NamedTuple):
    """A tile as integers; `indices` mean nothing where `exceptions.mask` is True.

    `remainders` is what a mapping in two parts needs besides.
    """

    indices: Indices
    exceptions: Exceptions
    remainders: bytes = b""


def quantize_tile(
    values: Values, bound: float, mapping: Mapping, *, blank: int | None = None
) -> QuantizedTile:
    """Return the integers of a tile and the pixels that need to be stored as they are.

    NaN, infinities and BLANK are always exceptions.

    Parameters
    ----------
    values : ndarray, shape (H, W)
        Stored values.
    bound : float
        Largest error in stored units; 0 asks for the same bits.
    mapping : Mapping
        How integers become values.
    blank : int or None
        Stored integer of missing pixels; no other pixel will decode to it.

    Returns
    -------
    QuantizedTile
        ``abs(restore - values) <= bound`` wherever `values` is finite and not BLANK. Of a
        mapping with a floor nothing is below it, and what is at the floor was there; of one
        with dither zeros are zeros.
    """
    indices, usable = nearest_indices(values, mapping)
    if mapping.kind in IN_TWO_PARTS:
        return _split_tile(values, indices, usable, mapping)
    if blank is not None:
        usable &= values != blank
    if mapping.kind == LOOP:
        usable &= has_slack(values, bound, mapping)
        if mapping.floor is not None:
            usable &= values > bound
    restored = apply_mapping(indices, mapping, values.dtype)
    good = is_within(restored, values, bound) & usable & has_same_floor(restored, values, mapping)
    if mapping.kind in (SCALE, RATIO) and bound > 0:
        for shift in (1, -1):
            bad = usable & ~good
            if not bad.any():
                break
            moved = indices[bad] + shift
            tried = apply_mapping(moved, mapping, values.dtype)
            fine = is_within(tried, values[bad], bound)
            fine &= has_same_floor(tried, values[bad], mapping)
            places = np.flatnonzero(bad)[fine]
            indices.ravel()[places] = moved[fine]
            good.ravel()[places] = True
        restored = apply_mapping(indices, mapping, values.dtype)
    if blank is not None:
        good &= restored != blank
    mask = ~good
    return QuantizedTile(indices, Exceptions(mask, bit_patterns(values)[mask]))


def restore_tile(tile: QuantizedTile, mapping: Mapping, dtype: npt.DTypeLike) -> Values:
    """Return the stored values of a quantised tile.

    Raises
    ------
    FormatError
        If the mapping does not fit the dtype.
    """
    dtype = np.dtype(dtype)
    if (mapping.kind in OF_INTEGERS) != (dtype.kind != "f") and mapping.kind != PALETTE:
        raise FormatError(f"damaged pixel stream: mapping {mapping.kind} for {dtype} pixels")
    if mapping.kind == COUNTED and not _is_of(mapping.floor or 0, dtype):
        raise FormatError(f"damaged pixel stream: {dtype} pixels with a floor of {mapping.floor}")
    if mapping.kind in IN_TWO_PARTS:
        values = _join_tile(tile, mapping, dtype)
    else:
        values = np.ascontiguousarray(apply_mapping(tile.indices, mapping, dtype))
    bit_patterns(values)[tile.exceptions.mask] = tile.exceptions.bits
    return values


def _split_tile(values: Values, indices: Indices, usable: Mask, mapping: Mapping) -> QuantizedTile:
    """Return a tile whose values follow exactly from an index and what is stored beside it."""
    if mapping.kind == GRAINED:
        indices, rest = split_numbers(indices, mapping.bits)
        return QuantizedTile(indices, Exceptions(~usable, bit_patterns(values)[~usable]), rest)
    if np.count_nonzero(usable & (values == 0)) > _MANY_ZEROS * values.size:
        usable = usable & (values != 0)  # in the midst of small floats they would be dear
    rest = encode_remainders(values[usable], indices[usable], mapping.step)
    return QuantizedTile(indices, Exceptions(~usable, bit_patterns(values)[~usable]), rest)


def _join_tile(tile: QuantizedTile, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Undo `_split_tile`, exceptions aside."""
    if mapping.kind == GRAINED:
        numbers = join_numbers(tile.indices, tile.remainders, mapping.bits)
        return np.ascontiguousarray(apply_mapping(numbers, mapping, dtype))
    usable = ~tile.exceptions.mask
    values = np.zeros(usable.shape, dtype)
    reader = ByteReader(tile.remainders)
    values[usable] = decode_remainders(reader, tile.indices[usable], mapping.step, dtype)
    return values


def _is_of(number: int, dtype: np.dtype[Any]) -> bool:
    """Whether a dtype of integers has a number."""
    info = np.iinfo(dtype)
    return int(info.min) <= number <= int(info.max)
