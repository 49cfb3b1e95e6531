"""Sparse tokens as rows, and as maps of indices; see `astro_vq.models.sparse_encoder.Tokens`."""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.models.sparse_gains import GAINS

IntArray = NDArray[np.int64]


def with_room(rows: IntArray, most: int) -> NDArray[np.bool_]:
    """Return which tokens are among the first so many of their position."""
    _, position, counts = np.unique(rows[:, 1:3], axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(position.ravel(), kind="stable")
    number = np.empty(len(rows), np.int64)  # of each among those of its position
    number[order] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(number < most)


def fill_map(out: NDArray[np.integer], rows: IntArray, per_level: int) -> None:
    """Write tokens (see `Tokens.rows`) as indices (2 K, h, w), in their order at each position.

    Raises
    ------
    ValueError
        A position has more than K tokens.
    """
    out[:] = 0
    if not _fill_map(out, rows, per_level, GAINS):
        raise ValueError(f"a position has more than {out.shape[0] // 2} tokens")


@compiled
def _fill_map(out: NDArray[np.integer], rows: IntArray, per_level: int, zero: int) -> bool:
    filled = np.zeros(out.shape[1:], np.uint8)
    for t in range(rows.shape[0]):
        y, x = rows[t, 1], rows[t, 2]
        k = filled[y, x]
        if 2 * k >= out.shape[0]:
            return False
        out[2 * k, y, x] = 1 + rows[t, 0] * per_level + rows[t, 3]
        out[2 * k + 1, y, x] = zero + rows[t, 4]
        filled[y, x] = k + 1
    return True


def list_tokens(maps: NDArray[np.integer], per_level: int) -> IntArray:
    """Return the tokens (T, 5), see `Tokens.rows`, of indices (2 K, h, w).

    The first of each position, row by row, then the second of each, as they are drawn.
    """
    return _list_tokens(maps, per_level, GAINS)  # type: ignore[no-any-return]


@compiled
def _list_tokens(maps: NDArray[np.integer], per_level: int, zero: int) -> IntArray:
    depth, h, w = maps.shape
    first, count = 0, 0
    for y in range(h):
        for x in range(w):
            if maps[0, y, x] != 0:
                first += 1
                k = 0
                while 2 * k < depth and maps[2 * k, y, x] != 0:
                    count += 1
                    k += 1
    rows = np.empty((count, 5), np.int64)
    t = 0
    for y in range(h):
        for x in range(w):
            if maps[0, y, x] != 0:
                rows[t, 1], rows[t, 2] = y, x
                t += 1
    begin, end = 0, first
    for k in range(depth // 2):
        for n in range(begin, end):
            y, x = rows[n, 1], rows[n, 2]
            index = maps[2 * k, y, x] - 1
            rows[n, 0], rows[n, 3] = index // per_level, index % per_level
            rows[n, 4] = maps[2 * k + 1, y, x] - zero
            if 2 * k + 2 < depth and maps[2 * k + 2, y, x] != 0:
                rows[t, 1], rows[t, 2] = y, x
                t += 1
        begin, end = end, t
    return rows
