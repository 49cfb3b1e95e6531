"""The H-transform of HCOMPRESS, undone and done again a level at a time, in exact integers.

Images that went through HCOMPRESS with loss are what its inverse makes of coefficients that are
multiples of a step. The inverse rounds in such a way that each level can be undone exactly: from
pixels to sums and details, from these sums to the next ones. Few distinct details are left.

References
----------
White 1993; CFITSIO, `hinv` in ``fits_hdecompress.c``, whose rounding `join_level` follows.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Level(NamedTuple):
    """Blocks of two by two as sums and details, all (h, w).

    Attributes
    ----------
    total : ndarray of int64
        Sums; multiples of ``4 << level``.
    down, across, cross : ndarray of int64
        Lower row less upper row, right column less left column, and the differences of these.
    """

    total: Integers
    down: Integers
    across: Integers
    cross: Integers


def split_level(pixels: Integers, level: int) -> Level:
    """Return sums and details from which `join_level` makes pixels (2 h, 2 w) again.

    Any integers have some; those of HCOMPRESS have multiples of its units. Level 0 is the finest.
    """
    low, high = 1 << level, 2 << level
    a, b, c, d = pixels[::2, ::2], pixels[::2, 1::2], pixels[1::2, ::2], pixels[1::2, 1::2]
    shift = 0 if level == 0 else 1
    total = (a + b + c + d) >> shift
    down, across = (d + c - b - a) >> shift, (d - c + b - a) >> shift
    cross = (d - c - b + a) >> shift
    first = cross & low
    second = (cross ^ down ^ across) & high
    up = total - first + second
    negative = total - np.where(first == 0, second, first - second)
    return Level(np.where(up >= 0, up, negative), _undo(down, first), _undo(across, first), cross)


def _undo(detail: Integers, first: Integers) -> Integers:
    moved = detail + first
    return np.where(moved >= 0, moved, detail - first)


def join_level(blocks: Level, level: int) -> Integers:
    """Return the pixels (2 h, 2 w) of blocks, as HCOMPRESS does."""
    low, high = 1 << level, 2 << level
    total, down, across, cross = blocks
    first = cross & low
    down = np.where(down >= 0, down - first, down + first)
    across = np.where(across >= 0, across - first, across + first)
    second = (cross ^ down ^ across) & high
    negative = np.where(first == 0, second, first - second)
    total = total + np.where(total >= 0, first - second, negative)
    shift = 2 if level == 0 else 1
    out = np.empty((2 * total.shape[0], 2 * total.shape[1]), np.int64)
    out[1::2, 1::2] = (total + down + across + cross) >> shift
    out[1::2, ::2] = (total + down - across - cross) >> shift
    out[::2, 1::2] = (total - down + across - cross) >> shift
    out[::2, ::2] = (total - down - across + cross) >> shift
    return out


def units(level: int, step: int) -> tuple[int, int]:
    """Return the units that details are counted in: of `down` and `across`, and of `cross`.

    Parameters
    ----------
    level : int
        0 is the finest.
    step : int
        SCALE of HCOMPRESS.
    """
    return max(step, 2 << level), max(step, 1 << level)


def detail_of(counts: Integers, unit: int, bit: int) -> Integers:
    """Return details from counts of a unit, rounded to multiples of `bit` as HCOMPRESS does.

    `bit` is ``2 << level`` for `down` and `across`, ``1 << level`` for `cross`.
    """
    value = counts * unit
    half = bit >> 1
    return (value + np.where(value >= 0, half, max(half - 1, 0))) & -bit


def count_units(details: Integers, unit: int) -> Integers:
    """Return the counts of units nearest to details."""
    size = (2 * np.abs(details) + unit) // (2 * unit)
    return np.where(details < 0, -size, size)
