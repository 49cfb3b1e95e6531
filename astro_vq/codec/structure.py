"""Which mappings from integers to values are worth trying for an image."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.brief import short_step
from astro_vq.codec.find_scale import find_scale
from astro_vq.codec.find_steps import find_lattice
from astro_vq.codec.grained import find_grain, plain_bits_of, to_numbers
from astro_vq.codec.hidden_grid import DITHER_2, HiddenGrid
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.mappings.mapping import GRAINED, HIDDEN, LOOP, RATIO, SCALE, SPLIT, Mapping
from astro_vq.codec.mappings.palette import make_palette
from astro_vq.codec.phases import PHASES, best_phase
from astro_vq.codec.planes import Plane
from astro_vq.codec.quantize import quantize_tile
from astro_vq.codec.transformed import is_transformed

_COARSE = 8.0  # coarse steps per noise sigma of lossless floats
_FEW_LEVELS = 0.5  # distinct values per pixel
_LOOP_BOUND = 0.3  # of the noise sigma: at finer bounds a loop has nothing to win
_LIKELY_LOOP_BOUND = 0.7
_LOOP_STRIDE = 15
_PHASE_BOUND = 0.4
_LOOP_SLACK = 0.01
_USUAL = 0.99999
_LARGEST_PALETTE = 1 << 17
_MEDIAN_TO_SIGMA = 0.6745
_MISSES = 0.05  # of pixels that may lie off a hidden grid
_USUAL_STEP = 0.995
_LATTICE_BOUND = 2.0  # sigma: at looser bounds few lattices are coarse enough to matter
_LATTICE_USUAL = 0.998
_LARGEST_STRIDE = 2**20
_SAVED = 0.02  # bits a pixel that make a grain worth a trial
_FINE = 4  # steps within the bound, from which on exact values are not worth a trial

_LOOKED_AT = 3  # tiles

Values = npt.NDArray[Any]


def candidate_mappings(
    tiles: list[Values],
    bound: float,
    blank: int | None,
    *,
    floor: int | None = None,
    thorough: bool = True,
) -> list[Mapping]:
    """Return mappings that may suit sample tiles of an image, the usual one first.

    Parameters
    ----------
    tiles : list of ndarray, shape (H, W) each
        Stored values.
    bound : float
        Largest error; 0 is lossless.
    blank : int or None
        Stored integer of missing pixels.
    floor : int or None
        Stored value that only pixels at it decode to, and nothing to less.
    thorough : bool
        Name more than one where noise and bound alone tell which is likely to be best.
    """
    values = np.concatenate([tile.ravel() for tile in tiles])
    mappings = [default_mapping(values, bound, floor=floor)]
    if values.dtype.kind == "f" and not bound:
        sigma = _noise(tiles)
        if sigma > 0:
            split = Mapping(SPLIT, float(2.0 ** np.floor(np.log2(sigma / _COARSE))))
            mappings = [split, *mappings] if thorough else [split]
        mappings += [*_grained_mappings(tiles), *_scaled_mappings(values)]
    if values.dtype.kind == "f" and bound:
        if floor is None and bound > _PHASE_BOUND * _noise(tiles):
            mappings += _moved_mappings(values, mappings[0])
        mappings += _lattice_mappings(values, bound, _noise(tiles))
    lowest = _LOOP_BOUND if thorough else _LIKELY_LOOP_BOUND
    if values.dtype.kind == "f" and bound > lowest * _noise(tiles):
        loop = _loop_mapping(values, bound)
        if loop is not None:
            mappings.append(loop)
    if not bound or values.dtype.kind == "f":
        good = values[np.isfinite(values)]
        if blank is not None:
            good = good[good != blank]
        if _has_few_levels(good):
            mappings.append(make_palette(good))
    return [mapping.above(floor) for mapping in mappings]


def hidden_mappings(
    placed: Sequence[tuple[Values, tuple[int, int] | None]], grid: HiddenGrid, bound: float
) -> list[Mapping]:
    """Return mappings to a grid that values were quantised on, none if they do not lie on it.

    One is exact, unless steps are much finer than the bound; the other, where the bound allows,
    takes the middle of so many indices as lie within it: no step is wider than is asked for.
    """
    exact = Mapping.hidden(grid)
    if grid.centre is None and not _is_transformed(placed, exact):
        some = np.concatenate([tile[np.isfinite(tile)] for tile, _ in placed])
        if some.size:  # levels of tiles must not differ, then
            grid = dataclasses.replace(grid, centre=float(np.median(some)))
            exact = Mapping.hidden(grid)
    misses = total = 0
    for tile, place in placed:
        there = np.isfinite(tile)
        if grid.method == DITHER_2:
            there &= tile != 0
        mask = quantize_tile(tile, 0.0, exact.at(place)).exceptions.mask
        misses += int(np.count_nonzero(mask & there))
        total += int(np.count_nonzero(there))
    if misses > _MISSES * total or not grid.scale.any():
        return []
    widest = float(np.quantile(grid.scale[grid.scale > 0], _USUAL_STEP, method="higher"))
    half = int(min(bound / widest, _LARGEST_STRIDE))
    coarse = Mapping(HIDDEN, stride=2 * half + 1, palette=exact.palette)
    return [exact][: half < _FINE] + [coarse][: half > 0]


def _is_transformed(
    placed: Sequence[tuple[Values, tuple[int, int] | None]], mapping: Mapping
) -> bool:
    """Whether indices went through HCOMPRESS with loss."""
    middle = len(placed) // 2
    planes = []
    for tile, place in placed[middle : middle + _LOOKED_AT]:
        quantized = quantize_tile(tile, 0.0, mapping.at(place))
        planes.append(Plane(quantized.indices, quantized.exceptions.mask))
    return any(is_transformed(plane) for plane in planes)


def _lattice_mappings(values: Values, bound: float, sigma: float) -> list[Mapping]:
    """Return the mapping to as many points of a lattice at a time as the bound allows, if any.

    Rescaled integers lie near a lattice; where its step is wider than twice the bound, or some
    steps are, a uniform quantiser would count levels that do not occur.
    """
    good = values[np.isfinite(values)].astype(np.float64)
    found = find_lattice(good, sigma) if sigma > 0 and bound < _LATTICE_BOUND * sigma else None
    if found is None:
        return []
    step, zero = found.step, found.phase * found.step
    index = np.rint((good - zero) / step)
    apart = float(np.quantile(np.abs(good - zero - index * step), _LATTICE_USUAL))
    together = int(2 * (bound - apart) / step) + 1 if apart < bound else 0
    if together * step <= 2 * bound:
        return []
    return [Mapping(SCALE, together * step, zero + (together - 1) / 2 * step)]


def _moved_mappings(values: Values, usual: Mapping) -> list[Mapping]:
    """Return the mapping whose bins begin where the sky falls into as few as possible."""
    phase = best_phase(values[np.isfinite(values)].astype(np.float64), usual.step)
    if not phase:
        return []
    return [dataclasses.replace(usual, offset=phase * usual.step / PHASES)]


def _grained_mappings(tiles: list[Values]) -> list[Mapping]:
    """Return the mapping to multiples of a power of two, if most floats are some."""
    finite = [np.where(np.isfinite(tile), tile, tile.dtype.type(0)) for tile in tiles]
    found = find_grain(np.concatenate([tile.ravel() for tile in finite]))
    if found is None or found.saved < _SAVED:
        return []
    numbers = [to_numbers(tile, found.exponent) for tile in finite]
    return [Mapping(GRAINED, grain=found.exponent, bits=plain_bits_of(numbers))]


def _scaled_mappings(values: Values) -> list[Mapping]:
    """Return the mapping to integers times a scale, if that is what floats are exactly."""
    found = find_scale(values[np.isfinite(values)])
    if found is None:
        return []
    return [Mapping(RATIO if found.is_ratio else SCALE, found.step, found.offset)]


def _loop_mapping(values: Values, bound: float) -> Mapping | None:
    """Return a mapping fine enough to predict within, or None if the dtype is too coarse."""
    size = np.abs(values[np.isfinite(values)])
    if not size.size:
        return None
    usual = np.quantile(size, _USUAL, method="higher")
    with np.errstate(over="ignore"):
        rounding = float(np.spacing((usual + bound).astype(values.dtype)))
    if not rounding < _LOOP_SLACK * bound:
        return None
    step = short_step(2 * (bound - rounding) * (1 - 1e-8) / _LOOP_STRIDE)
    return Mapping(LOOP, step, stride=_LOOP_STRIDE)


def _noise(tiles: list[Values]) -> float:
    """Return the noise told by differences of neighbours in a row, 0 if there is none."""
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.concatenate([np.diff(t.astype(np.float64), axis=1).ravel() for t in tiles])
    steps = np.abs(steps[np.isfinite(steps)])
    if not np.count_nonzero(steps):
        return 0.0
    middle = np.median(steps)
    sigma = float(middle if middle > 0 else np.median(steps[steps > 0]))
    sigma /= _MEDIAN_TO_SIGMA * 2**0.5
    return sigma if 1e-290 < sigma < 1e290 else 0.0


def _has_few_levels(values: Values) -> bool:
    """Whether a table of the distinct values might pay."""
    distinct = np.unique(values)
    if distinct.size < 2 or distinct.size > min(_LARGEST_PALETTE, _FEW_LEVELS * values.size):
        return False
    if values.dtype.kind == "f":
        return True
    # integers: only where levels are missing among those that are usual
    low, high = np.quantile(values, [0.02, 0.98], method="nearest").tolist()
    usual = np.count_nonzero((distinct >= low) & (distinct <= high))
    return bool(usual < 0.8 * (high - low + 1))
