"""Bands of a wavelet transform, as integers, in and out of the adaptive binary range coder.

Bands are coded from coarse to fine. A band is looked through in blocks of 16 x 16: a bit says
whether a block is all zero. In other blocks each integer has a bit for zero, a sign and its size,
with probabilities that depend on the sizes to the left, above, and at the same place in the band
of the same direction one level coarser. Probabilities begin at what is usual and adapt the faster
the less they have seen. Integer arithmetic throughout.

References
----------
Taubman & Marcellin 2002, "JPEG2000", ch. 8 (contexts of significance, here of sizes, and with the
parent as in Shapiro 1993, IEEE TSP 41, 3445).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.binary_coder import (
    Integers,
    code_bit_inside,
    finish,
    start_decoder,
    start_encoder,
)
from astro_vq.entropy.compiled import compiled, compiled_into_callers
from astro_vq.entropy.start_contexts import start_contexts
from astro_vq.errors import FormatError

Bands = Sequence[NDArray[np.int32]]

BLOCK = 16
LARGEST = 2**30
"""Integers are smaller than this in size."""

_LIMITS = np.array([0, 1, 2, 3, 5, 7, 10, 15, 24, 40, 80, 200], np.int64)
_CLASSES = 13  # of what is around, by these limits
_KINDS = np.searchsorted(_LIMITS, np.arange(202))
_DEPTHS = 3  # classes of levels: the finest, the next, all others
_UNARY = 14  # sizes that are counted up; larger ones follow by their bits
_FIRST, _SLOWEST = 12, 24  # counts to start from, and to stop at: adaption by a quarter of them
_BLOCKS_FROM = _DEPTHS * _CLASSES * (2 + _UNARY)
_BITS_FROM = _BLOCKS_FROM + _DEPTHS * 8
CONTEXTS = _BITS_FROM + 64
"""How many probabilities there are."""


def _code_adapting(
    state: Integers,
    buffer: NDArray[np.uint8],
    tables: Integers,
    seen: Integers,
    at: int,
    bit: int,
) -> int:
    n = seen[at]
    if n < _SLOWEST:
        seen[at] = n + 1
    return int(code_bit_inside(state, buffer, tables, at, bit, 1 + n // 4))


_code = compiled(_code_adapting)
_code_inside = compiled_into_callers(_code_adapting)  # in the loop over very many bits


@compiled
def _fill_blocks(rows: NDArray[np.int32], side: int, out: NDArray[np.bool_]) -> None:
    """Write which blocks of so many columns have anything in some rows."""
    w = rows.shape[1]
    every = np.zeros(out.shape[0] * side, np.int32)
    for y in range(rows.shape[0]):
        row = rows[y]
        for x in range(min(w, every.shape[0])):
            every[x] |= row[x]
    for k in range(out.shape[0]):
        seen = 0
        for x in range(k * side, (k + 1) * side):
            seen |= every[x]
        out[k] = seen != 0


@compiled
def _run_band(
    state: Integers,
    buffer: NDArray[np.uint8],
    tables: Integers,
    seen: Integers,
    band: NDArray[np.int32],
    parent: NDArray[np.int32],
    depth: int,
) -> int:
    """Code or decode a band; return 0, or 1 where it is damaged."""
    h, w = band.shape
    ph, pw = parent.shape
    coding = state[5] == 1
    across = (w + 15) // 16
    above = np.zeros(across + 1, np.int64)  # which blocks of the row above have anything
    own, coarse = np.zeros(across, np.bool_), np.zeros(across, np.bool_)
    sizes = np.zeros((h + 1, w + 2), np.int32)
    for top in range(0, h, 16):
        before = 0
        bottom = min(top + 16, h)
        if coding:
            _fill_blocks(band[top:bottom], 16, own)
        if ph > 0:
            _fill_blocks(parent[top // 2 : min((bottom + 1) // 2, ph)], 8, coarse)
        for left in range(0, w, 16):
            right = min(left + 16, w)
            there, below = int(own[left // 16]), int(coarse[left // 16])
            at = _BLOCKS_FROM + depth * 8 + 4 * below + 2 * before + min(above[left // 16], 1)
            there = _code(state, buffer, tables, seen, at, there)
            before, above[left // 16] = there, there
            if there == 0:
                continue
            for y in range(top, bottom):
                for x in range(left, right):
                    around = 2 * (sizes[y + 1, x] + sizes[y, x + 1]) + sizes[y, x] + sizes[y, x + 2]
                    if ph > 0:
                        around += 2 * abs(parent[min(y // 2, ph - 1), min(x // 2, pw - 1)])
                    kind = _KINDS[min(around, _KINDS.shape[0] - 1)]
                    start = (depth * _CLASSES + kind) * (2 + _UNARY)
                    size, minus = 0, 0
                    if coding:
                        size, minus = abs(band[y, x]), 1 if band[y, x] < 0 else 0
                    k = 0
                    while k < _UNARY:
                        bit = 1 if size > k else 0
                        more = _code_inside(state, buffer, tables, seen, start + k, bit)
                        if more == 0:
                            break
                        k += 1
                    if k == _UNARY:
                        k += _code_large(state, buffer, tables, seen, size - _UNARY)
                        if k >= LARGEST:
                            return 1
                    if k > 0:
                        minus = _code(state, buffer, tables, seen, start + 1 + _UNARY, minus)
                        if not coding:
                            band[y, x] = -k if minus == 1 else k
                    sizes[y + 1, x + 1] = min(k, 1000)
    return 0


@compiled
def _code_large(
    state: Integers, buffer: NDArray[np.uint8], tables: Integers, seen: Integers, value: int
) -> int:
    """Code or decode an integer from 0 on: how many bits it and one more take, then the bits."""
    coding = state[5] == 1
    length = 0
    if coding:
        while (value + 1) >> (length + 1) > 0:
            length += 1
    k = 0
    while k < 31:
        more = _code(state, buffer, tables, seen, _BITS_FROM + k, 1 if length > k else 0)
        if more == 0:
            break
        k += 1
    out = 1
    for place in range(k - 1, -1, -1):
        bit = ((value + 1) >> place) & 1 if coding else 0
        at = _BITS_FROM + 32 + min(place, 31)
        out = 2 * out + _code(state, buffer, tables, seen, at, bit)
    return out - 1


def _depth(band: int, count: int) -> int:
    return min((count - 1 - band) // 3, _DEPTHS - 1)


def first_contexts() -> Integers:
    """Return the probabilities to start from."""
    return start_contexts(2, "detail", CONTEXTS)


def encode_bands(bands: Bands, tables: Integers) -> bytes:
    """Return the code of bands; no bytes where all are zero.

    Parameters
    ----------
    bands : sequence of ndarray of int32, shapes (h, w)
        The coarsest mean, then three for each level, coarse to fine, directions in one order.
        Sizes below `LARGEST`.
    tables : ndarray of int64, shape (CONTEXTS,)
        Probabilities to start from; they adapt to what is coded, in place.
    """
    count = sum(int(np.count_nonzero(band)) for band in bands)
    if not count:
        return b""
    buffer = np.zeros(64 + 32 * count + 2 * sum(band.size for band in bands), np.uint8)
    state = start_encoder()
    if _run(state, buffer, bands, tables):
        raise ValueError(f"an integer of a band is not below {LARGEST} in size")
    return finish(state, buffer)


def decode_bands(
    data: bytes, shapes: Sequence[tuple[int, int]], tables: Integers
) -> list[NDArray[np.int32]]:
    """Return the bands that `encode_bands` coded.

    Raises
    ------
    FormatError
        The code is damaged (not every damage shows; keep a checksum beside it).
    """
    bands = [np.zeros(shape, np.int32) for shape in shapes]
    if data:
        state, buffer = start_decoder(data)
        if _run(state, buffer, bands, tables):
            raise FormatError("damaged token stream: its detail has integers that are too large")
    return bands


def _run(state: Integers, buffer: NDArray[np.uint8], bands: Bands, tables: Integers) -> int:
    seen = np.full(CONTEXTS, _FIRST, np.int64)
    nothing = np.zeros((0, 0), np.int32)
    for k, band in enumerate(bands):
        parent = bands[k - 3] if k > 3 else nothing
        depth = _depth(k, len(bands))
        if _run_band(state, buffer, tables, seen, band, parent, depth):
            return 1
    return 0
