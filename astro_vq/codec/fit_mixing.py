"""Fit prediction and width to an image: what `astro_vq.entropy.mixing` starts every tile with.

Only encoders run this; floating point is fine here, since all that comes out is rounded and stored.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.differences import fill_plane
from astro_vq.codec.fit_width import fit_width
from astro_vq.codec.planes import Plane, middle
from astro_vq.codec.trace_background import predict_inside, trace_background
from astro_vq.entropy.mixing import (
    LARGEST_LIMIT,
    LARGEST_WEIGHT,
    REACH,
    WEIGHT_BITS,
    Mixing,
    default_mixing,
    neighbours,
)
from astro_vq.entropy.mixing_kernel import WIDEST

_FEWEST = 512  # pixels of a fit
_FEWEST_STEEP = 400  # of the fit of a further set
_RIDGE = 1e-5
_RELATIVE_RIDGE = 1e-11
_MEDIAN_TO_SIGMA = 0.6745
_DIFFERENCE_TO_SIGMA = 0.954
_LIMIT = 3.0  # sigma
_HARMLESS = 5e-4  # of the variance, what rounded weights may add
_SPIKE_SHARE = 0.02  # of all pixels
_SPIKE_HEIGHT = 4  # times what its neighbours count
_BESIDE = 3

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Structure(NamedTuple):
    """What a model has.

    Attributes
    ----------
    taps : int
        Neighbours: 24 or 40.
    split : tuple of float
        Shares of the pixels, in the order of the differences nearby, that sets of weights end at.
    """

    taps: int = 24
    split: tuple[float, ...] = ()


class Fitter:
    """Planes from all over an image, and what of them fits need.

    Parameters
    ----------
    planes : sequence of Plane
        Tiles.
    pixels : int
        About how many pixels to look at.
    loop : int
        Integers per step; neighbours are known to within half of it.
    """

    def __init__(self, planes: Sequence[Plane], *, pixels: int = 120_000, loop: int = 1) -> None:
        filled = [f for p in planes if middle(p) is not None and (f := fill_plane(p)) is not None]
        reach = max(REACH.values())
        self._targets = [f for f in filled if min(f.shape) > 4 * reach + 2]
        total = sum(f.size for f in self._targets)
        self.is_possible = total >= _FEWEST
        if not self.is_possible:
            return
        thin = [f.ravel()[:: max(1, f.size // 4096)] for f in self._targets]
        self.sky = int(np.floor(np.median(np.concatenate(thin))))
        self._rng = np.random.default_rng(0)
        self._known = self._targets
        if loop > 1:
            half = loop // 2
            self._known = [f + self._rng.integers(-half, half + 1, f.shape) for f in self._targets]
        self._share = min(1.0, pixels / total)
        self._limit = _find_limit(self._targets)
        self._backgrounds = [trace_background(f, self._limit) for f in self._known]
        self._sample()

    def _sample(self) -> None:
        """Draw pixels with their neighbours."""
        reach, places = max(REACH.values()), neighbours(max(REACH))
        near, values = [], []
        for known, target, level in zip(self._known, self._targets, self._backgrounds, strict=True):
            inner = target[reach:, reach:-reach]
            chosen = np.flatnonzero(self._rng.random(inner.size) < self._share)
            y, x = np.divmod(chosen, inner.shape[1])
            y, x = y + reach, x + reach
            around = known[y[:, None] + places[:, 0], x[:, None] + places[:, 1]]
            near.append(np.column_stack([around, level[y, x]]).astype(np.float64))
            values.append(target[y, x].astype(np.float64))
        self._near, self._values = np.concatenate(near), np.concatenate(values)
        north, west, corner, east = self._near[:, :4].T
        steep = np.abs(west - north) + np.abs(north - east)
        self._steep = 32 * np.log2(
            16 * (steep + np.abs(west - corner) + np.abs(north - corner)) + 8
        )

    def fit(self, structure: Structure, *, width: bool = True) -> Mixing | None:
        """Return a model of an image, or None if it has too few steep pixels for the structure.

        Without `width` only prediction is fitted.
        """
        if not self.is_possible:
            return default_mixing()
        reach = REACH[structure.taps]
        inside = np.abs(neighbours(max(REACH))).max(1) <= reach
        near = self._near[:, np.append(inside, [True])]
        steep_from = np.floor(np.quantile(self._steep, structure.split)).astype(np.int64)
        which = np.searchsorted(steep_from, self._steep, side="left")
        sets = []
        for k in range(len(structure.split) + 1):
            mine = which == k
            if structure.split and np.count_nonzero(mine) < _FEWEST_STEEP:
                return None
            sets.append(_fit_set(near[mine], self._values[mine]))
        taps = np.array(sets)
        steep_from = np.clip(steep_from, 0, 2 * WIDEST)
        known = Mixing(taps, default_mixing().width, steep_from, self._limit)
        if not width:
            return known
        guesses = [predict_inside(plane, known) for plane in self._known]
        widths = fit_width(
            self._known, self._targets, guesses, self.sky, self._share, np.random.default_rng(1)
        )
        return known._replace(width=widths)


def find_spike(planes: Sequence[Plane]) -> int | None:
    """Return the most frequent integer if it is far more frequent than its neighbours."""
    values = np.concatenate([p.indices[~p.mask][::3] for p in planes] or [np.zeros(0, np.int64)])
    if values.size < _FEWEST:
        return None
    found, counts = np.unique(values, return_counts=True)
    best = int(np.argmax(counts))
    near = counts[(np.abs(found - found[best]) <= _BESIDE) & (found != found[best])]
    share = float(counts[best]) / values.size
    if share < _SPIKE_SHARE or (near.size and counts[best] < _SPIKE_HEIGHT * near.max()):
        return None
    return int(found[best])


def _find_limit(planes: Sequence[Integers]) -> int:
    """Return three sigma of the noise, in 2**-12 of a step."""
    steps = np.concatenate([np.diff(p, axis=1).ravel()[:: max(1, p.size // 8192)] for p in planes])
    steps = np.abs(steps[steps != 0])
    sigma = max(float(np.median(steps)) / _DIFFERENCE_TO_SIGMA, 1.0) if steps.size else 1.0
    return min(int(_LIMIT * sigma * 64) << 6, LARGEST_LIMIT)


def _fit_set(near: Floats, value: Floats) -> Integers:
    """Return weights by least squares, robust against stars and outliers."""
    mean = near[:, :4].mean(1)
    design, wanted = near - mean[:, None], value - mean
    scale = np.abs(design[:, :10]).mean(1) + 0.5
    weight, solution, typical = 1 / scale, np.zeros(near.shape[1]), 1.0
    for _ in range(3):
        rows = design * weight[:, None]
        gram = rows.T @ rows
        gram += (_RIDGE * len(value) + _RELATIVE_RIDGE * np.trace(gram)) * np.eye(len(gram))
        solution = np.linalg.solve(gram, rows.T @ (wanted * weight))
        error = (wanted - design @ solution) / scale
        typical = float(np.median(np.abs(error))) / _MEDIAN_TO_SIGMA + 1e-6
        weight = 1 / (1 + (error / (3 * typical)) ** 2) / scale
    solution[:4] += (1 - solution.sum()) / 4
    for drop in (8, 7, 6, 5, 4, 3, 2, 1):
        taps = _round(solution, drop)
        added = design @ (taps / (1 << WEIGHT_BITS) - solution) / scale
        if float(np.mean(added**2)) < _HARMLESS * typical**2:
            return taps
    return _round(solution, 0)


def _round(solution: Floats, drop: int) -> Integers:
    """Return weights as integers whose last `drop` bits are zero; their sum is one."""
    taps = np.rint(solution * (1 << WEIGHT_BITS >> drop)).astype(np.int64)
    most = LARGEST_WEIGHT >> drop
    taps = np.clip(taps, -most, most)
    taps[0] += (1 << WEIGHT_BITS >> drop) - taps.sum()
    return np.asarray(np.clip(taps, -most, most) << drop)
