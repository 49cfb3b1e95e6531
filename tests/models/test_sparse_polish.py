"""Tokens that set fluxes right: apertures by brute force, and what they leave of sources."""

import numpy as np
import pytest
from scipy import ndimage

from astro_vq.models.sparse_atoms import StarShape
from astro_vq.models.sparse_books import BookMaker
from astro_vq.models.sparse_peaks import find_peaks
from astro_vq.models.sparse_polish import _light, _sums, aperture_noise, peak_noise, polish
from astro_vq.models.sparse_scales import draw

STAR = StarShape(21, 0, 0, 2)  # 2.65 pixels wide at half maximum
WHITE = np.ones((1, 1))


@pytest.fixture(scope="module")
def maker():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(256, 24)))[0].T.astype(np.float32)
    return BookMaker(np.ascontiguousarray(basis), rng.normal(size=(64, 24)).astype(np.float32))


def stars(places, fluxes, shape=(128, 256)):
    yy, xx = np.mgrid[: shape[0], : shape[1]] + 0.5
    sigma = STAR.fwhm / 2.3548
    image = np.zeros(shape)
    for (y, x), flux in zip(places, fluxes, strict=True):
        square = (yy - y) ** 2 + (xx - x) ** 2
        image += flux / (2 * np.pi * sigma**2) * np.exp(-square / 2 / sigma**2)
    return image.astype(np.float32)


def apply(left, tokens, maker):
    for level, y, x, code, gain in tokens:
        value = np.array([maker_gain(gain)], np.float32)
        place = np.array([y >> level]), np.array([x >> level]), np.array([code])
        draw(left, *place, -value, maker.patches(level, STAR), level)


def polished(left, drawn, maker, star, threshold=5.0, covariance=WHITE):
    pixels = left + drawn
    return polish(maker, star, pixels=pixels, left=left, covariance=covariance, threshold=threshold)


def maker_gain(index):
    return 1.2 * abs(index) * np.sign(index) if abs(index) <= 16 else None


def correlated_noise():
    noise = ndimage.gaussian_filter(
        np.random.default_rng(0).normal(size=(512, 512)), 1, mode="wrap"
    )
    noise /= noise.std()
    spectrum = np.abs(np.fft.fft2(noise)) ** 2 / noise.size
    return noise, np.roll(np.fft.ifft2(spectrum).real, (8, 8), (0, 1))[:17, :17]


def test_the_noise_of_an_aperture_is_that_of_frames():
    assert aperture_noise(WHITE) == pytest.approx(np.sqrt(np.pi * 16), rel=0.06)  # a soft rim
    noise, covariance = correlated_noise()
    rng = np.random.default_rng(1)
    y, x = rng.uniform(8, 500, (2, 4000))
    sums = _sums(noise.astype(np.float32), y, x)
    assert aperture_noise(covariance) == pytest.approx(float(sums.std()), rel=0.06)


def test_the_noise_of_peaks_is_that_of_frames():
    assert peak_noise(WHITE, STAR) == pytest.approx(1)
    noise, covariance = correlated_noise()
    white = np.random.default_rng(1).normal(size=noise.shape)
    width = STAR.fwhm / 2.3548
    seen, plain = (ndimage.gaussian_filter(v, width, mode="wrap").std() for v in (noise, white))
    assert peak_noise(covariance, STAR) == pytest.approx(seen / plain, rel=0.03)


def test_flux_that_is_left_is_drawn_and_noise_is_not(maker):
    places = [(40.3, 50.8), (80.5, 120.1), (60.0, 200.7)]
    drawn = stars(places, [900.0, 900.0, 900.0])
    left = stars(places, [35.0, -28.0, 1.0])
    rest = left.copy()
    tokens = polished(rest, drawn, maker, STAR)
    assert len(tokens) == 2
    assert np.sign(tokens[:, 4]).sum() == 0
    y, x = np.array(places).T
    assert np.abs(_sums(rest, y, x)).max() < 3.0  # half a step of the gain is 2.4
    again = left.copy()
    apply(again, tokens, maker)
    np.testing.assert_allclose(again, rest, atol=1e-5)


def test_sources_that_nothing_drew_are_set_right_too(maker):
    places = [(40.3, 50.8), (80.5, 120.1), (60.0, 200.7)]
    left = stars(places, [60.0, 24.0, 5.0])
    matched = np.array([60.0, 24.0, 5.0]) / (2 * np.sqrt(np.pi) * STAR.fwhm / 2.3548)
    assert matched[1] > 4 > matched[2]  # sigma
    for threshold, number in ((5.0, 2), (20.0, 1), (200.0, 0)):
        rest = left.copy()
        tokens = polished(rest, np.zeros_like(left), maker, STAR, threshold)
        assert len(tokens) == number
    dim = stars(places[1:2], [24.0])
    noise = correlated_noise()[1]
    assert not len(polished(dim, np.zeros_like(dim), maker, STAR, covariance=noise))


def test_light_that_two_apertures_share_is_drawn_once(maker):
    places = [(60.3, 100.8), (65.2, 104.1)]
    drawn = stars(places, [900.0, 700.0])
    left = stars(places, [90.0, 0.0])
    tokens = polished(left, drawn, maker, STAR)
    assert len(tokens) == 1
    assert np.abs(_sums(left, *np.array(places).T)).max() < 4.0


def test_a_peak_without_light_of_its_own_must_be_wrong_by_the_threshold(maker):
    place = [(64.2, 128.3)]
    y, x = np.mgrid[:128, :256] + 0.5
    hill = 30 * np.exp(-((y - 64.2) ** 2 + (x - 128.3) ** 2) / 2 / 60**2)
    hill = hill.astype(np.float32)
    assert len(find_peaks(hill, STAR, 4.0)[0]) == 1
    noise = aperture_noise(WHITE)
    for flux, number in ((-4.0 * noise, 0), (-7.0 * noise, 1)):
        left = stars(place, [flux])
        assert len(polished(left, hill - left, maker, STAR)) == number


def test_bright_sources_may_keep_a_share_and_unknown_stars_have_no_tokens(maker):
    places = [(64.0, 64.0)]
    drawn, left = stars(places, [1e6]), stars(places, [300.0])
    assert not len(polished(left.copy(), drawn, maker, STAR))
    assert len(polished(left.copy(), drawn / 100, maker, STAR))
    assert not len(polished(left, drawn / 100, maker, StarShape()))


def test_light_of_its_own_is_that_above_the_mean_around():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(60, 70)).astype(np.float32)
    y, x = np.array([[30.2, 3.1, 58.9], [35.7, 66.4, 1.5]])
    wide = np.pad(image, 40).astype(np.float64)
    around = ndimage.uniform_filter(wide, 17, mode="constant")
    true = [_sums(values.astype(np.float32), y + 40, x + 40) for values in (wide, around)]
    np.testing.assert_allclose(_light(image, y, x), true[0] - true[1], atol=1e-4)
