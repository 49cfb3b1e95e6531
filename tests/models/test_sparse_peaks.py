"""Peaks of pixels: against the filters of scipy, whatever the bands."""

import numpy as np
import pytest
from scipy import ndimage

from astro_vq.models import sparse_peaks
from astro_vq.models.sparse_atoms import BETAS, StarShape
from astro_vq.models.sparse_peaks import find_peaks

STAR = StarShape(21, 0, 0, len(BETAS) - 1)


def some_stars():
    rng = np.random.default_rng(3)
    image = np.zeros((200, 310), np.float32)
    patch = np.exp(-((np.arange(9) - 4) ** 2) / 2 / 1.5**2)
    for y, x in zip(rng.integers(0, 191, 60), rng.integers(0, 301, 60), strict=True):
        image[y : y + 9, x : x + 9] += rng.uniform(1, 50) * np.outer(patch, patch)
    image[:, 150:220] = 0  # nothing at all for a while
    image[90:130] = 0
    return image


@pytest.mark.parametrize("band", [128, 16])
def test_they_are_the_local_maxima_of_the_smoothed_image(monkeypatch, band):
    monkeypatch.setattr(sparse_peaks, "_BAND", band)
    image, width = some_stars(), STAR.fwhm / 2.3548
    smooth = ndimage.gaussian_filter(image, width, mode="constant")
    top = ndimage.maximum_filter(smooth, 5, mode="constant")
    rows, columns = np.nonzero((smooth == top) & (smooth > 4 / (2 * np.sqrt(np.pi) * width)))
    inside = (rows > 0) & (columns > 0) & (rows < 199) & (columns < 309)
    y, x = find_peaks(image, STAR, 4.0)
    assert len(y) == inside.sum() > 20
    np.testing.assert_array_equal(np.floor(y + 1e-6), rows[inside])
    for places, axis in ((y, 0), (x, 1)):
        near = [np.roll(smooth, k, axis)[rows[inside], columns[inside]] for k in (1, 0, -1)]
        bend = 2 * near[1] - near[0] - near[2]
        away = np.clip((near[2] - near[0]) / (2 * bend), -0.5, 0.5)
        middle = (rows, columns)[axis][inside] + 0.5
        np.testing.assert_allclose(places, middle + away, atol=1e-3)


def test_nothing_has_no_peaks():
    y, x = find_peaks(np.zeros((40, 50), np.float32), STAR, 4.0)
    assert y.shape == x.shape == (0,)
