"""From stored values to integers and back, with the bound guaranteed in the stored dtype.

A mapping says how an integer becomes a value. Every pixel is decoded once while encoding; where
the result is not within the bound (or, lossless, not the same bits) the pixel becomes an
exception and is stored as it is. The guarantee thus holds by construction, whatever the numbers.
"""

import dataclasses
import functools
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.brief import is_short, pack_step, read_step, short_step
from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.counted import count_cells, middle_of_cells
from astro_vq.codec.exceptions import Exceptions
from astro_vq.codec.grained import (
    LARGEST_GRAIN,
    MOST_BITS,
    from_numbers,
    join_numbers,
    split_numbers,
    to_numbers,
)
from astro_vq.codec.hidden_grid import DITHER_2, HiddenGrid, Steps, read_grid, steps_of
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.ordered import from_ordered, to_ordered
from astro_vq.codec.position_dither import LARGEST_SEED, dither_of
from astro_vq.codec.remainders import decode_remainders, encode_remainders
from astro_vq.errors import FormatError

IDENTITY, STEP, SCALE, RATIO, ORDERED, SPLIT, PALETTE, LOOP, HIDDEN, PLACED = range(10)
FLOORED, COUNTED, DITHERED, GRAINED, SHORT_SCALE, SHORT_LOOP = range(10, 16)
_OF_INTEGERS = (IDENTITY, STEP, COUNTED)
IN_TWO_PARTS = (SPLIT, GRAINED)
"""Mappings of which a part is stored beside the indices."""

_ON_A_GRID = (HIDDEN, DITHERED)  # what indices mean depends on the place of the pixel
_MAY_BE_FLOORED = (SCALE, RATIO, LOOP, HIDDEN, SHORT_SCALE, SHORT_LOOP)
_PARTS = 32  # of a step, in which short forms have their offset
_INDEX_LIMIT = 2.0**52  # float64 counts exactly that far
_NEAR = 2.0**26  # indices further from the middle are exceptions where they are few
_FEW = 0.01
_LARGEST_LOOP = 255
_LARGEST_PLACE = 2**53
_LARGEST_PALETTE = 1 << 18
_SHRINK_LIMIT = 0.01  # of the bound: how much of it may be given to rounding in the dtype
_INT64_MAX = 2**63 - 1

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Mapping:
    """How an integer index becomes a stored value.

    Parameters
    ----------
    kind : int
        `IDENTITY` the integer itself; `STEP` integer times an integer step; `SCALE`
        ``index * step + offset`` in float64, rounded to the dtype; `RATIO`
        ``(index * stride) / step``; `ORDERED` bit patterns of floats in the order of
        their values; `SPLIT` the nearest multiple of `step`, with the place of the float
        among all that are nearest to it; `PALETTE` the rank in a table of values; `LOOP`
        ``index * step``, where coders may move indices by up to half of `stride` (odd);
        `HIDDEN` ``index * stride`` on the grid that the image was quantised on once, at `place`;
        `PLACED` stands in a stream for the mapping of the image, `HIDDEN` or `DITHERED`, at a
        place; `FLOORED` comes before another mapping of floats, whose values below 0 are 0;
        `COUNTED` the floor, or the middle of a cell of `step` integers above it; `DITHERED`
        ``(index + dither) * step``; `GRAINED` the number of a float among those that a grain
        leaves, without its lowest bits; `SHORT_SCALE` and `SHORT_LOOP` are shorter ways to
        write `SCALE` and `LOOP`.
    step : float
        See `kind`.
    offset : float
        See `kind`.
    stride : int
        Indices are multiplied by this first; for `LOOP` see `kind`.
    palette : bytes
        The table of values, see `make_palette`, or the grid, see `HiddenGrid`.
    place : (int, int) or None
        Row and column where a tile begins on the grid; None for the image as a whole.
    floor : int or None
        No value is below, and only pixels that are at the floor decode to it; 0 for floats.
    seed : int
        Of the dither.
    grain, bits : int
        Exponent of the grain, and how many of the lowest bits are stored beside the index.
    """

    kind: int
    step: float = 1.0
    offset: float = 0.0
    stride: int = 1
    palette: bytes = b""
    place: tuple[int, int] | None = None
    floor: int | None = None
    seed: int = 0
    grain: int = 0
    bits: int = 0

    @classmethod
    def hidden(cls, grid: HiddenGrid, stride: int = 1) -> "Mapping":
        """Return the mapping to every index of a grid, or to each one in `stride` (odd)."""
        return cls(HIDDEN, stride=stride, palette=grid.to_bytes())

    def at(self, place: tuple[int, int] | None) -> "Mapping":
        """Return the mapping of a tile that begins at a place."""
        if self.kind not in _ON_A_GRID:
            return self
        return dataclasses.replace(self, place=place or (0, 0))

    def above(self, floor: int | None) -> "Mapping":
        """Return the mapping with values below a floor moved to it, where it may lead there."""
        if floor is None or self.kind not in _MAY_BE_FLOORED:
            return self
        return dataclasses.replace(self, floor=floor)

    def resolved(self, image: "Mapping | None") -> "Mapping":
        """Return the mapping of a tile, given that of its image.

        Raises
        ------
        FormatError
            It needs a grid that the image does not have.
        """
        if self.kind != PLACED:
            return self
        if image is None or image.kind not in _ON_A_GRID:
            raise FormatError("damaged pixel stream: the grid of its values is missing")
        return image.at(self.place)

    def steps(self, shape: tuple[int, int]) -> Steps:
        """Return what a `HIDDEN` mapping is for a tile of a shape."""
        row, column = self.place or (0, 0)
        return steps_of(self.palette, row, column, shape)

    def dither(self, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Return what a `DITHERED` mapping adds to indices of a tile of a shape."""
        row, column = self.place or (0, 0)
        return dither_of(self.seed, row, column, shape)

    def in_stream(self, image: "Mapping | None") -> bytes:
        """Return the mapping of a tile as bytes, given that of its image."""
        if self == image:
            return b"\0"
        if image is not None and self == image.at(self.place):
            return b"\1" + self._place_alone()
        return b"\1" + self.to_bytes()

    def _place_alone(self) -> bytes:
        row, column = self.place or (0, 0)
        return bytes([PLACED]) + encode_varint(row) + encode_varint(column)

    def to_bytes(self) -> bytes:
        """Return the mapping as bytes; a grid at a place is taken to be that of the image."""
        if self.kind == HIDDEN and self.place is not None:
            return self._place_alone()
        floored = bytes([FLOORED]) if self.floor is not None and self.kind != COUNTED else b""
        short = self._short_form()
        if short:
            return floored + short
        out = floored + bytes([self.kind])
        if self.kind == COUNTED:
            return out + encode_varint(zigzag(self.floor or 0)) + encode_varint(int(self.step))
        if self.kind == GRAINED:
            return out + encode_varint(zigzag(self.grain)) + encode_varint(self.bits)
        if self.kind == DITHERED:
            numbers = (self.seed, *(self.place or (0, 0)))
            place = b"".join(encode_varint(number) for number in numbers)
            return out + struct.pack("<d", self.step) + place
        if self.kind == HIDDEN:
            return out + encode_varint(self.stride) + sized(self.palette)
        if self.kind == STEP:
            return out + encode_varint(int(self.step))
        if self.kind in (SCALE, RATIO, LOOP):
            return out + struct.pack("<dd", self.step, self.offset) + encode_varint(self.stride)
        if self.kind == SPLIT:
            return out + struct.pack("<d", self.step)
        if self.kind == PALETTE:
            return out + sized(self.palette)
        return out

    def _short_form(self) -> bytes:
        """Return the mapping in few bytes, b'' if it has no such form."""
        if self.kind not in (SCALE, LOOP) or not is_short(self.step):
            return b""
        parts = np.rint(self.offset / self.step * _PARTS)
        if self.kind == LOOP:
            head = bytes([SHORT_LOOP]) + pack_step(self.step) + encode_varint(self.stride)
            return head if self.offset == 0 else b""
        if self.stride != 1 or abs(parts) > 127 or parts * self.step / _PARTS != self.offset:
            return b""
        return bytes([SHORT_SCALE]) + pack_step(self.step) + struct.pack("<b", int(parts))

    @classmethod
    def read(cls, reader: ByteReader) -> "Mapping":
        """Read what `to_bytes` wrote.

        Raises
        ------
        FormatError
            If the bytes are damaged.
        """
        kind = reader.byte()
        if kind == FLOORED:
            kind = reader.byte()
            if kind not in _MAY_BE_FLOORED:
                raise FormatError(f"damaged pixel stream: mapping {kind} with a floor")
            return cls._read(kind, reader).above(0)
        return cls._read(kind, reader)

    @classmethod
    def _read(cls, kind: int, reader: ByteReader) -> "Mapping":
        if kind in (IDENTITY, ORDERED):
            return cls(kind)
        if kind == STEP:
            return cls(kind, max(1, reader.varint(_INT64_MAX)))
        if kind in (SCALE, RATIO, LOOP):
            step, offset = struct.unpack("<dd", reader.take(16))
            if not (np.isfinite(step) and step > 0 and np.isfinite(offset)):
                raise FormatError("damaged pixel stream: a step that is not positive")
            stride = max(1, reader.varint(_LARGEST_LOOP if kind == LOOP else 2**31))
            return cls(kind, step, offset, stride)
        if kind == SPLIT:
            (step,) = struct.unpack("<d", reader.take(8))
            if not (np.isfinite(step) and step > 0):
                raise FormatError("damaged pixel stream: a step that is not positive")
            return cls(kind, step)
        if kind == PALETTE:
            return cls(kind, palette=reader.sized())
        if kind == HIDDEN:
            stride = max(1, reader.varint(2**31))
            palette = reader.sized()
            read_grid(palette)
            return cls(kind, stride=stride, palette=palette)
        if kind == PLACED:
            return cls(kind, place=(reader.varint(_LARGEST_PLACE), reader.varint(_LARGEST_PLACE)))
        if kind == COUNTED:
            floor = unzigzag(reader.varint())
            step = reader.varint(_INT64_MAX)
            if step < 3 or step % 2 == 0:
                raise FormatError("damaged pixel stream: cells of an impossible width")
            return cls(kind, step, floor=floor)
        if kind == SHORT_SCALE:
            step = read_step(reader)
            (parts,) = struct.unpack("<b", reader.take(1))
            return cls(SCALE, step, parts * step / _PARTS)
        if kind == SHORT_LOOP:
            step = read_step(reader)
            return cls(LOOP, step, stride=max(1, reader.varint(_LARGEST_LOOP)))
        if kind == GRAINED:
            grain = unzigzag(reader.varint(2 * LARGEST_GRAIN))
            return cls(kind, grain=grain, bits=reader.varint(MOST_BITS))
        if kind == DITHERED:
            (step,) = struct.unpack("<d", reader.take(8))
            if not (np.isfinite(step) and step > 0):
                raise FormatError("damaged pixel stream: a step that is not positive")
            seed = reader.varint(LARGEST_SEED)
            place = reader.varint(_LARGEST_PLACE), reader.varint(_LARGEST_PLACE)
            return cls(kind, step, seed=seed, place=place if any(place) else None)
        raise FormatError(f"damaged pixel stream: unknown mapping {kind}")


class QuantizedTile(NamedTuple):
    """A tile as integers; `indices` mean nothing where `exceptions.mask` is True.

    `remainders` is what a mapping in two parts needs besides.
    """

    indices: Indices
    exceptions: Exceptions
    remainders: bytes = b""


def default_mapping(
    values: Values, bound: float, *, floor: int | None = None, dither: int | None = None
) -> Mapping:
    """Return the mapping of a tile (or sample) about which nothing else is known.

    The step is twice the bound, less one rounding unit of the dtype at the largest usual value:
    then two neighbouring decoded values are never further apart than twice the bound.

    Parameters
    ----------
    values : ndarray
        Stored values.
    bound : float
        Largest error; 0 asks for the same bits.
    floor : int or None
        Value below which none is, and which only pixels at it decode to.
    dither : int or None
        Seed of a dither (floats only).
    """
    if values.dtype.kind != "f":
        half = min(int(bound), 2**62 - 1)
        if half and floor is not None:
            return Mapping(COUNTED, 2 * half + 1, floor=floor)
        return Mapping(STEP, 2 * half + 1) if half else Mapping(IDENTITY)
    if bound == 0:
        return Mapping(ORDERED)
    size = np.abs(values[np.isfinite(values)])
    step = 2.0 * bound
    if size.size:
        # method="higher" keeps float32 arithmetic out of it
        usual = np.quantile(size, 0.999, method="higher")
        unit = float(np.spacing(usual))
        if unit < _SHRINK_LIMIT * bound:
            step -= unit
    if not np.isfinite(step):
        step = np.finfo(np.float64).max
    step = short_step(float(step))
    if dither is not None:
        return Mapping(DITHERED, step, seed=dither)
    if floor is not None:  # index 0 for the floor alone, the others for cells above it
        return Mapping(SCALE, step, -step / 2, floor=floor)
    return Mapping(SCALE, step)


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
    indices, usable = _nearest(values, mapping)
    if mapping.kind == GRAINED:
        low, rest = split_numbers(indices, mapping.bits)
        exceptions = Exceptions(~usable, bit_patterns(values)[~usable])
        return QuantizedTile(low, exceptions, rest)
    if mapping.kind == SPLIT:
        if _count(usable & (values == 0)) > _FEW * values.size:
            usable &= values != 0  # in the midst of small floats they would be dear
        exceptions = Exceptions(~usable, bit_patterns(values)[~usable])
        rest = encode_remainders(values[usable], indices[usable], mapping.step)
        return QuantizedTile(indices, exceptions, rest)
    if blank is not None:
        usable &= values != blank
    if mapping.kind == LOOP:
        usable &= _has_slack(values, bound, mapping)
        if mapping.floor is not None:
            usable &= values > bound
    restored = apply_mapping(indices, mapping, values.dtype)
    good = _within(restored, values, bound, usable) & _same_floor(restored, values, mapping)
    if mapping.kind in (SCALE, RATIO) and bound > 0:
        for shift in (1, -1):
            bad = usable & ~good
            if not bad.any():
                break
            moved = indices[bad] + shift
            tried = apply_mapping(moved, mapping, values.dtype)
            fine = _within(tried, values[bad], bound, True)
            fine &= _same_floor(tried, values[bad], mapping)
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
    if (mapping.kind in _OF_INTEGERS) != (dtype.kind != "f") and mapping.kind != PALETTE:
        raise FormatError(f"damaged pixel stream: mapping {mapping.kind} for {dtype} pixels")
    if mapping.kind == COUNTED and not _is_of(mapping.floor or 0, dtype):
        raise FormatError(f"damaged pixel stream: {dtype} pixels with a floor of {mapping.floor}")
    if mapping.kind == GRAINED:
        numbers = join_numbers(tile.indices, tile.remainders, mapping.bits)
        values = np.ascontiguousarray(from_numbers(numbers, mapping.grain, dtype))
        bit_patterns(values)[tile.exceptions.mask] = tile.exceptions.bits
        return values
    if mapping.kind == SPLIT:
        mask = tile.exceptions.mask
        values = np.zeros(mask.shape, dtype)
        reader = ByteReader(tile.remainders)
        values[~mask] = decode_remainders(reader, tile.indices[~mask], mapping.step, dtype)
        bit_patterns(values)[mask] = tile.exceptions.bits
        return values
    values = np.ascontiguousarray(apply_mapping(tile.indices, mapping, dtype))
    bits = values.view(f"u{dtype.itemsize}")
    bits[tile.exceptions.mask] = tile.exceptions.bits
    return values


def _is_of(number: int, dtype: np.dtype[Any]) -> bool:
    """Whether a dtype of integers has a number."""
    info = np.iinfo(dtype)
    return int(info.min) <= number <= int(info.max)


def _count(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def bit_patterns(values: Values) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the bits of values as unsigned integers."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def make_palette(values: Values) -> Mapping:
    """Return the mapping to ranks among the distinct finite values (in any order)."""
    distinct = np.unique(values[np.isfinite(values)])
    codes = to_ordered(distinct) if distinct.dtype.kind == "f" else distinct.astype(np.int64)
    table = encode_varint(distinct.size) + pack_integers(np.diff(codes, prepend=0), 9)
    return Mapping(PALETTE, palette=table)


@functools.lru_cache(maxsize=16)
def _read_palette(table: bytes, dtype: np.dtype[Any]) -> Values:
    reader = ByteReader(table)
    n = reader.varint(_LARGEST_PALETTE)
    if not n:
        raise FormatError("damaged pixel stream: an empty table of values")
    codes = np.cumsum(unpack_integers(reader.rest(), n))
    return from_ordered(codes, dtype) if dtype.kind == "f" else codes.astype(dtype)


def apply_mapping(indices: Indices, mapping: Mapping, dtype: npt.DTypeLike) -> Values:
    """Return the values that integers stand for, exactly as a decoder computes them."""
    dtype = np.dtype(dtype)
    values = _apply(indices, mapping, dtype)
    if mapping.floor is not None and dtype.kind == "f":
        return np.where(values > 0, values, dtype.type(0))
    return values


def _apply(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    if mapping.kind == IDENTITY:
        if dtype == np.uint64:
            return np.asarray(indices.view(np.uint64) ^ np.uint64(2**63))
        return indices.astype(dtype)
    if mapping.kind == STEP:
        return _times_step(indices, int(mapping.step), dtype)
    if mapping.kind == COUNTED:
        return middle_of_cells(indices, int(mapping.step), mapping.floor or 0, dtype)
    if mapping.kind == ORDERED:
        return from_ordered(indices, dtype)
    if mapping.kind == DITHERED:
        dither = mapping.dither((indices.shape[0], indices.shape[1]))
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray((indices + dither) * mapping.step).astype(dtype)
    if mapping.kind == HIDDEN:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            steps = mapping.steps((indices.shape[0], indices.shape[1]))
            return steps.values(indices * mapping.stride).astype(dtype)
    if mapping.kind == PALETTE:
        table = _read_palette(mapping.palette, dtype)
        return table[np.clip(indices, 0, table.size - 1)]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        real = indices.astype(np.float64)
        if mapping.stride != 1 and mapping.kind != LOOP:
            real = real * float(mapping.stride)
        if mapping.kind == RATIO:
            return ((real + mapping.offset) / mapping.step).astype(dtype)
        real = real * mapping.step
        if mapping.offset:
            real = real + mapping.offset
        return real.astype(dtype)


def _nearest(values: Values, mapping: Mapping) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Integers that come nearest, and where that makes sense at all."""
    if mapping.kind == IDENTITY:
        if values.dtype == np.uint64:
            flipped = (values ^ np.uint64(2**63)).view(np.int64)
            return flipped, np.ones(values.shape, bool)
        return values.astype(np.int64), np.ones(values.shape, bool)
    if mapping.kind == STEP:
        return _divide_step(values, int(mapping.step)), np.ones(values.shape, bool)
    if mapping.kind == COUNTED:
        floor = mapping.floor or 0
        return count_cells(values, int(mapping.step), floor), np.asarray(values >= floor)
    if mapping.kind == PALETTE:
        table = _read_palette(mapping.palette, values.dtype)
        return np.minimum(np.searchsorted(table, values), table.size - 1), np.isfinite(values)
    finite = np.isfinite(values)
    if mapping.kind == ORDERED:
        return to_ordered(values), finite
    if mapping.kind == GRAINED:
        numbers = to_numbers(np.where(finite, values, 0).astype(values.dtype), mapping.grain)
        restored = from_numbers(numbers, mapping.grain, values.dtype)
        return numbers, bit_patterns(restored) == bit_patterns(values)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        real = np.where(finite, values, 0).astype(np.float64)
        if mapping.kind == HIDDEN:
            real = mapping.steps((values.shape[0], values.shape[1])).nearest(real)
            if read_grid(mapping.palette).method == DITHER_2:  # zeros stand for themselves
                finite &= values != 0
            if mapping.stride != 1:
                real = np.rint(real) / mapping.stride
        elif mapping.kind == RATIO:
            real = (real * mapping.step - mapping.offset) / mapping.stride
        elif mapping.kind == DITHERED:
            real = real / mapping.step - mapping.dither((values.shape[0], values.shape[1]))
            finite &= values != 0
        else:
            real = (real - mapping.offset) / mapping.step
            if mapping.kind != LOOP:
                real = real / mapping.stride
        usable = finite & (np.abs(real) < _INDEX_LIMIT)  # not where `real` is NaN
        if usable.any():
            near = usable & (np.abs(real - np.median(real[usable])) < _NEAR)
            if np.count_nonzero(near) >= (1 - _FEW) * np.count_nonzero(usable):
                usable = near
        return np.rint(np.where(usable, real, 0)).astype(np.int64), usable


def _within(
    restored: Values, values: Values, bound: float, usable: npt.NDArray[np.bool_] | bool
) -> npt.NDArray[np.bool_]:
    """Whether each restored value keeps the bound, decided without rounding."""
    if values.dtype.kind != "f":
        if bound < 1:
            return np.asarray((restored == values) & usable)
        low, high = np.minimum(restored, values), np.maximum(restored, values)
        gap = bit_patterns(high) - bit_patterns(low)  # exact modulo 2**bits, and not negative
        return np.asarray((gap <= np.uint64(min(bound, 2.0**63))) & usable)
    if bound == 0:
        return np.asarray((bit_patterns(restored) == bit_patterns(values)) & usable)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        a, b = restored.astype(np.float64), values.astype(np.float64)
        gap = a - b
        back = gap - a
        rest = (a - (gap - back)) - (b + back)  # what rounding took from the gap (Knuth's TwoSum)
        rest = np.where(gap < 0, -rest, rest)
        size = np.abs(gap)
        return np.asarray(((size < bound) | ((size == bound) & (rest <= 0))) & usable)


def _same_floor(restored: Values, values: Values, mapping: Mapping) -> npt.NDArray[np.bool_] | bool:
    """Whether pixels at the floor (with dither: at zero) are the ones that decode to it."""
    floor = 0 if mapping.kind == DITHERED else mapping.floor
    return True if floor is None else (restored == floor) == (values == floor)


def _has_slack(values: Values, bound: float, mapping: Mapping) -> npt.NDArray[np.bool_]:
    """Whether any index within half a stride keeps the bound, rounding to the dtype included."""
    with np.errstate(over="ignore", invalid="ignore"):
        top = (np.abs(values) + bound).astype(values.dtype)
        rounding = np.spacing(top).astype(np.float64)
        worst = mapping.stride / 2 * mapping.step * (1 + 1e-9)
        return np.asarray(worst + rounding <= bound)


def _divide_step(values: Values, step: int) -> Indices:
    if values.dtype == np.uint64:
        quotient, left = np.divmod(values, np.uint64(step))
        return (quotient + (left > step // 2)).astype(np.int64)
    quotient, left = np.divmod(values.astype(np.int64), step)
    return quotient + (left > step // 2)


def _times_step(indices: Indices, step: int, dtype: np.dtype[Any]) -> Values:
    info = np.iinfo(dtype)
    if dtype == np.uint64:
        top = info.max // step
        capped = np.clip(indices, 0, min(top, _INT64_MAX)).astype(np.uint64)
        return np.where(indices > top, np.uint64(info.max), capped * np.uint64(step))
    low, high = -(-info.min // step), info.max // step  # the last multiples within the dtype
    out = np.clip(indices, low, high) * step
    out = np.where(indices > high, info.max, out)
    return np.where(indices < low, info.min, out).astype(dtype)
