"""Sparse token maps in and out of an adaptive binary range coder, integers only.

Most positions hold no token, some hold a few. The number at each position is coded with what its
neighbours to the left and above have; then, token by token, its level, whether its code is one of
stars, the code and the gain, bit by bit down a binary tree. Every bit has a probability of 15
bits that depends on where it stands, and moves a little towards what came. All of it is integer
arithmetic, so that it is the same on every machine; tables to start from are shipped as data.

The coder of bits is `astro_vq.entropy.binary_coder`.
"""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.binary_coder import (
    Integers,
    code_bit,
    code_tree,
    finish,
    start_decoder,
    start_encoder,
)
from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.map_shape import MapShape
from astro_vq.entropy.start_contexts import start_contexts
from astro_vq.errors import FormatError

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


def first_contexts(shape: MapShape, version: int = 2) -> Integers:
    """Return the probabilities to start from; version 1 is of streams that are only read."""
    return start_contexts(version, "maps", context_count(shape))


@compiled
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
                more = code_bit(state, buffer, tables, _MAPS + at, 1 if k < n else 0, _FAST)
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
                    bit = code_bit(
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
                star = code_bit(state, buffer, tables, at, star, _FAST)
                later = 1 if k > 0 else 0
                if star == 1:
                    code = code_tree(
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
                    code = code_tree(state, buffer, tables, start, code_bits, code, _SLOW)
                size = abs(gain)
                at = gains + star * 6 + min(k, 2) * 2 + (1 if found > 0 else 0)
                minus = code_bit(state, buffer, tables, at, 1 if gain < 0 else 0, _FAST)
                where = star * 2 + close if k == 0 else 4 + star * 6 + min(previous // 16, 5)
                coarse = code_tree(
                    state,
                    buffer,
                    tables,
                    gains + 16 + where * (1 << _GAIN_BITS),
                    _GAIN_BITS,
                    size >> _FINE_BITS,
                    _FAST,
                )
                where = 2 * min(coarse, 5) + later
                fine = code_tree(
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
    state = start_encoder()
    _run(state, buffer, tables, maps, *origin, *shape[:3], shape.code_bits)
    return finish(state, buffer)


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
    state, buffer = start_decoder(data)
    if _run(state, buffer, tables, maps, *origin, *shape[:3], shape.code_bits):
        raise FormatError("damaged token stream: it holds codes that there are not")
    return maps
