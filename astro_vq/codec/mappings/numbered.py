"""Mappings that number floats in order: all of them, or those that a grain leaves."""

from typing import Any

import numpy as np

from astro_vq.codec.grained import from_numbers, to_numbers
from astro_vq.codec.mappings.arithmetic import Indices, Nearest, Values
from astro_vq.codec.mappings.mapping import Mapping
from astro_vq.codec.ordered import bit_patterns, from_ordered, to_ordered


def ordered_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return the floats of ordered bit patterns."""
    return from_ordered(indices, dtype)


def ordered_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return ordered bit patterns."""
    return to_ordered(values), np.isfinite(values)


def grained_values(numbers: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return the floats of numbers, their lowest bits included."""
    return from_numbers(numbers, mapping.grain, dtype)


def grained_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the numbers of floats, and which are among those that the grain leaves."""
    finite = np.isfinite(values)
    numbers = to_numbers(np.where(finite, values, 0).astype(values.dtype), mapping.grain)
    restored = grained_values(numbers, mapping, values.dtype)
    return numbers, bit_patterns(restored) == bit_patterns(values)
