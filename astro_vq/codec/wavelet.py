"""The discrete wavelet transform of Cohen, Daubechies and Feauveau (9/7), by lifting, in float32.

A level splits a plane into its mean (rows and columns halved, rounded up) and differences along
rows, columns and both; the mean is split again. Edges are mirrored. The transform is close to
orthonormal: an error of a coefficient is about the same error of the pixels, in the sum of squares.

References
----------
Cohen, Daubechies & Feauveau 1992; Daubechies & Sweldens 1998 (lifting); ISO/IEC 15444-1, annex F.
"""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled

FloatArray = NDArray[np.float32]

MOST_LEVELS = 6
_STEPS = np.array([-1.586134342, -0.052980118, 0.882911075, 0.443506852], np.float32)
_SCALE = np.float32(1.149604398)


def level_count(shape: tuple[int, int]) -> int:
    """Return how many levels planes of a shape are split into."""
    return max(min(MOST_LEVELS, min(shape).bit_length() - 3), 0)


def band_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shapes of the bands of a plane, in the order of `forward`."""
    shapes: list[tuple[int, int]] = []
    h, w = shape
    for _ in range(level_count(shape)):
        top, left = (h + 1) // 2, (w + 1) // 2
        shapes = [(top, w - left), (h - top, left), (h - top, w - left), *shapes]
        h, w = top, left
    return [(h, w), *shapes]


@compiled
def _lift_rows(image: FloatArray, steps: FloatArray, scale: float, back: bool) -> None:
    """Lift along columns of memory: each step is a loop over whole rows, two apart."""
    h, w = image.shape
    order = range(3, -1, -1) if back else range(4)
    if back:
        for y in range(h):
            factor = np.float32(1 / scale) if y % 2 == 0 else np.float32(scale)
            for x in range(w):
                image[y, x] *= factor
    for k in order:
        step = -steps[k] if back else steps[k]
        for y in range(1 - k % 2, h, 2):
            before = y - 1 if y > 0 else y + 1
            after = y + 1 if y + 1 < h else y - 1
            for x in range(w):
                image[y, x] += step * (image[before, x] + image[after, x])
    if not back:
        for y in range(h):
            factor = np.float32(scale) if y % 2 == 0 else np.float32(1 / scale)
            for x in range(w):
                image[y, x] *= factor


@compiled
def _lift_columns(image: FloatArray, steps: FloatArray, scale: float, back: bool) -> None:
    h, w = image.shape
    for y in range(h):
        row = image[y]
        if back:
            for x in range(w):
                row[x] *= np.float32(1 / scale) if x % 2 == 0 else np.float32(scale)
        for n in range(4):
            k = 3 - n if back else n
            step = -steps[k] if back else steps[k]
            for x in range(1 - k % 2, w, 2):
                before = x - 1 if x > 0 else x + 1
                after = x + 1 if x + 1 < w else x - 1
                row[x] += step * (row[before] + row[after])
        if not back:
            for x in range(w):
                row[x] *= np.float32(scale) if x % 2 == 0 else np.float32(1 / scale)


def forward(image: FloatArray) -> list[FloatArray]:
    """Return the bands of a plane.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        Finite.

    Returns
    -------
    list of ndarray of float32
        The coarsest mean; then for each level, coarse to fine, differences along rows, along
        columns, and along both.
    """
    mean = np.array(image, np.float32, order="C")
    bands: list[FloatArray] = []
    for _ in range(level_count(mean.shape)):
        _lift_columns(mean, _STEPS, _SCALE, False)
        _lift_rows(mean, _STEPS, _SCALE, False)
        parts = mean[0::2, 1::2], mean[1::2, 0::2], mean[1::2, 1::2]
        bands = [*(np.ascontiguousarray(part) for part in parts), *bands]
        mean = np.ascontiguousarray(mean[0::2, 0::2])
    return [mean, *bands]


def inverse(bands: list[FloatArray]) -> FloatArray:
    """Return the plane (H, W) of its bands."""
    mean = bands[0]
    for k in range(1, len(bands), 3):
        rows, columns, both = bands[k : k + 3]
        image = np.empty((len(mean) + len(columns), mean.shape[1] + rows.shape[1]), np.float32)
        image[0::2, 0::2], image[0::2, 1::2] = mean, rows
        image[1::2, 0::2], image[1::2, 1::2] = columns, both
        _lift_rows(image, _STEPS, _SCALE, True)
        _lift_columns(image, _STEPS, _SCALE, True)
        mean = image
    return mean
