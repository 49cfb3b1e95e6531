"""What is left of a float when its nearest multiple of a step is known.

Lossless floats are coded in two parts: a coarse index, ``rint(value / step)``, which the engine
predicts from its neighbours, and the place of the float among all floats of that index. Within a
step much smaller than the noise all floats are equally likely, so the place is plain bits, in a
truncated binary code. Index 0, where floats lie ever denser, is divided into octaves first.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, little_endian, sized
from astro_vq.codec.ordered import Values, from_ordered, to_ordered
from astro_vq.entropy.plain_bits import FieldReader, pack_fields
from astro_vq.errors import FormatError

_OCTAVES = 24  # into which index 0 is divided on each side
_WORD = 16

Integers = npt.NDArray[np.int64]


class _Bins(NamedTuple):
    """First ordered integer and number of floats of the bin of each pixel; octaves if index 0."""

    first: Integers
    size: Integers


def encode_remainders(values: Values, indices: Integers, step: float) -> bytes:
    """Return the places of floats within the bins of their indices.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n,)
        Finite values.
    indices : ndarray of int64, shape (n,)
        ``rint(value / step)`` in float64.
    step : float
        Above 0.
    """
    zero = indices == 0
    signs, octaves = _octaves(values[zero], step)
    heads = sized(np.packbits(signs).tobytes())
    heads += sized(pack_fields(np.left_shift(1, octaves), octaves + 1))
    bins = _find_bins(indices, zero, signs, octaves, step, values.dtype)
    place = to_ordered(values) - bins.first
    width, short = _truncated(bins.size)
    long = place >= short
    code = np.where(long, (place + short) >> 1, place)
    words = code[width >= _WORD] & (1 << _WORD) - 1
    high = np.where(width >= _WORD, code >> _WORD, code)
    extra = ((place + short) & 1)[long]
    return b"".join(
        (
            heads,
            sized(np.packbits(extra.astype(np.uint8)).tobytes()),
            sized(little_endian(words.astype(np.uint16))),
            pack_fields(high, np.where(width >= _WORD, width - _WORD, width)),
        )
    )


def decode_remainders(
    reader: ByteReader, indices: Integers, step: float, dtype: npt.DTypeLike
) -> Values:
    """Read what `encode_remainders` wrote; return the values.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    dtype = np.dtype(dtype)
    zero = indices == 0
    n = int(np.count_nonzero(zero))
    signs = _bits(reader.sized(), n)
    octaves = _read_octaves(reader.sized(), n)
    bins = _find_bins(indices, zero, signs, octaves, step, dtype)
    if bins.size.size and bins.size.min() < 1:
        raise FormatError("damaged pixel stream: an index that no float has")
    extra_bits = reader.sized()
    word_bytes = ByteReader(reader.sized())
    width, short = _truncated(bins.size)
    wide = width >= _WORD
    words = word_bytes.array(np.uint16, int(np.count_nonzero(wide))).astype(np.int64)
    word_bytes.finish()
    code = FieldReader(reader.rest()).read(np.where(wide, width - _WORD, width))
    code[wide] = code[wide] << _WORD | words
    long = code >= short
    extra = _bits(extra_bits, int(np.count_nonzero(long)))
    code[long] = 2 * code[long] + extra - short[long]
    return from_ordered(bins.first + np.minimum(code, bins.size - 1), dtype)


def _truncated(count: Integers) -> tuple[Integers, Integers]:
    """Return the shorter width of a truncated binary code, and how many places are that short."""
    width = np.frexp(count.astype(np.float64))[1].astype(np.int64) - 1
    return width, np.left_shift(2, width) - count


def _bits(data: bytes, n: int) -> Integers:
    flat = np.unpackbits(np.frombuffer(data, np.uint8))
    if not 0 <= flat.size - n < 8:
        raise FormatError("damaged pixel stream: bits are missing or left over")
    return flat[:n].astype(np.int64)


def _octaves(values: Values, step: float) -> tuple[Integers, Integers]:
    """Return sign bits, and how many halvings below half a step each value lies."""
    size = np.abs(values.astype(np.float64))
    octave = np.full(values.shape, _OCTAVES, np.int64)
    for k in reversed(range(1, _OCTAVES + 1)):
        octave[size > step * 0.5 ** (k + 1)] = k - 1
    return np.signbit(values).astype(np.int64), octave


def _read_octaves(data: bytes, n: int) -> Integers:
    """Read `n` numbers, each as so many zeros and a one."""
    ones = np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8)))
    if ones.size != n:
        raise FormatError("damaged pixel stream: octaves are missing or left over")
    octaves = np.diff(ones, prepend=-1) - 1
    if n and octaves.max() > _OCTAVES:
        raise FormatError("damaged pixel stream: too many octaves")
    return octaves.astype(np.int64)


def _find_bins(
    indices: Integers,
    zero: npt.NDArray[np.bool_],
    signs: Integers,
    octaves: Integers,
    step: float,
    dtype: np.dtype[Any],
) -> _Bins:
    distinct, inverse = np.unique(indices, return_inverse=True)
    low = _lower_edges(distinct, step, dtype)
    high = _lower_edges(distinct + 1, step, dtype)
    first, count = low[inverse.ravel()], (high - low)[inverse.ravel()]
    if octaves.size:
        # magnitudes in (top / 2, top] with top = step / 2**(octave + 1); the last: all below
        ladder = np.ldexp(np.float64(step), -np.arange(1, _OCTAVES + 2))
        tops = to_ordered(_round_down(ladder, dtype))
        bottoms = np.append(tops[1:] + 1, 0)
        a, b = bottoms[octaves], tops[octaves]
        first[zero] = np.where(signs == 1, -1 - b, a)
        count[zero] = b - a + 1
    return _Bins(first, count)


def _round_down(reals: npt.NDArray[np.floating[Any]], dtype: np.dtype[Any]) -> Values:
    """Return the largest floats of a dtype that are not above positive reals."""
    with np.errstate(over="ignore", under="ignore"):
        near = reals.astype(dtype)
        return np.where(near.astype(np.float64) > reals, np.nextafter(near, dtype.type(0)), near)


def _lower_edges(indices: Integers, step: float, dtype: np.dtype[Any]) -> Integers:
    """Return the ordered integer of the least float whose index is at least the given one."""
    finfo = np.finfo(dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        guess = ((indices.astype(np.float64) - 0.5) * step).astype(dtype)
        place = to_ordered(np.clip(guess, finfo.min, finfo.max))
        last = int(to_ordered(np.array([finfo.max], dtype))[0])
        for _ in range(4):  # the guess is off by rounding only
            below = np.maximum(place - 1, -1 - last)
            too_high = np.rint(from_ordered(below, dtype).astype(np.float64) / step) >= indices
            place = np.where(too_high, below, place)
        for _ in range(4):
            too_low = np.rint(from_ordered(place, dtype).astype(np.float64) / step) < indices
            place = np.where(too_low, np.minimum(place + 1, last + 1), place)
            place = np.minimum(place, last)
    return np.asarray(place)
