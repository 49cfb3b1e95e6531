"""What the encoder fits to an image and stores for the decoder."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.choose_model import choose_model
from astro_vq.codec.coders import MAPPED_CODERS, THOROUGH, WHOLE_TILE_CODERS, Spec
from astro_vq.codec.hidden_grid import HiddenGrid
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.mappings.mapping import HIDDEN, IN_TWO_PARTS, LOOP, Mapping
from astro_vq.codec.mixed import MixedPlanes
from astro_vq.codec.planes import SLOWEST_FAST, Plane
from astro_vq.codec.quantize import quantize_tile
from astro_vq.codec.shared import Shared
from astro_vq.codec.structure import candidate_mappings, hidden_mappings
from astro_vq.codec.transformed import TransformedPlanes, fit_transform

_WIDER = 0.97
_CAREFUL = 5  # from this effort on small images get trials of their own
_SMALL_PIXELS = 2**14
_FEW_BYTES = 4096
_USUAL_FEWEST = 4096
_FEWEST_PIXELS = 256  # images smaller than this go without side information

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
    pixels = sum(tile.size for tile in tiles)
    small = pixels <= _SMALL_PIXELS and effort >= _CAREFUL  # what is fitted may not pay
    if pixels < (_FEWEST_PIXELS if small else _USUAL_FEWEST):
        return Shared()
    where: Sequence[tuple[int, int] | None] = places or [None] * len(tiles)
    placed = list(zip(tiles, where, strict=True))
    thorough = effort >= THOROUGH
    if spec.dither is not None and spec.bound > 0:
        values = np.concatenate([tile.ravel() for tile in tiles])
        mappings = [default_mapping(values, spec.bound, dither=spec.dither)]
    else:
        mappings = candidate_mappings(
            list(tiles), spec.bound, spec.blank, floor=spec.floor, thorough=thorough
        )
    if grid is not None:
        hidden = [m.above(spec.floor) for m in hidden_mappings(placed, grid, spec.bound)]
        if spec.dither is not None:  # values that are exact have no bias either
            hidden = [m for m in hidden if m.stride == 1]
        mappings = [*hidden, *mappings]
        if mappings[0].kind == HIDDEN and grid.usual_step >= _WIDER * 2 * spec.bound:
            mappings = mappings[:1]  # exact, and yet no finer than the bound asks for
    exact_floats = spec.bound == 0 and tiles[0].dtype.kind == "f"
    choices = [_fit_mapping(placed, mapping, spec, effort) for mapping in mappings]
    if small or exact_floats:
        choices.append(Shared())  # where nothing but plain coders serves, nothing is stored
    if len(choices) == 1:
        return choices[0]
    sample = [placed[i] for i in sorted({0, len(tiles) // 3, len(tiles) // 2, len(tiles) - 1})]
    share = pixels / max(sum(tile.size for tile, _ in sample), 1)

    def size(shared: Shared) -> float:
        return len(shared.to_bytes()) + share * _trial_size(sample, shared, spec, effort)

    sizes = [size(shared) for shared in choices]
    if small or min(sizes) < _FEW_BYTES:
        lean = [dataclasses.replace(c, mixing=b"") for c in choices if c.mixing]
        choices, sizes = choices + lean, sizes + [size(shared) for shared in lean]
    return choices[int(np.argmin(sizes))]


def _trial_size(placed: Sequence[Placed], shared: Shared, spec: Spec, effort: int) -> int:
    """Return how many bytes sample tiles take under a choice of side information."""
    tiles = [tile for tile, _ in placed]
    mapping = shared.mapping or default_mapping(
        tiles[0], spec.bound, floor=spec.floor, dither=spec.dither
    )
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
    may_be_transformed = effort > SLOWEST_FAST and mapping.kind not in (LOOP, *IN_TWO_PARTS)
    bands = fit_transform(planes) if may_be_transformed else b""
    shared = Shared(mapping)
    model = choose_model(planes, loop=shared.loop, effort=effort)
    if model is not None:
        shared = dataclasses.replace(shared, mixing=model.to_bytes())
    if not bands:
        return shared
    both = dataclasses.replace(shared, bands=bands)
    sample = planes[len(planes) // 2 : len(planes) // 2 + 1]
    sizes = [
        coder.encode(sample, both, effort)[0] for coder in (TransformedPlanes(), MixedPlanes())
    ]
    if sizes[0] is None or (sizes[1] is not None and len(sizes[1]) < len(sizes[0])):
        return shared
    return both


def _plane(tile: npt.NDArray[Any], mapping: Mapping, spec: Spec) -> Plane:
    """Return the integers of a tile."""
    quantized = quantize_tile(tile, spec.bound, mapping, blank=spec.blank)
    return Plane(quantized.indices, quantized.exceptions.mask)
