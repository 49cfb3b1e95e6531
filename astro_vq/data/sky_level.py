"""Sky level and noise of one image, robust against what the sky holds, and where its sources are.

Everything here takes arrays as they come from a file: missing pixels are NaN (infinities are
ignored too), and a ``mask`` says which pixels may be used (True = use).  Images of all kinds are
meant: optical frames, radio maps with NaN borders, plates, maps padded with a constant, and
counts images that are mostly zero.

References
----------
Stetson 1987, PASP 99, 191 (clipped sky statistics); Hoaglin, Mosteller & Tukey 1983 (the MAD);
Sheppard 1898 (moments of grouped data).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_vq.data.clipping import (
    MAD_TO_SIGMA,
    SkyStatistics,
    clipped_statistics,
    grouped_mad_sigma,
)
from astro_vq.errors import DataError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

__all__ = [
    "SkyStatistics",
    "fill_missing",
    "mad_sigma",
    "pixel_noise",
    "sky_statistics",
    "source_mask",
]

_PADDING_FRACTION = 0.05  # one value in more pixels than this may be padding
_COUNT_MEDIAN = 5  # integer images whose non-zero pixels are mostly below this hold counts
_BLOCK = 64  # pixels on a side of the blocks that a large image is sampled with


def mad_sigma(values: NDArray[Any]) -> float:
    """Return the standard deviation by the median absolute deviation; NaN and inf are ignored.

    Parameters
    ----------
    values : ndarray
        Any shape, any real dtype.

    Returns
    -------
    float
        1.4826 times the median of ``abs(values - median)``; 0 where there is no finite value.
    """
    finite = np.asarray(values, dtype=np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.0
    return MAD_TO_SIGMA * float(np.median(np.abs(finite - np.median(finite))))


def sky_statistics(
    image: NDArray[Any],
    *,
    mask: BoolArray | None = None,
    max_samples: int = 1_000_000,
    seed: int = 0,
) -> SkyStatistics:
    """Measure the level and noise of the sky, whatever lies on it.

    Median and MAD are clipped at three sigma until they settle, with the bias of the clipping
    and the step of integer data taken out.  Large blocks of one value (a border filled with
    zeros) are left out.  Where one value still makes up most of the pixels, as in counts images
    that are mostly zero, the MAD means nothing, and clipped mean and standard deviation are used.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Real values; NaN and inf are ignored.
    mask : ndarray of bool, shape (H, W), optional
        True where a pixel may be used.
    max_samples : int
        Larger images are measured in blocks spread over the frame, about this many pixels.
    seed : int
        Shifts those blocks; the same seed gives the same numbers.

    Returns
    -------
    SkyStatistics
        ``sigma`` is 0 only where all pixels used are equal.

    Raises
    ------
    DataError
        When no pixel is finite and unmasked.
    """
    blocks = _sample_blocks(image, mask, max_samples, seed)
    return _statistics_of_blocks(blocks)


def pixel_noise(
    image: NDArray[Any] | Sequence[NDArray[Any]], *, max_samples: int = 1_000_000
) -> float:
    """Return the noise of single pixels, the sigma that an error bound in sigma refers to.

    It is the smaller of the sky's sigma and of the sigma of differences between neighbours
    (MAD over sqrt 2); the second does not see gradients and extended sources, and is smaller
    where noise is correlated.  Zero differences are left out when most are zero.

    Parameters
    ----------
    image : ndarray, shape (H, W), or sequence of such arrays
        The image, or pieces of it.  NaN and inf are ignored, and no difference reaches over them.
    max_samples : int
        Larger images are measured in blocks spread over them, about this many pixels.

    Returns
    -------
    float
        In the unit of the image; 0 when it cannot be measured (no finite pixel, or constant).
    """
    pieces = [image] if isinstance(image, np.ndarray) else list(image)
    share = max(max_samples // max(len(pieces), 1), _BLOCK * _BLOCK)
    blocks = [block for piece in pieces for block in _sample_blocks(piece, None, share, 0)]
    differences = [np.diff(block, axis=axis).ravel() for block in blocks for axis in (0, 1)]
    steps = np.concatenate([*differences, np.empty(0)])
    steps = steps[np.isfinite(steps)]
    if np.count_nonzero(steps) < 0.5 * steps.size:
        steps = steps[steps != 0]
    candidates = []
    if steps.size:
        candidates.append(grouped_mad_sigma(steps) / math.sqrt(2))
    if any(np.isfinite(block).any() for block in blocks):
        candidates.append(_statistics_of_blocks(blocks).sigma)
    return min((sigma for sigma in candidates if sigma > 0), default=0.0)


def source_mask(
    image: NDArray[Any],
    sky: SkyStatistics | None = None,
    *,
    mask: BoolArray | None = None,
    threshold: float = 5.0,
    scales: Sequence[float] = (0.0, 1.5, 4.0),
    grow: int = 2,
) -> BoolArray:
    """Mark pixels that hold sources or other structure of either sign.

    The image is smoothed with Gaussians of some widths; what deviates by more than ``threshold``
    times the noise of the smoothed image, with all that hangs on it above two fifths of that,
    is marked and grown.  So pure noise stays unmarked, and its covariance unbiased.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Real values; NaN and inf are never marked and do not spread.
    sky : SkyStatistics, optional
        Level of the sky; measured when not given.
    mask : ndarray of bool, shape (H, W), optional
        True where a pixel may be used.
    threshold : float
        In units of the noise of the smoothed image.
    scales : sequence of float
        Standard deviations of the Gaussians, in pixels; 0 is the image itself.
    grow : int
        Pixels that marked regions grow on each side.

    Returns
    -------
    ndarray of bool, shape (H, W)
        True where there is something.
    """
    values, valid = fill_missing(image, mask)
    if not valid.any():
        return np.zeros(values.shape, dtype=bool)
    level = (sky if sky is not None else sky_statistics(image, mask=mask)).level
    values = np.where(valid, values - level, 0.0)
    weights = valid.astype(np.float64)
    found = np.zeros(values.shape, dtype=bool)
    for scale in scales:
        smooth, cover = values, weights
        if scale > 0:
            smooth = ndimage.gaussian_filter(values, scale, mode="constant")
            cover = _smoothed_cover(weights, scale)
        with np.errstate(invalid="ignore", divide="ignore"):
            smooth = np.where(cover > 0.1, smooth / cover, 0.0)
        noise = sky_statistics(smooth, mask=valid)
        if noise.sigma == 0:
            continue
        deviation = np.abs(smooth - noise.level) / noise.sigma
        labels, count = ndimage.label(deviation > 0.4 * threshold)
        kept = np.zeros(count + 1, dtype=bool)
        kept[labels[(deviation > threshold) & valid]] = True
        found |= kept[labels]
    if grow > 0:
        found = ndimage.binary_dilation(found, iterations=grow)
    return found & valid


def _smoothed_cover(weights: FloatArray, scale: float) -> FloatArray:
    """Return weights (H, W) smoothed by a Gaussian, zero beyond; cheap where all are one."""
    if not weights.all():
        return np.asarray(ndimage.gaussian_filter(weights, scale, mode="constant"))
    along = [ndimage.gaussian_filter1d(np.ones(n), scale, mode="constant") for n in weights.shape]
    return np.asarray(along[0][:, None] * along[1])


def fill_missing(image: NDArray[Any], mask: BoolArray | None) -> tuple[FloatArray, BoolArray]:
    """Return an image (H, W) in float64 with 0 where a pixel may not be used, and where it may.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Real values; NaN and inf may not be used.
    mask : ndarray of bool, shape (H, W), or None
        True where a pixel may be used.

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = np.asarray(image, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"an image must have two axes, got shape {values.shape}")
    valid = np.isfinite(values)
    if mask is not None:
        if mask.shape != values.shape:
            raise ValueError(f"mask has shape {mask.shape}, image {values.shape}")
        valid &= mask
    return np.where(valid, values, 0.0), valid


def _sample_blocks(
    image: NDArray[Any], mask: BoolArray | None, max_samples: int, seed: int
) -> list[FloatArray]:
    """Cut an image into the blocks to measure, NaN where a pixel may not be used."""
    if image.ndim != 2:
        raise ValueError(f"an image must have two axes, got shape {image.shape}")
    if mask is not None and mask.shape != image.shape:
        raise ValueError(f"mask has shape {mask.shape}, image {image.shape}")
    height, width = image.shape
    windows = [np.s_[0:height, 0:width]]
    if image.size > max_samples:
        ny, nx = min(_BLOCK, height), min(_BLOCK, width)
        wanted = max(max_samples // (ny * nx), 1)
        rows = min(max(round(math.sqrt(wanted * height / width)), 1), height // ny, wanted)
        columns = min(max(wanted // rows, 1), width // nx)
        rng = np.random.default_rng(seed)
        tops = _spread(height - ny, rows, ny, rng)
        lefts = _spread(width - nx, columns, nx, rng)
        windows = [np.s_[y : y + ny, x : x + nx] for y in tops for x in lefts]
    blocks = []
    for window in windows:
        with np.errstate(invalid="ignore"):  # signalling NaNs
            block = np.array(image[window], dtype=np.float64)
        block[~np.isfinite(block)] = np.nan
        if mask is not None:
            block[~mask[window]] = np.nan
        blocks.append(block)
    return blocks


def _spread(last: int, count: int, size: int, rng: np.random.Generator) -> list[int]:
    """Return starts in [0, last], one in each of `count` equal parts, never overlapping."""
    room = (last + size) / count - size
    return [min(int(i * (room + size) + rng.random() * room), last) for i in range(count)]


def _statistics_of_blocks(blocks: list[FloatArray]) -> SkyStatistics:
    values = np.concatenate([block[np.isfinite(block)] for block in blocks])
    if values.size == 0:
        raise DataError("no pixel is finite and unmasked, so that there is no sky to measure")
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size == 1:
        return SkyStatistics(float(distinct[0]), 0.0)
    mode = float(distinct[counts.argmax()])
    if counts.max() > _PADDING_FRACTION * values.size and not _holds_counts(distinct, counts):
        kept = np.concatenate([_without_padding(block, mode) for block in blocks])
        if kept.size >= max(64, 0.01 * values.size) and kept.min() < kept.max():
            return clipped_statistics(kept)
    return clipped_statistics(values, (distinct, counts))


def _holds_counts(distinct: FloatArray, counts: NDArray[np.intp]) -> bool:
    """Tell whether values are small non-negative integers, so that zeros are data."""
    if distinct[0] != 0 or counts.argmax() != 0 or np.any(distinct != np.rint(distinct)):
        return False
    positive = np.cumsum(counts[1:])
    return bool(distinct[1 + np.searchsorted(positive, positive[-1] / 2)] <= _COUNT_MEDIAN)


def _without_padding(block: FloatArray, value: float) -> FloatArray:
    """Return the finite pixels of a block that do not lie in a 5 x 5 square of `value`."""
    same = np.pad((block == value) | ~np.isfinite(block), 2, constant_values=True)
    padding = ndimage.binary_opening(same, np.ones((5, 5), dtype=bool))[2:-2, 2:-2]
    kept: FloatArray = block[np.isfinite(block) & ~(padding & (block == value))]
    return kept
