"""A dither that a seed and the place of a pixel tell: the numbers of SplitMix64.

The 10,000 numbers of the FITS standard would do for fine steps, but all its rows begin within the
first 500 of them. Where the noise is below the step the error of a pixel follows from its number
alone, and the same few errors would come again in every row. Here each row has a sequence of its
own, and any tile gets its numbers without those before it.

References
----------
Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (OOPSLA).
"""

import functools

import numpy as np
import numpy.typing as npt

LARGEST_SEED = 2**63 - 1

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

Words = npt.NDArray[np.uint64]


@functools.lru_cache(maxsize=64)
def dither_of(seed: int, row: int, column: int, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return what is added to indices before they are multiplied by the step.

    Parameters
    ----------
    seed : int
        0 to `LARGEST_SEED`.
    row, column : int
        Where the rectangle begins; rows are counted on from plane to plane.
    shape : (int, int)
        Its height and width.

    Returns
    -------
    ndarray of float64, shape `shape`
        From -0.5 (exclusive) to 0.5, multiples of 2**-53, read-only.

    Examples
    --------
    >>> dither_of(0, 0, 0, (1, 2)).round(6).tolist()
    [[0.361291, -0.471102]]
    """
    rows = np.arange(row, row + shape[0], dtype=np.uint64)
    columns = np.arange(column, column + shape[1], dtype=np.uint64)
    start = _mix(np.array([seed], np.uint64) + _GAMMA)
    lines = _mix(start + (rows + np.uint64(1)) * _GAMMA)
    words = _mix(lines[:, None] + (columns + np.uint64(1)) * _GAMMA)
    dither = 0.5 - (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    dither.flags.writeable = False
    return np.asarray(dither)


def _mix(words: Words) -> Words:
    """Scramble 64 bits so that each of them depends on all."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return np.asarray(words ^ (words >> np.uint64(31)))
