"""What the encoder fits to an image and stores for the decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.coders import Spec
from astro_vq.codec.engine_data import load_engine
from astro_vq.codec.lattice import TAPS, Phase, count_levels, phases
from astro_vq.codec.planes import Plane, middle
from astro_vq.codec.predict import Weights, fit_phase, predict
from astro_vq.codec.quantize import Mapping, default_mapping, quantize_tile
from astro_vq.codec.shared import Shared
from astro_vq.codec.statistics import measure_statistics

_FITTED_LEVELS = 4  # coarser ones hold too few pixels to pay for their weights
_FEWEST_PIXELS = 4096  # images smaller than this go without side information


def fit_side_information(tiles: Sequence[npt.NDArray[Any]], spec: Spec, effort: int) -> Shared:
    """Return mapping and predictor weights fitted to sample tiles of an HDU."""
    if sum(tile.size for tile in tiles) < _FEWEST_PIXELS:
        return Shared()
    mapping = default_mapping(np.concatenate([t.ravel() for t in tiles]), spec.bound)
    stacks = [s for t in tiles if (s := _complete(t, mapping, spec)) is not None]
    if not stacks:
        return Shared(mapping)
    levels = max(count_levels(s.shape[1:]) for s in stacks)
    weights = {
        phase: fit_phase([s for s in stacks if count_levels(s.shape[1:]) > phase.level], phase)
        for phase in phases(min(levels, _FITTED_LEVELS))
    }
    statistics = {
        phase: _statistics([s for s in stacks if count_levels(s.shape[1:]) > phase.level], phase, w)
        for phase, w in weights.items()
    }
    return Shared(mapping, weights, statistics)


def _statistics(
    stacks: Sequence[npt.NDArray[np.int64]], phase: Phase, weights: Weights
) -> npt.NDArray[np.int64]:
    """Return the statistics of a phase over tiles, given its predictor."""
    tables = load_engine()[phase.number].tables
    parts = []
    for stack in stacks:
        neighbours = phase.neighbours(stack).reshape(TAPS, -1)
        prediction = predict(neighbours, weights)
        scale = tables.context(neighbours, prediction).scale
        parts.append((prediction, scale, phase.pixels(stack).ravel()))
    prediction, scale, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return measure_statistics(prediction, scale, values)


def _complete(tile: npt.NDArray[Any], mapping: Mapping, spec: Spec) -> npt.NDArray[np.int64] | None:
    """Return a tile as a stack of one with its holes filled, or None if it is of no use."""
    quantized = quantize_tile(tile, spec.bound, mapping, blank=spec.blank)
    mask = quantized.exceptions.mask
    centre = middle(Plane(quantized.indices, mask))
    if centre is None or not count_levels((tile.shape[0], tile.shape[1])):
        return None
    indices = quantized.indices - centre
    if mask.any():
        # the last good pixel before each hole in C order, or the first one after it
        good = np.flatnonzero(~mask)
        place = np.searchsorted(good, np.arange(mask.size), side="right") - 1
        indices = indices.ravel()[good[np.maximum(place, 0)]].reshape(mask.shape)
    return indices[None]
