"""Bit patterns of floats as integers in the order of their values."""

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def bit_patterns(values: Values) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the bits of values as unsigned integers."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def to_ordered(values: Values) -> Indices:
    """Return float bit patterns as integers in the order of values; -0 is -1, +0 is 0."""
    width = values.dtype.itemsize
    signed = np.ascontiguousarray(values).view(f"i{width}").astype(np.int64)
    low = -(2 ** (8 * width - 1))
    return np.where(signed >= 0, signed, ~signed + low)


def from_ordered(indices: Indices, dtype: np.dtype[Any]) -> Values:
    """Undo `to_ordered`."""
    width = dtype.itemsize
    low = -(2 ** (8 * width - 1))
    signed = np.where(indices >= 0, indices, ~indices + low)
    return signed.astype(f"i{width}").view(dtype)
