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
def _lift_halves(even: FloatArray, odd: FloatArray, steps: FloatArray, back: bool) -> None:
    """Lift a row whose even and odd places lie apart."""
    m, n = even.shape[0], odd.shape[0]
    for k in range(4):
        k = 3 - k if back else k
        step = -steps[k] if back else steps[k]
        if k % 2 == 0:
            for x in range(min(n, m - 1)):
                odd[x] += step * (even[x] + even[x + 1])
            if n == m:
                odd[n - 1] += step * (even[n - 1] + even[n - 1])
        else:
            even[0] += step * (odd[0] + odd[0])
            for x in range(1, n):
                even[x] += step * (odd[x - 1] + odd[x])
            if m > n:
                even[n] += step * (odd[n - 1] + odd[n - 1])


@compiled
def _split_columns(image: FloatArray, steps: FloatArray, scale: float) -> None:
    """Lift along rows; even columns come to lie to the left of odd ones."""
    h, w = image.shape
    n = w // 2
    even, odd = np.empty(w - n, np.float32), np.empty(n, np.float32)
    for y in range(h):
        row = image[y]
        for x in range(n):
            even[x], odd[x] = row[2 * x], row[2 * x + 1]
        if w > 2 * n:
            even[n] = row[2 * n]
        _lift_halves(even, odd, steps, False)
        for x in range(w - n):
            row[x] = even[x] * np.float32(scale)
        for x in range(n):
            row[w - n + x] = odd[x] * np.float32(1 / scale)


@compiled
def _join_columns(image: FloatArray, steps: FloatArray, scale: float) -> None:
    """Undo `_split_columns`."""
    h, w = image.shape
    n = w // 2
    even, odd = np.empty(w - n, np.float32), np.empty(n, np.float32)
    for y in range(h):
        row = image[y]
        for x in range(w - n):
            even[x] = row[x] * np.float32(1 / scale)
        for x in range(n):
            odd[x] = row[w - n + x] * np.float32(scale)
        _lift_halves(even, odd, steps, True)
        for x in range(n):
            row[2 * x], row[2 * x + 1] = even[x], odd[x]
        if w > 2 * n:
            row[2 * n] = even[n]


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
        _split_columns(mean, _STEPS, _SCALE)
        _lift_rows(mean, _STEPS, _SCALE, False)
        half = mean.shape[1] - mean.shape[1] // 2
        parts = mean[0::2, half:], mean[1::2, :half], mean[1::2, half:]
        bands = [*(np.ascontiguousarray(part) for part in parts), *bands]
        mean = np.ascontiguousarray(mean[0::2, :half])
    return [mean, *bands]


def inverse(bands: list[FloatArray]) -> FloatArray:
    """Return the plane (H, W) of its bands."""
    mean = bands[0]
    for k in range(1, len(bands), 3):
        rows, columns, both = bands[k : k + 3]
        image = np.empty((len(mean) + len(columns), mean.shape[1] + rows.shape[1]), np.float32)
        half = mean.shape[1]
        image[0::2, :half], image[0::2, half:] = mean, rows
        image[1::2, :half], image[1::2, half:] = columns, both
        _lift_rows(image, _STEPS, _SCALE, True)
        _join_columns(image, _STEPS, _SCALE)
        mean = image
    return mean
