"""Where sources are: significant maxima of an image smoothed with its point spread function.

A faint source that is lost among single pixels so counts as well.

References
----------
Stetson 1987, PASP 99, 191 (matched detection).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from astro_vq.data.noise import sky_statistics
from astro_vq.metrics.source_types import (
    FWHM_PER_SIGMA,
    STATISTICS_SAMPLES,
    Detections,
    Field,
    FloatArray,
)


def detect_sources(
    image: NDArray[Any],
    field: Field,
    *,
    threshold: float = 5.0,
    max_sources: int = 5000,
    noise: float | None = None,
) -> Detections:
    """Find local maxima of the smoothed image that are significant.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        NaN and inf count as background.
    field : Field
        Background and width of point sources.
    threshold : float
        In units of the noise of the smoothed image.
    max_sources : int
        The most significant so many are kept.
    noise : float, optional
        Noise of the smoothed image (see `smoothed_noise`), for the same threshold on two images;
        measured when not given.

    Returns
    -------
    Detections
    """
    smooth = _smooth(image, field)
    if noise is None:
        noise = _noise_of(smooth, field)
    if not noise > 0:
        return Detections(np.empty(0), np.empty(0), np.empty(0))
    size = 2 * max(1, round(field.fwhm / 2)) + 1
    top = (smooth >= threshold * noise) & (smooth == ndimage.maximum_filter(smooth, size))
    labels, number = ndimage.label(top, np.ones((3, 3)))  # a flat top counts once
    if number == 0:
        return Detections(np.empty(0), np.empty(0), np.empty(0))
    rows, columns = np.nonzero(top)
    _, first = np.unique(labels[rows, columns], return_index=True)
    y, x = rows[first], columns[first]
    snr = smooth[y, x] / noise
    order = np.argsort(-snr, kind="stable")[:max_sources]
    return Detections(x[order].astype(np.float64), y[order].astype(np.float64), snr[order])


def smoothed_noise(image: NDArray[Any], field: Field) -> float:
    """Return the noise of the image smoothed as `detect_sources` does; 0 for a constant one."""
    return _noise_of(_smooth(image, field), field)


def _noise_of(smooth: FloatArray, field: Field) -> float:
    noise = sky_statistics(smooth, max_samples=STATISTICS_SAMPLES).sigma
    if field.is_counts:  # mostly zero: a few counts together are no source yet
        counts = max(float(field.background.mean()), 0.0)
        spread = field.fwhm / FWHM_PER_SIGMA
        noise = max(noise, math.sqrt((counts + 0.05) / (4 * math.pi)) / spread)
    return noise


def _smooth(image: NDArray[Any], field: Field) -> FloatArray:
    values = np.asarray(image, dtype=np.float64) - field.background
    valid = np.isfinite(values)
    width = field.fwhm / FWHM_PER_SIGMA
    smooth = ndimage.gaussian_filter(np.where(valid, values, 0.0), width, mode="constant")
    if not valid.all():
        smooth[~valid] = 0.0
    return np.asarray(smooth, dtype=np.float64)


def match_sources(
    first: Detections, second: Detections, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Match two lists of detections one to one, the nearest pairs first.

    Parameters
    ----------
    first, second : Detections
        What to match.
    radius : float
        Largest distance, pixels.

    Returns
    -------
    partner : ndarray of int64, shape (N1,)
        Index into `second`, -1 without a partner.
    taken : ndarray of bool, shape (N2,)
        Whether a detection of `second` has a partner.
    """
    partner = np.full(first.x.size, -1, dtype=np.int64)
    taken = np.zeros(second.x.size, dtype=bool)
    if first.x.size == 0 or second.x.size == 0:
        return partner, taken
    tree = spatial.cKDTree(np.column_stack([second.x, second.y]))
    here = spatial.cKDTree(np.column_stack([first.x, first.y]))
    pairs = here.sparse_distance_matrix(tree, radius, output_type="coo_matrix")
    for k in np.argsort(pairs.data, kind="stable"):
        i, j = pairs.row[k], pairs.col[k]
        if partner[i] < 0 and not taken[j]:
            partner[i], taken[j] = j, True
    return partner, taken
