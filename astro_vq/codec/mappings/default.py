"""The mapping of an image about which nothing but its bound is known."""

from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.brief import short_step
from astro_vq.codec.mappings.mapping import (
    COUNTED,
    DITHERED,
    IDENTITY,
    ORDERED,
    SCALE,
    STEP,
    Mapping,
)

_SHRINK_LIMIT = 0.01  # of the bound: how much of it may be given to rounding in the dtype


def default_mapping(
    values: npt.NDArray[Any], bound: float, *, floor: int | None = None, dither: int | None = None
) -> Mapping:
    """Return the mapping of a tile (or sample) about which nothing else is known.

    The step is twice the bound, less one rounding unit of the dtype at the largest usual value:
    then two neighbouring decoded values are never further apart than twice the bound.

    Parameters
    ----------
    values : ndarray
        Stored values.
    bound : float
        Largest error; 0 asks for the same bits.
    floor : int or None
        Value below which none is, and which only pixels at it decode to.
    dither : int or None
        Seed of a dither (floats only).
    """
    if values.dtype.kind != "f":
        half = min(int(bound), 2**62 - 1)
        if half and floor is not None:
            return Mapping(COUNTED, 2 * half + 1, floor=floor)
        return Mapping(STEP, 2 * half + 1) if half else Mapping(IDENTITY)
    if bound == 0:
        return Mapping(ORDERED)
    size = np.abs(values[np.isfinite(values)])
    step = 2.0 * bound
    if size.size:
        # method="higher" keeps float32 arithmetic out of it
        usual = np.quantile(size, 0.999, method="higher")
        unit = float(np.spacing(usual))
        if unit < _SHRINK_LIMIT * bound:
            step -= unit
    if not np.isfinite(step):
        step = np.finfo(np.float64).max
    step = short_step(float(step))
    if dither is not None:
        return Mapping(DITHERED, step, seed=dither)
    if floor is not None:  # index 0 for the floor alone, the others for cells above it
        return Mapping(SCALE, step, -step / 2, floor=floor)
    return Mapping(SCALE, step)
