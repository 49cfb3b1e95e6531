"""Mappings to floats in which indices depend on the place of the pixel: a hidden grid, a dither."""

from typing import Any

import numpy as np

from astro_vq.codec.hidden_grid import DITHER_2, Steps, read_grid, steps_of
from astro_vq.codec.mappings.arithmetic import (
    Floats,
    Indices,
    Nearest,
    Values,
    finite_floats,
    round_indices,
)
from astro_vq.codec.mappings.mapping import Mapping
from astro_vq.codec.position_dither import dither_of


def _steps(mapping: Mapping, shape: tuple[int, ...]) -> Steps:
    row, column = mapping.place or (0, 0)
    return steps_of(mapping.palette, row, column, (shape[0], shape[1]))


def _dither(mapping: Mapping, shape: tuple[int, ...]) -> Floats:
    row, column = mapping.place or (0, 0)
    return dither_of(mapping.seed, row, column, (shape[0], shape[1]))


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def hidden_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return the values of indices of the grid, or of each one in `stride`."""
    return _steps(mapping, indices.shape).values(indices * mapping.stride).astype(dtype)


@np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore")
def hidden_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the nearest indices of `hidden_values`."""
    real, usable = finite_floats(values)
    real = _steps(mapping, values.shape).nearest(real)
    if read_grid(mapping.palette).method == DITHER_2:  # zeros stand for themselves
        usable &= values != 0
    if mapping.stride != 1:
        real = np.rint(real) / mapping.stride
    return round_indices(real, usable)


@np.errstate(over="ignore", under="ignore")
def dithered_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return ``(index + dither) * step``."""
    dither = _dither(mapping, indices.shape)
    return np.asarray((indices + dither) * mapping.step).astype(dtype)


@np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore")
def dithered_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the nearest indices of `dithered_values`; zeros have none."""
    real, finite = finite_floats(values)
    real = real / mapping.step - _dither(mapping, values.shape)
    return round_indices(real, finite & (values != 0))
