"""Mappings to floats that are multiples of a step, or of one over a step."""

from typing import Any

import numpy as np

from astro_vq.codec.mappings.arithmetic import (
    Indices,
    Nearest,
    Values,
    finite_floats,
    round_indices,
)
from astro_vq.codec.mappings.mapping import LOOP, Mapping


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def scale_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return ``index * stride * step + offset``; in a loop the stride is for coders alone."""
    real = indices.astype(np.float64)
    if mapping.stride != 1 and mapping.kind != LOOP:
        real = real * float(mapping.stride)
    real = real * mapping.step
    if mapping.offset:
        real = real + mapping.offset
    return real.astype(dtype)


@np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore")
def scale_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the nearest indices of `scale_values`."""
    real, finite = finite_floats(values)
    real = (real - mapping.offset) / mapping.step
    if mapping.kind != LOOP:
        real = real / mapping.stride
    return round_indices(real, finite)


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def ratio_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return ``(index * stride + offset) / step``."""
    real = indices.astype(np.float64)
    if mapping.stride != 1:
        real = real * float(mapping.stride)
    return ((real + mapping.offset) / mapping.step).astype(dtype)


@np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore")
def ratio_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the nearest indices of `ratio_values`."""
    real, finite = finite_floats(values)
    return round_indices((real * mapping.step - mapping.offset) / mapping.stride, finite)
