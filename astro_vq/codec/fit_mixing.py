"""Fit prediction and width to an image: what `astro_vq.entropy.mixing` starts every tile with.

Only encoders run this; floating point is fine here, since all that comes out is rounded and stored.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from astro_vq.codec.differences import fill_plane
from astro_vq.codec.planes import Plane, middle
from astro_vq.entropy.mixing import (
    LARGEST_SLOPE,
    LARGEST_WEIGHT,
    SLOPE_BITS,
    WEIGHT_BITS,
    Mixing,
    default_mixing,
    neighbours,
)
from astro_vq.entropy.mixing_kernel import TAPS

_REACH = 3  # of the neighbours, in rows and columns
_FEWEST = 512  # pixels of a fit
_RIDGE = 1e-5
_RELATIVE_RIDGE = 1e-11
_SLOPE_RIDGE = 3.0
_MEDIAN_TO_SIGMA = 0.6745
_QUIET = 192.0  # logarithm of the brightness of pixels below the sky, as the kernel has it
_SPIKE_SHARE = 0.02  # of all pixels
_SPIKE_HEIGHT = 4  # times what its neighbours count
_BESIDE = 3
_UNIT = 64  # predictions and errors are in 1/64 of a step

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def fit_mixing(
    planes: Sequence[Plane],
    *,
    pixels: int = 120_000,
    loop: int = 1,
    places: npt.NDArray[np.integer] | None = None,
) -> tuple[Mixing, int]:
    """Return weights and width model of an image, and the level of its sky.

    Parameters
    ----------
    planes : sequence of Plane
        Tiles from all over the image.
    pixels : int
        About how many pixels to look at.
    loop : int
        Integers per step; neighbours are known to within half of it.
    places : ndarray of int, shape (24, 2), optional
        Neighbours; those of the format by default.

    Returns
    -------
    (Mixing, int)
        The defaults and zero, if no plane is large enough.
    """
    filled = [f for p in planes if middle(p) is not None and (f := fill_plane(p)) is not None]
    usable = [f for f in filled if min(f.shape) > 4 * _REACH + 2]
    if sum(f.size for f in usable) < _FEWEST:
        return default_mixing(), 0
    sky = int(
        np.floor(np.median(np.concatenate([f.ravel()[:: max(1, f.size // 4096)] for f in usable])))
    )
    where = neighbours() if places is None else places
    rng = np.random.default_rng(0)
    known = usable
    if loop > 1:
        known = [f + rng.integers(-(loop // 2), loop // 2 + 1, f.shape) for f in usable]
    share = min(1.0, pixels / sum(f.size for f in usable))
    taps = _fit_taps(known, usable, where, share, rng)
    width = _fit_width(known, usable, where, taps, sky, share, rng)
    return Mixing(taps, width), sky


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


def _fit_taps(
    known: Sequence[Integers],
    targets: Sequence[Integers],
    places: npt.NDArray[np.integer],
    share: float,
    rng: np.random.Generator,
) -> Integers:
    """Return weights by least squares, robust against stars and outliers."""
    rows, values = [], []
    for plane, target in zip(known, targets, strict=True):
        inner = target[_REACH:, _REACH:-_REACH]
        chosen = np.flatnonzero(rng.random(inner.size) < share)
        y, x = np.divmod(chosen, inner.shape[1])
        y, x = y + _REACH, x + _REACH
        rows.append(plane[y[:, None] + places[:, 0], x[:, None] + places[:, 1]].astype(np.float64))
        values.append(target[y, x].astype(np.float64))
    near, value = np.concatenate(rows), np.concatenate(values)
    mean = near[:, :4].mean(1)
    design, wanted = near - mean[:, None], value - mean
    scale = np.abs(design[:, :10]).mean(1) + 0.5
    weight, solution = 1 / scale, np.zeros(TAPS)
    for _ in range(3):
        rows_ = design * weight[:, None]
        gram = rows_.T @ rows_
        gram += (_RIDGE * len(value) + _RELATIVE_RIDGE * np.trace(gram)) * np.eye(TAPS)
        solution = np.linalg.solve(gram, rows_.T @ (wanted * weight))
        error = (wanted - design @ solution) / scale
        typical = np.median(np.abs(error)) / _MEDIAN_TO_SIGMA + 1e-6
        weight = 1 / (1 + (error / (3 * typical)) ** 2) / scale
    solution[:4] += (1 - solution.sum()) / 4
    taps = np.rint(solution * (1 << WEIGHT_BITS)).astype(np.int64)
    taps = np.clip(taps, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    taps[0] += (1 << WEIGHT_BITS) - taps.sum()
    return np.asarray(np.clip(taps, -LARGEST_WEIGHT, LARGEST_WEIGHT))


def _fit_width(
    known: Sequence[Integers],
    targets: Sequence[Integers],
    places: npt.NDArray[np.integer],
    taps: Integers,
    sky: int,
    share: float,
    rng: np.random.Generator,
) -> Integers:
    """Return the regression of log errors on logarithms of errors and differences nearby."""
    parts = [_features(k, t, places, taps, sky) for k, t in zip(known, targets, strict=True)]
    keep = [rng.random(len(size)) < share for _, size in parts]
    features = np.concatenate([f[k] for (f, _), k in zip(parts, keep, strict=True)])
    size = np.concatenate([s[k] for (_, s), k in zip(parts, keep, strict=True)])
    if len(size) < _FEWEST:
        return default_mixing().width
    wanted = 32 * np.log2(_UNIT * size + 16)
    gram = features.T @ features + np.diag([1e-3] + [_SLOPE_RIDGE * len(size)] * 5)
    solution = np.linalg.solve(gram, features.T @ wanted)
    solution[0] += np.median(wanted - features @ solution) - 32 * np.log2(_MEDIAN_TO_SIGMA)
    width = np.rint(solution * (1 << SLOPE_BITS)).astype(np.int64)
    return np.asarray(np.clip(width, -LARGEST_SLOPE, LARGEST_SLOPE))


def _features(
    known: Integers, target: Integers, places: npt.NDArray[np.integer], taps: Integers, sky: int
) -> tuple[Floats, Floats]:
    """Return (n, 6) features and (n,) absolute errors of the inner pixels of a plane."""
    h, w, r = *known.shape, _REACH
    guess = np.zeros((h - r, w - 2 * r))
    for (dy, dx), tap in zip(places.tolist(), taps.tolist(), strict=True):
        guess += tap * known[r + dy : h + dy, r + dx : w - r + dx].astype(np.float64)
    guess /= 1 << WEIGHT_BITS
    error = np.abs(target[r:, r : w - r] - guess)
    rows, columns = error.shape

    def at(dy: int, dx: int) -> Floats:
        return error[r + dy : rows + dy, r + dx : columns - r + dx]

    def value(dy: int, dx: int) -> Floats:
        return known[2 * r + dy : h + dy, 2 * r + dx : w - 2 * r + dx].astype(np.float64)

    ring1 = (4 * (at(0, -1) + at(-1, 0)) + 3 * (at(-1, -1) + at(-1, 1))) / 14
    second = ((0, -2), (-2, 0), (-2, -1), (-2, 1), (-1, -2), (-1, 2), (-2, -2), (-2, 2))
    third = ((-3, 0), (-3, -1), (-3, 1), (0, -3), (-3, 2), (-3, -2), (-2, 3), (-2, -3), (-1, -3))
    ring2 = sum((at(*place) for place in second), np.zeros_like(ring1)) / 8
    ring3 = sum((at(*place) for place in (*third, (-1, 3))), np.zeros_like(ring1)) / 10
    west, north, east, corner = value(0, -1), value(-1, 0), value(-1, 1), value(-1, -1)
    steep = np.abs(west - north) + np.abs(north - east)
    steep += np.abs(west - corner) + np.abs(north - corner)
    bright = np.rint(guess[r:, r:-r] - sky)
    columns_ = [
        np.ones_like(ring1),
        *(32 * np.log2(_UNIT * ring + 8) for ring in (ring1, ring2, ring3)),
        32 * np.log2(16 * steep + 8),
        np.where(bright > 0, 32 * np.log2(_UNIT * np.maximum(bright, 0) + 64), _QUIET),
    ]
    return np.stack([c.ravel() for c in columns_], 1), at(0, 0).ravel()
