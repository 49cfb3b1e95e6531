import csv
import warnings

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from astro_vq.data.noise import (
    autocovariance,
    mad_sigma,
    pixel_noise,
    sky_statistics,
    source_mask,
)
from astro_vq.errors import DataError


def noise_image(sigma=5.0, level=100.0, shape=(500, 500), seed=1):
    return np.random.default_rng(seed).normal(level, sigma, shape)


def smooth_noise(fwhm, sigma=3.0, shape=(512, 512), seed=2):
    """Unit noise under a Gaussian of that FWHM, and its analytic autocovariance."""
    width = fwhm / np.sqrt(8 * np.log(2))
    white = np.random.default_rng(seed).normal(size=shape)
    image = ndimage.gaussian_filter(white, width, mode="wrap", truncate=6)
    factor = sigma * np.sqrt(4 * np.pi) * width
    return image * factor, lambda dy, dx: sigma**2 * np.exp(-(dy**2 + dx**2) / (4 * width**2))


def add_stars(image, count=150, flux=3000.0, fwhm=3.0, seed=3):
    rng = np.random.default_rng(seed)
    stars = np.zeros(image.shape)
    stars[rng.integers(0, image.shape[0], count), rng.integers(0, image.shape[1], count)] = flux
    return image + ndimage.gaussian_filter(stars, fwhm / 2.355)


def test_sky_of_pure_noise_is_right_to_one_per_cent():
    sky = sky_statistics(noise_image())
    assert sky.level == pytest.approx(100, abs=0.05)
    assert sky.sigma == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5, 3.0])
def test_sky_of_rounded_noise_includes_the_rounding_and_no_more(sigma):
    image = np.rint(noise_image(sigma, 1000.3)).astype(np.uint16)
    sky = sky_statistics(image)
    assert sky.sigma == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.06)
    assert sky.level == pytest.approx(1000.3, abs=0.05)


def test_sky_under_stars_is_right_to_a_few_per_cent():
    sky = sky_statistics(add_stars(noise_image()))
    assert sky.sigma == pytest.approx(5, rel=0.04)
    assert sky.level == pytest.approx(100, abs=0.5)


def test_sky_ignores_nan_inf_and_masked_pixels():
    image = noise_image()
    image[:100] = np.nan
    image[100, 0], image[101, 0] = np.inf, -np.inf
    image[200:] = 1e6
    mask = np.ones(image.shape, dtype=bool)
    mask[200:] = False
    assert sky_statistics(image, mask=mask).sigma == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e30, 1e300])
def test_sky_scales_with_the_unit(scale):
    sky = sky_statistics(noise_image(shape=(100, 100)) * scale)
    reference = sky_statistics(noise_image(shape=(100, 100)))
    assert sky.sigma == pytest.approx(reference.sigma * scale, rel=1e-6)
    assert sky.level == pytest.approx(reference.level * scale, rel=1e-6)


@pytest.mark.parametrize("border", [0.0, -999.0, 1e30])
def test_a_border_of_one_value_does_not_count(border):
    image = noise_image()
    image[:, :300] = border
    assert sky_statistics(image).sigma == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4, 2.0])
def test_sky_of_counts_that_are_mostly_zero_is_their_poisson_noise(rate):
    image = np.random.default_rng(5).poisson(rate, (400, 400))
    image[200:204, 200:204] += 300
    sky = sky_statistics(image)
    assert sky.sigma == pytest.approx(np.sqrt(rate), rel=0.05)
    assert sky.level == pytest.approx(rate, rel=0.06 if rate < 2 else 0.1)


def test_saturated_plateau_does_not_count_as_sky():
    image = noise_image()
    image[:, :100] = 65535.0
    image[::3, 100:150] = 65535.0
    assert sky_statistics(image).sigma == pytest.approx(5, rel=0.05)


def test_sigma_is_zero_only_for_a_constant_image():
    assert sky_statistics(np.full((20, 20), 7, dtype=np.int16)) == (7.0, 0.0)
    almost = np.full((64, 64), 7.0)
    almost[3, 3] = 7.5
    assert sky_statistics(almost).sigma > 0
    tiny = np.zeros((8, 8))
    tiny[0, 0] = 5e-324
    assert sky_statistics(tiny).sigma > 0


def test_large_images_are_sampled_all_over_and_always_alike():
    image = noise_image(shape=(3000, 1000))
    sky = sky_statistics(image, max_samples=200_000)
    assert sky.sigma == pytest.approx(5, rel=0.01)
    assert sky == sky_statistics(image, max_samples=200_000)
    assert sky != sky_statistics(image, max_samples=200_000, seed=1)
    assert sky_statistics(noise_image(shape=(1, 100_000)), max_samples=20_000).sigma == (
        pytest.approx(5, rel=0.02)
    )


def test_an_image_without_a_finite_pixel_is_refused():
    with pytest.raises(DataError, match="no pixel is finite"):
        sky_statistics(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="two axes"):
        sky_statistics(np.zeros(4))
    with pytest.raises(ValueError, match="mask has shape"):
        sky_statistics(np.zeros((4, 4)), mask=np.ones((4, 5), dtype=bool))


def test_mad_sigma_of_normal_values():
    values = np.random.default_rng(0).normal(2, 3, 200_000)
    assert mad_sigma(values) == pytest.approx(3, rel=0.01)
    assert mad_sigma(np.array([np.nan])) == 0


def test_pixel_noise_sees_no_gradient_and_no_step():
    image = noise_image(shape=(400, 400)) + np.linspace(0, 500, 400)
    assert pixel_noise(image) == pytest.approx(5, rel=0.02)
    assert pixel_noise([image[:100], image[300:]]) == pytest.approx(5, rel=0.02)


def test_pixel_noise_is_that_of_differences_when_noise_is_correlated():
    image, covariance = smooth_noise(2.5)
    expected = np.sqrt(covariance(0, 0) - covariance(0, 1))
    assert pixel_noise(image) == pytest.approx(expected, rel=0.03)


def test_pixel_noise_leaves_out_padding_and_gives_zero_when_there_is_none():
    image = noise_image(shape=(300, 300))
    image[:, :200] = 0
    assert pixel_noise(image) == pytest.approx(5, rel=0.03)
    assert pixel_noise(np.full((10, 10), np.nan)) == 0
    assert pixel_noise(np.ones((10, 10))) == 0
    assert pixel_noise(np.ones((1, 1))) == 0


def test_source_mask_covers_sources_and_leaves_noise_alone():
    image = noise_image()
    assert source_mask(image).mean() < 1e-3
    image[250:256, 250:256] += 100
    image[100:110, 100:110] -= 60
    image[:40] = np.nan
    mask = source_mask(image)
    assert mask[250:256, 250:256].all()
    assert mask[100:110, 100:110].all()
    assert not mask[:40].any()
    assert mask.mean() < 0.01


@pytest.mark.parametrize("stars", [False, True])
def test_autocovariance_of_smoothed_noise_is_the_analytic_one(stars):
    image, covariance = smooth_noise(2.5)
    if stars:
        image = add_stars(image, count=60, flux=5000)
        image[:, 300:310] = np.nan
    measured = autocovariance(image, 4)
    lags = np.arange(-4, 5)
    expected = covariance(lags[:, None], lags[None, :])
    np.testing.assert_allclose(measured, expected, atol=(0.06 if stars else 0.03) * 9)
    np.testing.assert_array_equal(measured, measured[::-1, ::-1])


def test_autocovariance_equals_the_brute_force_sum():
    rng = np.random.default_rng(8)
    image = rng.normal(size=(30, 41))
    image[rng.random(image.shape) < 0.2] = np.nan
    values = image - np.nanmean(image)
    expected = np.empty((5, 5))
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            left = values[max(dy, 0) : 30 + min(dy, 0), max(dx, 0) : 41 + min(dx, 0)]
            right = values[max(-dy, 0) : 30 + min(-dy, 0), max(-dx, 0) : 41 + min(-dx, 0)]
            expected[dy + 2, dx + 2] = np.nanmean(left * right)
    np.testing.assert_allclose(autocovariance(image, 2), expected, atol=1e-10)


def test_autocovariance_refuses_what_it_cannot_measure():
    with pytest.raises(ValueError, match="max_lag"):
        autocovariance(noise_image(), -1)
    with pytest.raises(DataError, match="too few sky pixels"):
        autocovariance(noise_image(shape=(5, 5)), 5)


@pytest.mark.sky
def test_real_skies_agree_with_the_catalog(sky_dir):
    """Fields of clean sky within 20 per cent; crowded ones depend on what one calls sky."""
    ratios = []
    with (sky_dir / "catalog.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["sigma_sky"] and row["rho_lag1"]]
    chosen = [r for r in rows if r["file"].endswith(".fits") and abs(float(r["rho_lag1"])) < 0.3]
    for row in chosen[::3]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(sky_dir / row["file"], memmap=False) as hdus:
                images = (h.data for h in hdus if h.is_image)
                data = next(a for a in images if a is not None and a.size)
        if data.ndim != 2 or float(row["sigma_sky"]) == 0:
            continue
        ratios.append(sky_statistics(data).sigma / float(row["sigma_sky"]))
        assert 0 < pixel_noise(data) < np.inf
    assert len(ratios) > 20
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.2) > 0.9


def test_autocovariance_of_large_frames_is_summed_in_pieces():
    image, covariance = smooth_noise(2.5, shape=(200, 2100))
    lags = np.arange(-2, 3)
    expected = covariance(lags[:, None], lags[None, :])
    np.testing.assert_allclose(autocovariance(image, 2), expected, atol=0.03 * 9)


def test_signalling_nans_and_masks_do_no_harm():
    image = noise_image().astype(np.float32)
    image.view(np.uint32)[:50] = 0x7F800001
    mask = np.ones(image.shape, dtype=bool)
    mask[:, 400:] = False
    assert sky_statistics(image, mask=mask, max_samples=50_000).sigma == pytest.approx(5, rel=0.02)
    assert not source_mask(image, mask=mask)[:50].any()
    assert autocovariance(image, 1, mask=mask)[1, 1] == pytest.approx(25, rel=0.03)
