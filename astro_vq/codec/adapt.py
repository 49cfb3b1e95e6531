"""What the encoder fits to an image and stores for the decoder."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.coders import MAPPED_CODERS, THOROUGH, WHOLE_TILE_CODERS, Spec
from astro_vq.codec.fit_scales import fit_scale_model
from astro_vq.codec.fitted import FittedPlanes, reconstruct
from astro_vq.codec.hidden_grid import HiddenGrid
from astro_vq.codec.lattice import KINDS, Phase, count_levels
from astro_vq.codec.planes import Plane, middle
from astro_vq.codec.predict import choose_weights, sample_phase
from astro_vq.codec.quantize import HIDDEN, LOOP, SPLIT, Mapping, default_mapping, quantize_tile
from astro_vq.codec.shared import Shared
from astro_vq.codec.structure import candidate_mappings, hidden_mappings
from astro_vq.codec.transformed import TransformedPlanes, fit_transform

_FITTED_LEVELS = 4  # coarser ones hold too few pixels to pay for their weights
# by effort: pixels of tiles to fit to, pixels of a phase, rounds of fits in a loop
_FITTED_PIXELS = (150_000, 300_000, 500_000)
_SCALED_LEVELS = 4  # with scale models of their own, where they pay
_SAMPLE = (5_000, 12_000, 24_000)
_LOOP_ROUNDS = (0, 1, 2)
_FAST = 2
_WIDER = 0.97
_FEWEST_PIXELS = 4096  # images smaller than this go without side information

Placed = tuple[npt.NDArray[Any], tuple[int, int] | None]
"""A tile, and where it begins on the grid of its image."""


def fit_side_information(
    tiles: Sequence[npt.NDArray[Any]],
    spec: Spec,
    effort: int,
    grid: HiddenGrid | None = None,
    places: Sequence[tuple[int, int]] = (),
) -> Shared:
    """Return mapping, predictor weights and statistics fitted to sample tiles of an HDU."""
    if sum(tile.size for tile in tiles) < _FEWEST_PIXELS:
        return Shared()
    where: Sequence[tuple[int, int] | None] = places or [None] * len(tiles)
    placed = list(zip(tiles, where, strict=True))
    thorough = effort >= THOROUGH
    mappings = candidate_mappings(list(tiles), spec.bound, spec.blank, thorough=thorough)
    if grid is not None:
        mappings = [*hidden_mappings(placed, grid, spec.bound), *mappings]
        if mappings[0].kind == HIDDEN and grid.usual_step >= _WIDER * 2 * spec.bound:
            mappings = mappings[:1]  # exact, and yet no finer than the bound asks for
    if len(mappings) == 1:
        return _fit_mapping(placed, mappings[0], spec, effort)
    choices = [_fit_mapping(placed, mapping, spec, effort) for mapping in mappings]
    sample = [placed[i] for i in sorted({0, len(tiles) // 3, len(tiles) // 2, len(tiles) - 1})]
    share = sum(tile.size for tile in tiles) / max(sum(tile.size for tile, _ in sample), 1)
    sizes = [
        len(shared.to_bytes()) + share * _trial_size(sample, shared, spec, effort)
        for shared in choices
    ]
    return choices[int(np.argmin(sizes))]


def _pace(effort: int) -> int:
    """Return which of three budgets an effort stands for."""
    return 0 if effort <= _FAST else 1 if effort < THOROUGH else 2


def _trial_size(placed: Sequence[Placed], shared: Shared, spec: Spec, effort: int) -> int:
    """Return how many bytes sample tiles take under a choice of side information."""
    tiles = [tile for tile, _ in placed]
    mapping = shared.mapping or default_mapping(tiles[0], spec.bound)
    mappings = [mapping.at(place) for _, place in placed]
    quantized = [
        quantize_tile(tile, spec.bound, own, blank=spec.blank)
        for tile, own in zip(tiles, mappings, strict=True)
    ]
    sizes = [tile.nbytes for tile in tiles]
    for whole in WHOLE_TILE_CODERS:
        plain = whole.encode(tiles, effort)
        sizes = [min(n, len(s)) if s else n for n, s in zip(sizes, plain, strict=True)]
    for coder in MAPPED_CODERS:
        if coder.effort <= min(effort, 8):
            streams = coder.encode_quantized(quantized, mappings, shared, effort)
            sizes = [min(n, len(s)) if s else n for n, s in zip(sizes, streams, strict=True)]
    return sum(sizes)


def _fit_mapping(placed: Sequence[Placed], mapping: Mapping, spec: Spec, effort: int) -> Shared:
    """Return what is fitted to sample tiles under a mapping."""
    planes = [_plane(tile, mapping.at(at), spec) for tile, at in placed]
    bands = b"" if mapping.kind in (LOOP, SPLIT) else fit_transform(planes)
    shared = _fit_planes(planes, mapping, effort)
    if not bands:
        return shared
    both = dataclasses.replace(shared, bands=bands)
    sample = planes[len(planes) // 2 : len(planes) // 2 + 1]
    sizes = [
        coder.encode(sample, both, effort)[0] for coder in (TransformedPlanes(), FittedPlanes())
    ]
    if sizes[0] is None or (sizes[1] is not None and len(sizes[1]) < len(sizes[0])):
        return shared
    return both


def _fit_planes(planes: Sequence[Plane], mapping: Mapping, effort: int) -> Shared:
    """Return what is fitted to planes of integers under a mapping."""
    stacks = [s for plane in planes if (s := _complete(plane)) is not None]
    total = sum(s.size for s in stacks)
    stacks = stacks[:: max(1, total // _FITTED_PIXELS[_pace(effort)])]
    if not stacks:
        return Shared(mapping)
    share = total / sum(s.size for s in stacks)
    if mapping.kind != LOOP:
        return _fit_stacks(stacks, stacks, mapping, share, effort)
    # decoders know neighbours up to the bound only: first as if by chance, then as they will be
    rng = np.random.default_rng(0)
    half = mapping.stride // 2
    known = [s + rng.integers(-half, half + 1, s.shape) for s in stacks]
    for _ in range(_LOOP_ROUNDS[_pace(effort)]):
        shared = _fit_stacks(known, stacks, mapping, share, effort)
        known = [reconstruct(s, shared) for s in stacks]
    return _fit_stacks(known, stacks, mapping, share, effort)


def _fit_stacks(
    stacks: Sequence[npt.NDArray[np.int64]],
    targets: Sequence[npt.NDArray[np.int64]],
    mapping: Mapping,
    share: float,
    effort: int,
) -> Shared:
    """Return what is fitted to complete tiles, of which decoders know `stacks`."""
    shared = Shared(mapping)
    levels = max(count_levels(s.shape[1:]) for s in stacks)
    for level in range(min(levels, _FITTED_LEVELS)):
        deep = [i for i, s in enumerate(stacks) if count_levels(s.shape[1:]) > level]
        near, pixels = [stacks[i] for i in deep], [targets[i] for i in deep]
        for kind in range(KINDS):
            for n in range(4):
                _fit(near, pixels, Phase(level, 4 * kind + n), shared, share, effort)
            if level < _SCALED_LEVELS:
                weights = [shared.weights_of(Phase(level, 4 * kind + n)) for n in range(4)]
                model = fit_scale_model(
                    near,
                    level,
                    kind,
                    weights,
                    targets=pixels,
                    loop=shared.loop,
                    inherited=shared.scale_model_of(Phase(level, 4 * kind)) if level else None,
                    share=share,
                )
                if model is not None:
                    shared.scales[level, kind] = model
    return shared


def _fit(
    stacks: Sequence[npt.NDArray[np.int64]],
    targets: Sequence[npt.NDArray[np.int64]],
    phase: Phase,
    shared: Shared,
    share: float,
    effort: int,
) -> None:
    """Enter the weights of a phase if they pay."""
    sample = sample_phase(stacks, phase, _SAMPLE[_pace(effort)], targets)
    pixels = round(share * sum(phase.pixels(s).size for s in stacks))
    weights = choose_weights(sample, shared.weights_of(phase), pixels, shared.loop)
    if weights is not None:
        shared.weights[phase] = weights


def _plane(tile: npt.NDArray[Any], mapping: Mapping, spec: Spec) -> Plane:
    """Return the integers of a tile."""
    quantized = quantize_tile(tile, spec.bound, mapping, blank=spec.blank)
    return Plane(quantized.indices, quantized.exceptions.mask)


def _complete(plane: Plane) -> npt.NDArray[np.int64] | None:
    """Return a plane as a stack of one with its holes filled, or None if it is of no use."""
    mask, centre = plane.mask, middle(plane)
    if centre is None or not count_levels((mask.shape[0], mask.shape[1])):
        return None
    indices = plane.indices - centre
    if mask.any():
        # the last good pixel before each hole in C order, or the first one after it
        good = np.flatnonzero(~mask)
        place = np.searchsorted(good, np.arange(mask.size), side="right") - 1
        indices = indices.ravel()[good[np.maximum(place, 0)]].reshape(mask.shape)
    return indices[None]
