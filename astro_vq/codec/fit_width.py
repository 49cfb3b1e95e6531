"""Fit the width of the distributions of `astro_vq.entropy.mixing_kernel` to an image."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from astro_vq.codec.trace_background import MARGIN, measure_steepness
from astro_vq.entropy.mixing import LARGEST_SLOPE, SLOPE_BITS, default_mixing

_REACH = 3  # of errors that count
_FEWEST = 512  # pixels of a fit
_SLOPE_RIDGE = 3.0
_MEDIAN_TO_SIGMA = 0.6745
_QUIET = 192.0  # logarithm of the brightness of pixels below the sky, as the kernel has it
_UNIT = 64  # predictions and errors are in 1/64 of a step
_SECOND = ((0, -2), (-2, 0), (-2, -1), (-2, 1), (-1, -2), (-1, 2), (-2, -2), (-2, 2))
_THIRD = (
    (-3, 0), (-3, -1), (-3, 1), (0, -3), (-3, 2), (-3, -2), (-2, 3), (-2, -3), (-1, -3), (-1, 3),
)  # fmt: skip

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def fit_width(
    known: Sequence[Integers],
    targets: Sequence[Integers],
    guesses: Sequence[Floats],
    sky: int,
    share: float,
    rng: np.random.Generator,
) -> Integers:
    """Return the regression of log errors on logarithms of errors and differences nearby.

    Parameters
    ----------
    known, targets : sequences of ndarray of int64
        Planes as neighbours see them, and as they are.
    guesses : sequence of ndarray
        Predictions, see `astro_vq.codec.trace_background.predict_inside`.
    sky : int
        Level that brightness counts from.
    share : float
        Of the pixels to look at.
    rng : numpy.random.Generator
        Chooses them.

    Returns
    -------
    ndarray of int64, shape (6,)
        Constant and slopes; the defaults if there are too few pixels.
    """
    parts = [
        _features(k, t, guess, sky) for k, t, guess in zip(known, targets, guesses, strict=True)
    ]
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


def _features(known: Integers, target: Integers, guess: Floats, sky: int) -> tuple[Floats, Floats]:
    """Return (n, 6) features and (n,) absolute errors of the inner pixels of a plane."""
    error = np.abs(target[MARGIN:, MARGIN:-MARGIN] - guess)
    rows, columns, r = *error.shape, _REACH

    def at(dy: int, dx: int) -> Floats:
        return error[r + dy : rows + dy, r + dx : columns - r + dx]

    ring1 = (4 * (at(0, -1) + at(-1, 0)) + 3 * (at(-1, -1) + at(-1, 1))) / 14
    ring2 = sum((at(*place) for place in _SECOND), np.zeros_like(ring1)) / len(_SECOND)
    ring3 = sum((at(*place) for place in _THIRD), np.zeros_like(ring1)) / len(_THIRD)
    steep = measure_steepness(known)[r:, r:-r]
    bright = np.rint(guess[r:, r:-r] - sky)
    columns_ = [
        np.ones_like(ring1),
        *(32 * np.log2(_UNIT * ring + 8) for ring in (ring1, ring2, ring3)),
        32 * np.log2(16 * steep + 8),
        np.where(bright > 0, 32 * np.log2(_UNIT * np.maximum(bright, 0) + 64), _QUIET),
    ]
    return np.stack([c.ravel() for c in columns_], 1), at(0, 0).ravel()
