"""Floats that are multiples of one power of two, as far as their precision does not end earlier.

Whoever adds a constant to floats and takes it off again (a background, above all) leaves them on
the grid of the larger numbers: small values have zeros at the end of their mantissas. All floats
that can occur then are numbered in order: multiples of the *grain* as far as these are single
floats, and from there on every float.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.ordered import from_ordered, to_ordered
from astro_vq.entropy.plain_bits import FieldReader, pack_fields
from astro_vq.errors import FormatError

MOST_BITS = 52
LARGEST_GRAIN = 1100  # exponents are that far from 0 at most

_LOOKED_AT = 1 << 17
_MISSES = 0.001
_FINE = 10  # octaves that the noise is kept above the step
_RANGE = 2.0**26  # of numbers without their plain bits
_USUAL = 0.9999

Values = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


class Grain(NamedTuple):
    """A grain that many values have.

    Attributes
    ----------
    exponent : int
        It is two to the power of this.
    saved : float
        Bits that it saves a pixel on average.
    """

    exponent: int
    saved: float


def find_grain(values: Values) -> Grain | None:
    """Return the grain of finite floats, None where there are only zeros."""
    values = values[values != 0]
    values = values[:: max(1, values.size // _LOOKED_AT)]
    if not values.size:
        return None
    precision, lowest = _precision(values.dtype)
    mantissa, exponent = np.frexp(values.astype(np.float64))
    whole = np.abs(np.ldexp(mantissa, precision)).astype(np.int64)
    spacing = np.maximum(exponent.astype(np.int64) - precision, lowest)
    ends = exponent - precision + np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    grain = int(np.quantile(ends, _MISSES, method="lower"))
    return Grain(grain, float(np.maximum(grain - spacing, 0).mean()))


def plain_bits_of(numbers: list[Integers]) -> int:
    """Return how many of the lowest bits of numbers, tile by tile, need no prediction."""
    steps = np.concatenate([np.abs(np.diff(n.astype(np.float64), axis=1)).ravel() for n in numbers])
    flat = np.concatenate([n.ravel() for n in numbers]).astype(np.float64)
    noise = float(np.median(steps)) if steps.size else 0.0
    far = np.quantile(np.abs(flat - np.median(flat)), _USUAL) if flat.size else 0.0
    bits = max(np.log2(max(noise, 1.0)) - _FINE, np.log2(max(float(far), 1.0) / _RANGE), 0.0)
    return min(int(np.ceil(bits)), MOST_BITS)


def to_numbers(values: Values, grain: int) -> Integers:
    """Return the numbers of finite floats; multiples of the grain get the nearest one below.

    Parameters
    ----------
    values : ndarray of float32 or float64
        Finite.
    grain : int
        Exponent of the grain.
    """
    linear = 1 << _precision(values.dtype)[0]
    size = np.abs(values)
    with np.errstate(over="ignore", under="ignore"):
        multiple = np.floor(np.minimum(np.ldexp(size.astype(np.float64), -grain), 2.0**53))
    top = _top(values.dtype, grain)
    number = multiple.astype(np.int64)
    if top is not None:
        number = np.where(number >= linear, to_ordered(size) - top + linear, number)
    return np.where(np.signbit(values), -number, number)


def from_numbers(numbers: Integers, grain: int, dtype: npt.DTypeLike) -> Values:
    """Return floats of numbers."""
    dtype = np.dtype(dtype)
    linear = 1 << _precision(dtype)[0]
    size = np.abs(np.clip(numbers, -(2**62), 2**62))
    with np.errstate(over="ignore", under="ignore"):
        small = np.ldexp(np.minimum(size, linear).astype(np.float64), grain).astype(dtype)
    top = _top(dtype, grain)
    if top is not None:
        last = int(to_ordered(np.array([np.finfo(dtype).max], dtype))[0])
        place = np.clip(size - linear, 0, last - top) + top
        small = np.where(size > linear, from_ordered(place, dtype), small)
    return np.where(numbers < 0, -small, small)


def split_numbers(numbers: Integers, bits: int) -> tuple[Integers, bytes]:
    """Return numbers without their lowest bits, and these."""
    low = numbers & ((1 << bits) - 1)
    return numbers >> bits, pack_fields(low.ravel(), np.full(low.size, bits))


def join_numbers(indices: Integers, data: bytes, bits: int) -> Integers:
    """Undo `split_numbers`.

    Raises
    ------
    FormatError
        Bits are missing or left over.
    """
    if len(data) != (indices.size * bits + 7) // 8:
        raise FormatError("damaged pixel stream: plain bits are missing or left over")
    low = FieldReader(data).read(np.full(indices.size, bits)).reshape(indices.shape)
    limit = 1 << (62 - bits)
    return (np.clip(indices, -limit, limit) << bits) + low


def _precision(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return bits of a mantissa and the exponent of the least float."""
    info = np.finfo(dtype)
    return info.nmant + 1, int(info.minexp) - info.nmant


def _top(dtype: np.dtype[Any], grain: int) -> int | None:
    """Return the ordered integer of the float from which on all floats count; None if none do."""
    precision, _ = _precision(dtype)
    if precision + grain >= np.finfo(dtype).maxexp:
        return None
    edge = np.ldexp(np.float64(1), precision + grain).astype(dtype)
    return int(to_ordered(np.array([edge], dtype))[0])
