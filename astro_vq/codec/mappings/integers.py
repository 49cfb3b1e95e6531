"""Mappings to stored integers: as they are, multiples of a step, cells above a floor."""

from typing import Any

import numpy as np

from astro_vq.codec.counted import count_cells, middle_of_cells
from astro_vq.codec.mappings.arithmetic import Indices, Nearest, Values
from astro_vq.codec.mappings.mapping import Mapping

_INT64_MAX = 2**63 - 1
_HALF_RANGE = np.uint64(2**63)


def same_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return the integers that are their own indices; uint64 turned about its middle."""
    if dtype == np.uint64:
        return np.asarray(indices.view(np.uint64) ^ _HALF_RANGE)
    return indices.astype(dtype)


def same_indices(values: Values, mapping: Mapping) -> Nearest:
    """Undo `same_values`."""
    if values.dtype == np.uint64:
        return (values ^ _HALF_RANGE).view(np.int64), np.ones(values.shape, bool)
    return values.astype(np.int64), np.ones(values.shape, bool)


def step_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return multiples of a whole step, as far as the dtype goes."""
    step, info = int(mapping.step), np.iinfo(dtype)
    if dtype == np.uint64:
        top = info.max // step
        capped = np.clip(indices, 0, min(top, _INT64_MAX)).astype(np.uint64)
        return np.where(indices > top, np.uint64(info.max), capped * np.uint64(step))
    low, high = -(-info.min // step), info.max // step  # the last multiples within the dtype
    out = np.clip(indices, low, high) * step
    out = np.where(indices > high, info.max, out)
    return np.where(indices < low, info.min, out).astype(dtype)


def step_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the nearest multiples of a whole step."""
    step, everywhere = int(mapping.step), np.ones(values.shape, bool)
    if values.dtype == np.uint64:
        quotient, left = np.divmod(values, np.uint64(step))
        return (quotient + (left > step // 2)).astype(np.int64), everywhere
    quotient, left = np.divmod(values.astype(np.int64), step)
    return quotient + (left > step // 2), everywhere


def cell_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return the floor, or the middle of a cell above it."""
    return middle_of_cells(indices, int(mapping.step), mapping.floor or 0, dtype)


def cell_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the cells of integers; none below the floor."""
    floor = mapping.floor or 0
    return count_cells(values, int(mapping.step), floor), np.asarray(values >= floor)
