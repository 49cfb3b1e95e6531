"""Simulated radio maps: noise of the stated size, correlated by the beam; sources of its shape."""

import numpy as np
import pytest
from astro_vq.data_recipes.radio import simulate_radio


@pytest.mark.parametrize("shape", [(256, 256), (255, 301)])
def test_noise_has_the_variance_and_correlation_of_the_beam(shape):
    image, _ = simulate_radio(shape, seed=1, beam_fwhm=(4.0, 4.0), sigma_jy=2.0, n_sources=0)
    assert image.dtype == np.float32
    assert image.std() == pytest.approx(2.0, rel=0.05)
    for lag in (1, 2, 4):
        measured = (image[:, lag:] * image[:, :-lag]).mean() / image.var()
        expected = np.exp(-2 * np.log(2) * lag**2 / 16)
        assert measured == pytest.approx(expected, abs=0.05)


def test_a_source_is_the_beam_and_bpa_says_where_it_points():
    options = {"seed": 5, "beam_fwhm": (8.0, 4.0), "beam_angle": 0.3, "n_sources": 1}
    image, header = simulate_radio((128, 128), sigma_jy=1e-9, **options)
    y, x = np.unravel_index(image.argmax(), image.shape)
    assert 20 < x < 108
    assert 20 < y < 108
    half = image > image.max() / 2
    assert half.sum() == pytest.approx(np.pi * 4 * 2, rel=0.15)
    rows, columns = np.nonzero(half)
    (_, sxy), (_, _) = covariance = np.cov(columns, rows)
    angle = 0.5 * np.arctan2(2 * sxy, covariance[0, 0] - covariance[1, 1])
    assert angle == pytest.approx(0.3, abs=0.1)
    assert header["BPA"] == pytest.approx(np.degrees(0.3) + 90)
    assert header["BMAJ"] == pytest.approx(2 * header["BMIN"])


def test_impossible_values_are_refused():
    with pytest.raises(ValueError, match="beam"):
        simulate_radio((64, 64), beam_fwhm=(0.0, 1.0))
