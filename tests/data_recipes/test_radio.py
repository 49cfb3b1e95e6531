"""Simulated radio maps: noise of the stated size, correlated by the beam; sources of its shape."""

import numpy as np
import pytest
from astro_vq.data_recipes.radio import _beam_transform, simulate_radio


@pytest.mark.parametrize("shape", [(256, 256), (255, 301)])
def test_noise_has_the_variance_and_correlation_of_the_beam(shape):
    image, _ = simulate_radio(shape, seed=1, beam_fwhm=(4.0, 4.0), sigma_jy=2.0, n_sources=0)
    assert image.dtype == np.float32
    assert image.std() == pytest.approx(2.0, rel=0.05)
    for lag in (1, 2, 4):
        measured = (image[:, lag:] * image[:, :-lag]).mean() / image.var()
        expected = np.exp(-2 * np.log(2) * lag**2 / 16)
        assert measured == pytest.approx(expected, abs=0.05)


def test_the_beam_has_its_widths_and_angle_and_the_header_says_so():
    beam = np.fft.fftshift(np.fft.irfft2(_beam_transform((128, 128), (8.0, 4.0), 0.3), (128, 128)))
    assert beam.sum() == pytest.approx(1)
    y, x = np.mgrid[-64:64, -64:64]
    xx, xy, yy = (float((beam * product).sum()) for product in (x * x, x * y, y * y))
    assert 0.5 * np.arctan2(2 * xy, xx - yy) == pytest.approx(0.3)
    spread = np.sqrt(np.linalg.eigvalsh([[xx, xy], [xy, yy]]))
    np.testing.assert_allclose(spread * np.sqrt(8 * np.log(2)), [4.0, 8.0], rtol=1e-6)
    image, header = simulate_radio((64, 64), seed=5, beam_fwhm=(8.0, 4.0), beam_angle=0.3)
    assert header["BPA"] == pytest.approx(np.degrees(0.3) + 90)
    assert header["BMAJ"] == pytest.approx(2 * header["BMIN"])
    assert image.max() > 5 * 8e-5


def test_impossible_values_are_refused():
    with pytest.raises(ValueError, match="beam"):
        simulate_radio((64, 64), beam_fwhm=(0.0, 1.0))
