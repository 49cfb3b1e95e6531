"""Integers with a floor: the floor itself, exactly, and cells of equal width above it.

Index 0 is the floor alone, so that no other value decodes to it; index *i* stands for the middle
of *step* values: ``floor + i * step - (step - 1) / 2``, or the largest of the type.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_LARGEST_INDEX = 2**63 - 1


def count_cells(values: Values, step: int, floor: int) -> Indices:
    """Return the cells of integers that are not below the floor.

    Parameters
    ----------
    values : ndarray of integers
        Those below the floor get an arbitrary cell.
    step : int
        Width of a cell, odd, above 1.
    floor : int
        A number of the type.
    """
    above = _modulo(values) - np.uint64(floor % 2**64)
    cells = (above - np.uint64(1)) // np.uint64(step) + np.uint64(1)
    return np.where(above == 0, np.uint64(0), cells).astype(np.int64)


def middle_of_cells(indices: Indices, step: int, floor: int, dtype: npt.DTypeLike) -> Values:
    """Return what cells stand for; any index is taken."""
    dtype = np.dtype(dtype)
    top = int(np.iinfo(dtype).max)
    last = min((top - floor + (step - 1) // 2) // step, _LARGEST_INDEX)
    inside = np.clip(indices, 1, max(last, 1)).astype(np.uint64)
    above = inside * np.uint64(step) - np.uint64((step - 1) // 2)
    values = _wrapped(above + np.uint64(floor % 2**64), dtype)
    values = np.where(indices > last, np.array(top, dtype), values)
    return np.where(indices < 1, np.array(floor, dtype), values)


def _modulo(values: Values) -> npt.NDArray[np.uint64]:
    """Return integers modulo 2**64."""
    return values if values.dtype == np.uint64 else values.astype(np.int64).view(np.uint64)


def _wrapped(words: npt.NDArray[np.uint64], dtype: np.dtype[Any]) -> Values:
    return words if dtype == np.uint64 else words.view(np.int64).astype(dtype)
