"""Sparse token maps in and out of an adaptive binary range coder, integers only.

Most positions hold no token, some hold a few. The number at each position is coded with what its
neighbours to the left and above have; then, token by token, its level, whether its code is one of
stars, the code and the gain, bit by bit down a binary tree. Every bit has a probability of 15
bits that depends on where it stands, and moves a little towards what came. All of it is integer
arithmetic, so that it is the same on every machine; tables to start from are shipped as data.

References
----------
Martin 1979 (range coding); Pavlov 1999 (LZMA's adaptive binary coder, carry by a cached byte).
"""

import functools
from importlib import resources

import numpy as np
from numba import njit
from numpy.typing import NDArray
from safetensors.numpy import load

from astro_vq.entropy.map_shape import MapShape
from astro_vq.errors import FormatError

Integers = NDArray[np.int64]

BITS = 15  # of a probability
HALF = 1 << BITS - 1
_TOP = 1 << 24
_FAST, _SLOW = 5, 6  # shifts of adaption: of numbers and gains, of codes
_GAIN_BITS, _FINE_BITS = 6, 2  # those of the octave or so, and those within
GAIN_ZERO = 256
_MAPS, _LEVEL, _KIND, _STARS = 0, 80, 96, 112
_STAR_BITS = 8
_FINE_PLACES = 12


def context_count(shape: MapShape) -> int:
    """Return how many probabilities there are."""
    coarse = 16 + 16 * (1 << _GAIN_BITS)
    return _gains_from(shape.code_bits) + coarse + _FINE_PLACES * (1 << _FINE_BITS)


def _gains_from(code_bits: int) -> int:
    return _STARS + 2 * (1 << _STAR_BITS) + 2 * (1 << code_bits)


def first_contexts(shape: MapShape) -> Integers:
    """Return the probabilities to start from: shipped ones where they fit, else one half."""
    shipped = _shipped()
    count = context_count(shape)
    if shipped.size == count:
        return shipped.copy()
    return np.full(count, HALF, np.int64)


@functools.cache
def _shipped() -> Integers:
    path = resources.files("astro_vq.pretrained") / "tokens" / "contexts-1.safetensors"
    if not path.is_file():
        return np.zeros(0, np.int64)
    return np.asarray(load(path.read_bytes())["probabilities"], np.int64)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _code_bit(
    state: Integers, buffer: NDArray[np.uint8], tables: Integers, at: int, bit: int, shift: int
) -> int:
    """Code (state[5] = 1) or decode (0) a bit; state: low, range, code, place, cache, mode, run."""
    p = tables[at]
    bound = (state[1] >> BITS) * p
    if state[5] == 0:
        bit = 0 if state[2] < bound else 1
    if bit == 0:
        state[1] = bound
        tables[at] = p + (((1 << BITS) - p) >> shift)
    else:
        if state[5] == 1:
            state[0] += bound
        else:
            state[2] -= bound
        state[1] -= bound
        tables[at] = p - (p >> shift)
    tables[at] = min(max(tables[at], 32), (1 << BITS) - 32)
    while state[1] < _TOP:
        state[1] <<= 8
        if state[5] == 1:
            _shift_low(state, buffer)
        else:
            byte = buffer[state[3]] if state[3] < buffer.shape[0] else 0
            state[3] += 1
            state[2] = ((state[2] << 8) | byte) & 0xFFFFFFFF
    return bit


@njit(cache=True)  # type: ignore[untyped-decorator]
def _shift_low(state: Integers, buffer: NDArray[np.uint8]) -> None:
    if state[0] < 0xFF000000 or state[0] > 0xFFFFFFFF:
        carry = state[0] >> 32
        if state[4] >= 0:
            buffer[state[3]] = (state[4] + carry) & 0xFF
            state[3] += 1
        while state[6] > 0:
            buffer[state[3]] = (0xFF + carry) & 0xFF
            state[3] += 1
            state[6] -= 1
        state[4] = (state[0] >> 24) & 0xFF
    else:
        state[6] += 1
    state[0] = (state[0] & 0x00FFFFFF) << 8


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tree(
    state: Integers,
    buffer: NDArray[np.uint8],
    tables: Integers,
    start: int,
    bits: int,
    value: int,
    shift: int,
) -> int:
    node = 1
    for k in range(bits):
        bit = (value >> (bits - 1 - k)) & 1
        bit = _code_bit(state, buffer, tables, start + node, bit, shift)
        node = 2 * node + bit
    return node - (1 << bits)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _run(
    state: Integers,
    buffer: NDArray[np.uint8],
    tables: Integers,
    maps: NDArray[np.int32],
    y0: int,
    x0: int,
    levels: int,
    learnt: int,
    stars: int,
    code_bits: int,
) -> int:
    """Code or decode all positions of maps (2 K, h, w); return 0, or 1 where it is damaged."""
    depth, h, w = maps.shape
    most = depth // 2
    per_level = learnt + stars
    gains = _STARS + 2 * (1 << _STAR_BITS) + 2 * (1 << code_bits)
    numbers = np.zeros((h + 2, w + 4), np.int64)
    coding = state[5] == 1
    for y in range(h):
        for x in range(w):
            left, up = numbers[y + 2, x + 1], numbers[y + 1, x + 2]
            sides = min(numbers[y + 1, x + 3], 1) + min(numbers[y + 1, x + 1], 1)
            far = 1 if numbers[y, x + 2] + numbers[y + 2, x] > 0 else 0
            close = 1 if left + up + sides + far > 0 else 0
            n = 0
            if coding:
                while n < most and maps[2 * n, y, x] > 0:
                    n += 1
            highest = 0
            while (
                highest < levels - 1
                and (y + y0) % (2 << highest) == 0
                and (x + x0) % (2 << highest) == 0
            ):
                highest += 1
            k = 0
            previous = 0
            while k < most:
                if k == 0:
                    at = min(left, 2) * 18 + min(up, 2) * 6 + sides * 2 + far
                else:
                    at = 54 + (min(k, 5) - 1) * 3 + min(left + up, 2)
                more = _code_bit(state, buffer, tables, _MAPS + at, 1 if k < n else 0, _FAST)
                if more == 0:
                    break
                level, code, star, gain = 0, 0, 0, 0
                if coding:
                    index = maps[2 * k, y, x] - 1
                    level, code = index // per_level, index % per_level
                    gain = maps[2 * k + 1, y, x] - GAIN_ZERO
                    if code >= learnt:
                        star, code = 1, code - learnt
                found = 0
                while found < highest:
                    bit = _code_bit(
                        state,
                        buffer,
                        tables,
                        _LEVEL + 2 * found + (1 if k > 0 else 0),
                        1 if level > found else 0,
                        _FAST,
                    )
                    if bit == 0:
                        break
                    found += 1
                at = _KIND + min(k, 2) * 4 + close * 2 + (1 if found == 0 else 0)
                star = _code_bit(state, buffer, tables, at, star, _FAST)
                later = 1 if k > 0 else 0
                if star == 1:
                    code = _tree(
                        state,
                        buffer,
                        tables,
                        _STARS + later * (1 << _STAR_BITS),
                        _STAR_BITS,
                        code,
                        _SLOW,
                    )
                else:
                    start = _STARS + 2 * (1 << _STAR_BITS) + later * (1 << code_bits)
                    code = _tree(state, buffer, tables, start, code_bits, code, _SLOW)
                size = abs(gain)
                at = gains + star * 6 + min(k, 2) * 2 + (1 if found > 0 else 0)
                minus = _code_bit(state, buffer, tables, at, 1 if gain < 0 else 0, _FAST)
                where = star * 2 + close if k == 0 else 4 + star * 6 + min(previous // 16, 5)
                coarse = _tree(
                    state,
                    buffer,
                    tables,
                    gains + 16 + where * (1 << _GAIN_BITS),
                    _GAIN_BITS,
                    size >> _FINE_BITS,
                    _FAST,
                )
                where = 2 * min(coarse, 5) + later
                fine = _tree(
                    state,
                    buffer,
                    tables,
                    gains + 16 + 16 * (1 << _GAIN_BITS) + where * (1 << _FINE_BITS),
                    _FINE_BITS,
                    size & 3,
                    _SLOW,
                )
                size = (coarse << _FINE_BITS) + fine
                previous = size
                if not coding:
                    limit = stars if star == 1 else learnt
                    if code >= limit or size == 0:
                        return 1
                    maps[2 * k, y, x] = 1 + found * per_level + code + (learnt if star else 0)
                    maps[2 * k + 1, y, x] = GAIN_ZERO + (-size if minus == 1 else size)
                k += 1
            numbers[y + 2, x + 2] = k
            if not coding and state[3] > buffer.shape[0] + 8:
                return 1
    return 0


def encode_maps(
    maps: NDArray[np.int32], shape: MapShape, origin: tuple[int, int], tables: Integers
) -> bytes:
    """Return the code of sparse maps; no bytes where they are empty.

    Parameters
    ----------
    maps : ndarray of int32, shape (2 K, h, w)
        See `astro_vq.models.sparse.SparseVQ`.
    shape : MapShape
        What they hold.
    origin : (int, int)
        Row and column of their first position in the map of the whole image.
    tables : ndarray of int64
        Probabilities to start from; they adapt to what is coded, in place.
    """
    if not maps.any():
        return b""
    count = int(np.count_nonzero(maps[0::2]))
    buffer = np.zeros(64 + 16 * count + maps.shape[1] * maps.shape[2], np.uint8)
    state = np.array([0, 0xFFFFFFFF, 0, 0, -1, 1, 0], np.int64)
    _run(state, buffer, tables, maps, *origin, *shape[:3], shape.code_bits)
    for _ in range(5):
        _shift_low(state, buffer)
    return buffer[: state[3]].tobytes().rstrip(b"\0") or b"\0"


def decode_maps(
    data: bytes,
    size: tuple[int, int, int],
    shape: MapShape,
    origin: tuple[int, int],
    tables: Integers,
) -> NDArray[np.int32]:
    """Return the maps (2 K, h, w) that `encode_maps` coded.

    Raises
    ------
    FormatError
        The code is damaged (not every damage shows; keep a checksum beside it).
    """
    maps = np.zeros(size, np.int32)
    if not data:
        return maps
    buffer = np.frombuffer(data, np.uint8).copy()
    first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
    state = np.array([0, 0xFFFFFFFF, first, 4, 0, 0, 0], np.int64)
    if _run(state, buffer, tables, maps, *origin, *shape[:3], shape.code_bits):
        raise FormatError("damaged token stream: it holds codes that there are not")
    return maps
