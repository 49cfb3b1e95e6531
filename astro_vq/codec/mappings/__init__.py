"""Mappings: how an integer index becomes a stored value, and back.

To add one, give it a number and bytes in `astro_vq.codec.mappings.mapping`, and its arithmetic in
`ARITHMETIC`.
"""

import numpy as np
import numpy.typing as npt

from astro_vq.codec.mappings import integers, multiples, numbered, palette, placed
from astro_vq.codec.mappings.arithmetic import Arithmetic, Indices, Nearest, Values
from astro_vq.codec.mappings.mapping import (
    COUNTED,
    DITHERED,
    GRAINED,
    HIDDEN,
    IDENTITY,
    LOOP,
    ORDERED,
    PALETTE,
    RATIO,
    SCALE,
    SPLIT,
    STEP,
    Mapping,
)
from astro_vq.errors import FormatError

ARITHMETIC = {
    IDENTITY: Arithmetic(integers.same_values, integers.same_indices),
    STEP: Arithmetic(integers.step_values, integers.step_indices),
    COUNTED: Arithmetic(integers.cell_values, integers.cell_indices),
    SCALE: Arithmetic(multiples.scale_values, multiples.scale_indices),
    LOOP: Arithmetic(multiples.scale_values, multiples.scale_indices),
    SPLIT: Arithmetic(multiples.scale_values, multiples.scale_indices),
    RATIO: Arithmetic(multiples.ratio_values, multiples.ratio_indices),
    ORDERED: Arithmetic(numbered.ordered_values, numbered.ordered_indices),
    GRAINED: Arithmetic(numbered.grained_values, numbered.grained_indices),
    PALETTE: Arithmetic(palette.palette_values, palette.palette_indices),
    HIDDEN: Arithmetic(placed.hidden_values, placed.hidden_indices),
    DITHERED: Arithmetic(placed.dithered_values, placed.dithered_indices),
}
"""Kinds of mappings and what they do."""


def apply_mapping(indices: Indices, mapping: Mapping, dtype: npt.DTypeLike) -> Values:
    """Return the values that integers stand for, exactly as a decoder computes them.

    Raises
    ------
    FormatError
        The mapping is the place in a grid that is missing.
    """
    if mapping.kind not in ARITHMETIC:
        raise FormatError("damaged pixel stream: the grid of its values is missing")
    dtype = np.dtype(dtype)
    values = ARITHMETIC[mapping.kind].values(indices, mapping, dtype)
    if mapping.floor is not None and dtype.kind == "f":
        return np.where(values > 0, values, dtype.type(0))
    return values


def nearest_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the integers that come nearest, and where that makes sense at all."""
    return ARITHMETIC[mapping.kind].nearest(values, mapping)
