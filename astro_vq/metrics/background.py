"""A smooth background of an image, whatever lies on it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_vq.data.noise import sky_statistics
from astro_vq.metrics.source_types import STATISTICS_SAMPLES, FloatArray

_BOX = 64  # pixels on a side of the boxes that the background is measured in


def background_map(image: NDArray[Any], *, box: int = _BOX) -> FloatArray:
    """Return a smooth background: clipped medians of boxes, outliers replaced, interpolated.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        NaN and inf are ignored.
    box : int
        Pixels on a side of a box; images of fewer than three boxes a side get one level.

    Raises
    ------
    DataError
        When no pixel is finite.
    """
    level = sky_statistics(image, max_samples=STATISTICS_SAMPLES).level
    shape = [n // box for n in image.shape]
    if min(shape) < 3:
        return np.full(image.shape, level)
    height, width = (n // count for n, count in zip(image.shape, shape, strict=True))
    trimmed = np.asarray(image[: shape[0] * height, : shape[1] * width], dtype=np.float64)
    boxes = trimmed.reshape(shape[0], height, shape[1], width).swapaxes(1, 2)
    boxes = boxes[..., ::2, ::2]  # a quarter of the pixels is enough for a median
    values = boxes.reshape(shape[0], shape[1], -1).copy()
    values[~np.isfinite(values)] = np.nan
    empty = np.isnan(values).mean(-1) > 0.5
    values[empty] = level
    for _ in range(5):
        middle = _row_medians(values)[..., None]
        spread = 1.4826 * _row_medians(np.abs(values - middle))[..., None]
        values[np.abs(values - middle) > 3 * np.maximum(spread, 1e-300)] = np.nan
        values[np.isnan(values).all(-1)] = level
    mesh = _row_medians(values)
    around = ndimage.median_filter(mesh, 3, mode="nearest")
    spread = 1.4826 * _row_medians(np.abs(values - mesh[..., None]))
    mesh = np.where(np.abs(mesh - around) > 2 * np.median(spread), around, mesh)  # on an object
    rows = _interpolation((np.arange(image.shape[0]) + 0.5) / height - 0.5, shape[0])
    columns = _interpolation((np.arange(image.shape[1]) + 0.5) / width - 0.5, shape[1])
    return np.asarray(rows @ mesh @ columns.T, dtype=np.float64)


def _row_medians(values: FloatArray) -> FloatArray:
    """Return medians along the last axis, NaN left out; every row holds a number."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.count_nonzero(~np.isnan(values), axis=-1)[..., None]
    low = np.take_along_axis(ordered, (count - 1) // 2, -1)
    high = np.take_along_axis(ordered, count // 2, -1)
    return np.asarray(((low + high) / 2)[..., 0], dtype=np.float64)


def _interpolation(places: FloatArray, count: int) -> FloatArray:
    """Return the matrix (N, count) of linear interpolation between middles of boxes."""
    at = np.clip(places, -0.5, count - 0.5)  # half a box beyond the middles, as far as data goes
    low = np.clip(np.floor(at).astype(np.int64), 0, count - 2)
    matrix = np.zeros((len(at), count))
    matrix[np.arange(len(at)), low] = 1 - (at - low)
    matrix[np.arange(len(at)), low + 1] = at - low
    return matrix
