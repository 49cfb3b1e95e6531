"""Taking a code out of latents, and choosing the gains of codes that are taken again.

Loops are compiled; they are for the encoder alone.
"""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import FloatArray

IntArray = NDArray[np.int64]

BAND = 40
"""Rows of cells that a thread takes; those between two others are taken later."""

_WORTH = 500  # codes from which on threads are worth it


@compiled
def nearest(size: float, values: FloatArray) -> int:
    """Return the index of the value nearest to a size; 0 is below half of the first."""
    low, high = 0, values.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if values[middle] <= size:
            low = middle
        else:
            high = middle
    return low if size - values[low] < values[high] - size else high


@compiled
def subtract(
    z: FloatArray,
    overlaps: FloatArray,
    sizes: FloatArray,
    unscored: FloatArray,
    i: int,
    j: int,
    code: int,
    value: float,
) -> None:
    """Take a code at a cell, times a value, out of the latents around."""
    h, w, dim = z.shape
    change = np.float32(value)
    for a in range(max(i - 3, 0), min(i + 4, h)):
        for b in range(max(j - 3, 0), min(j + 4, w)):
            place = (a - i + 3) * 7 + b - j + 3
            unscored[a, b] += sizes[code, place] * abs(change)
            for d in range(dim):
                z[a, b, d] -= overlaps[code, place, d] * change


def refit(
    z: FloatArray,
    overlaps: FloatArray,
    sizes: FloatArray,
    aims: FloatArray,
    rows: IntArray,
    unscored: FloatArray,
    values: FloatArray,
    sweeps: int,
) -> None:
    """Choose the gains of codes that are taken again, one after the other, for the least left.

    Every other band of rows is gone through first, then those between.

    Parameters
    ----------
    z, overlaps, sizes, unscored, values
        See `astro_vq.models.sparse_pursuit.pursue`.
    aims : ndarray of float32, shape (N, D)
        What latents are multiplied with for a code's gain.
    rows : ndarray of int64, shape (T, 4)
        Row, column, code and gain, which is changed; 0 where a code is not needed any more.
    sweeps : int
        How often to go through them.
    """
    band = rows[:, 0] // BAND
    order = np.argsort(band, kind="stable")
    stops = np.cumsum(np.bincount(band, minlength=1))
    parts = np.split(order, stops[:-1])

    def work(which: IntArray) -> bool:
        return bool(_refit_some(z, overlaps, sizes, aims, rows, which, unscored, values))

    for _ in range(sweeps):
        moved = [
            in_threads(work, some, worth=len(rows) > _WORTH) for some in (parts[::2], parts[1::2])
        ]
        if not any(map(any, moved)):
            break


@compiled
def _refit_some(
    z: FloatArray,
    overlaps: FloatArray,
    sizes: FloatArray,
    aims: FloatArray,
    rows: IntArray,
    which: IntArray,
    unscored: FloatArray,
    values: FloatArray,
) -> bool:
    """Choose the gains of some codes again; tell whether one changed."""
    moved = False
    for t in which:
        i, j, code, index = rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3]
        if index == 0:
            continue
        value = float(values[abs(index)])
        if index < 0:
            value = -value
        wanted = value + _product(z[i, j], aims[code])
        size = nearest(abs(wanted), values)
        new = -size if wanted < 0 else size
        if new == index:
            continue
        change = float(values[size]) * (-1.0 if wanted < 0 else 1.0) - value
        subtract(z, overlaps, sizes, unscored, i, j, code, change)
        rows[t, 3] = new
        moved = True
    return moved


@compiled_in_any_order
def _product(one: FloatArray, other: FloatArray) -> float:
    total = np.float32(0)
    for d in range(one.shape[0]):
        total += one[d] * other[d]
    return float(total)
