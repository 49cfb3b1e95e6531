"""Whether decoded values keep what was promised, decided without rounding."""

from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.mappings.mapping import DITHERED, Mapping
from astro_vq.codec.ordered import bit_patterns

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def is_within(restored: Values, values: Values, bound: float) -> Mask:
    """Whether each restored value keeps the bound; at bound 0, whether it has the same bits."""
    if values.dtype.kind != "f":
        if bound < 1:
            return np.asarray(restored == values)
        low, high = np.minimum(restored, values), np.maximum(restored, values)
        gap = bit_patterns(high) - bit_patterns(low)  # exact modulo 2**bits, and not negative
        return np.asarray(gap <= np.uint64(min(bound, 2.0**63)))
    if bound == 0:
        return np.asarray(bit_patterns(restored) == bit_patterns(values))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        a, b = restored.astype(np.float64), values.astype(np.float64)
        gap = a - b
        back = gap - a
        rest = (a - (gap - back)) - (b + back)  # what rounding took from the gap (Knuth's TwoSum)
        rest = np.where(gap < 0, -rest, rest)
        size = np.abs(gap)
        return np.asarray((size < bound) | ((size == bound) & (rest <= 0)))


def has_same_floor(restored: Values, values: Values, mapping: Mapping) -> Mask | bool:
    """Whether pixels at the floor (with dither: at zero) are the ones that decode to it."""
    floor = 0 if mapping.kind == DITHERED else mapping.floor
    return True if floor is None else (restored == floor) == (values == floor)


def has_slack(values: Values, bound: float, mapping: Mapping) -> Mask:
    """Whether any index within half a stride keeps the bound, rounding to the dtype included."""
    with np.errstate(over="ignore", invalid="ignore"):
        top = (np.abs(values) + bound).astype(values.dtype)
        rounding = np.spacing(top).astype(np.float64)
        worst = mapping.stride / 2 * mapping.step * (1 + 1e-9)
        return np.asarray(worst + rounding <= bound)
