"""What each kind of mapping must be able to do, and what kinds to floats have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.mappings.mapping import Mapping

_INDEX_LIMIT = 2.0**52  # float64 counts exactly that far
_NEAR = 2.0**26  # indices further from the middle are exceptions where they are few
_FEW = 0.01

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Nearest = tuple[Indices, Mask]
"""Integers that come nearest, and where that makes sense at all."""


class Arithmetic(NamedTuple):
    """Both directions of a kind of mapping.

    Attributes
    ----------
    values : callable
        From indices, mapping and dtype to values.
    nearest : callable
        From values and mapping to the nearest indices, and where there are any.
    """

    values: Callable[[Indices, Mapping, np.dtype[Any]], Values]
    nearest: Callable[[Values, Mapping], Nearest]


def finite_floats(values: Values) -> tuple[Floats, Mask]:
    """Return values as float64, 0 where they are not finite, and where they are."""
    finite = np.isfinite(values)
    return np.where(finite, values, 0).astype(np.float64), finite


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def round_indices(real: Floats, usable: Mask) -> Nearest:
    """Return real indices as integers; those that are too large, or lone and far, are none."""
    usable = usable & (np.abs(real) < _INDEX_LIMIT)  # not where `real` is NaN
    if usable.any():
        near = usable & (np.abs(real - np.median(real[usable])) < _NEAR)
        if np.count_nonzero(near) >= (1 - _FEW) * np.count_nonzero(usable):
            usable = near
    return np.rint(np.where(usable, real, 0)).astype(np.int64), usable
