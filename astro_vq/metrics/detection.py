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
    smooth = smooth_image(image, field)
    if noise is None:
        noise = smoothed_noise(smooth, field)
    return find_maxima(smooth, field, noise=noise, threshold=threshold, max_sources=max_sources)


def find_maxima(
    smooth: FloatArray, field: Field, *, noise: float, threshold: float, max_sources: int
) -> Detections:
    """Find significant local maxima of an image that is smooth already.

    Parameters
    ----------
    smooth : ndarray, shape (H, W)
        What `smooth_image` gave.
    field : Field
        Width of point sources.
    noise, threshold, max_sources
        See `detect_sources`.
    """
    if not noise > 0:
        return Detections(np.empty(0), np.empty(0), np.empty(0))
    reach = max(1, round(field.fwhm / 2))
    rows, columns = _local_maxima(smooth, threshold * noise, reach)
    if rows.size == 0:
        return Detections(np.empty(0), np.empty(0), np.empty(0))
    first = _first_of_flat_tops(rows, columns, smooth.shape)
    y, x = rows[first], columns[first]
    snr = smooth[y, x] / noise
    order = np.argsort(-snr, kind="stable")[:max_sources]
    return Detections(x[order].astype(np.float64), y[order].astype(np.float64), snr[order])


def _local_maxima(
    smooth: FloatArray, lowest: float, reach: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pixels from `lowest` on that nothing in the square around them exceeds."""
    rows, columns = np.nonzero(smooth >= lowest)
    padded = np.pad(smooth, reach, constant_values=-np.inf)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            around = padded[rows + reach + dy, columns + reach + dx]
            kept = smooth[rows, columns] >= around
            rows, columns = rows[kept], columns[kept]
    return rows, columns


def _first_of_flat_tops(
    rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """Return one index for each group of pixels that touch: a flat top counts once."""
    top = np.zeros(shape, dtype=bool)
    top[rows, columns] = True
    labels, _ = ndimage.label(top, np.ones((3, 3)))
    return np.asarray(np.unique(labels[rows, columns], return_index=True)[1])


def smoothed_noise(smooth: FloatArray, field: Field) -> float:
    """Return the noise of an image that `smooth_image` gave; 0 for a constant one."""
    noise = sky_statistics(smooth, max_samples=STATISTICS_SAMPLES).sigma
    if field.is_counts:  # mostly zero: a few counts together are no source yet
        counts = max(float(field.background.mean()), 0.0)
        spread = field.fwhm / FWHM_PER_SIGMA
        noise = max(noise, math.sqrt((counts + 0.05) / (4 * math.pi)) / spread)
    return noise


def smooth_image(image: NDArray[Any], field: Field) -> FloatArray:
    """Return an image less its background, smoothed with its point spread function.

    NaN and inf count as background, and are 0 in the result.
    """
    values = np.asarray(image - field.background, dtype=np.float64)
    missing = ~np.isfinite(values)
    values[missing] = 0.0
    width = field.fwhm / FWHM_PER_SIGMA
    ndimage.gaussian_filter(values, width, mode="constant", output=values)
    values[missing] = 0.0
    return values


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
