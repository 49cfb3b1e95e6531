import numpy as np
import pytest

from astro_vq.metrics.distortion import (
    DistortionSum,
    middle_part,
    power_spectrum,
    residual_in_sigma,
    residual_statistics,
    sky_change,
)


def distortion(original, decoded, **settings):
    total = DistortionSum(settings.pop("scale", 1.0))
    total.add(np.asarray(original), np.asarray(decoded), **settings)
    return total.result()


def test_errors_are_those_of_the_finite_pixels():
    result = distortion([1.0, 2.0, np.nan, np.inf], [1.5, 1.0, np.nan, np.inf])
    assert result.max_error == 1.0
    assert result.mean_error == -0.25
    assert result.rms_error == pytest.approx(np.sqrt(0.625))
    assert (result.pixels, result.missing, result.misplaced, result.changed) == (4, 2, 0, 2)
    assert result.keeps(1.0)
    assert not result.keeps(0.999)


@pytest.mark.parametrize(
    ("before", "after"),
    [(np.nan, 0.0), (0.0, np.nan), (np.inf, np.nan), (np.inf, -np.inf), (1.0, np.inf)],
)
def test_a_missing_pixel_in_another_place_is_seen(before, after):
    result = distortion([before, 1.0], [after, 1.0])
    assert result.misplaced == 1
    assert not result.keeps(1e9)


def test_pieces_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 64, 48))
    total = DistortionSum()
    for rows in (slice(0, 10), slice(10, 64)):
        total.add(first[rows], second[rows])
    whole = distortion(first, second)
    assert total.result() == pytest.approx(whole)


def test_large_integers_are_subtracted_exactly():
    top = np.iinfo(np.int64).max
    result = distortion(np.array([top, -top]), np.array([top - 1, -top + 3]))
    assert result.max_error == 3
    wide = distortion(np.array([top]), np.array([-top]))
    assert wide.max_error == pytest.approx(2.0 * top)


def test_unsigned_bytes_do_not_wrap_and_scale_is_applied():
    result = distortion(np.array([0], np.uint8), np.array([255], np.uint8), scale=-0.5)
    assert result.max_error == 127.5
    assert result.mean_error == 127.5


def test_blank_integers_are_missing():
    result = distortion(np.array([-1, 5, 6]), np.array([-1, 5, -1]), blank=-1)
    assert result.missing == 1
    assert result.misplaced == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        distortion(np.zeros(3), np.zeros(4))


def test_a_uniform_error_has_its_known_moments():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 10, (300, 300))
    decoded = np.rint(image / 2) * 2
    result = residual_statistics(image, decoded, 10.0)
    assert result.rms == pytest.approx(2 / np.sqrt(12) / 10, rel=0.01)
    assert result.chi_squared == pytest.approx(result.rms**2)
    assert result.kurtosis == pytest.approx(-1.2, abs=0.03)
    assert abs(result.skewness) < 0.03
    assert abs(result.correlation_x) < 0.02
    assert abs(result.correlation_y) < 0.02
    assert abs(result.correlation_with_image) < 0.02


def test_smoothing_shows_in_the_correlations():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(200, 200))
    rows = image.copy()
    rows[:, 1:] = (image[:, 1:] + image[:, :-1]) / 2
    result = residual_statistics(image, rows, 1.0)
    assert result.correlation_x == pytest.approx(-0.5, abs=0.02)
    assert abs(result.correlation_y) < 0.02
    assert result.correlation_with_image < -0.5  # bright pixels became fainter


def test_identical_images_have_no_residual():
    image = np.random.default_rng(3).normal(size=(20, 20))
    image[0] = np.nan
    assert set(residual_statistics(image, image, 1.0)) == {0}
    assert np.isnan(residual_in_sigma(image, image, 1.0)[0]).all()
    with pytest.raises(ValueError, match="positive"):
        residual_statistics(image, image, 0.0)


def test_white_noise_has_a_flat_spectrum_of_one():
    spectrum = power_spectrum(np.random.default_rng(4).normal(size=(256, 200)))
    assert np.allclose(spectrum.power[10:], 1.0, atol=0.25)
    assert spectrum.power.mean() == pytest.approx(1.0, abs=0.05)
    assert spectrum.frequency[-1] < 0.5


def test_a_wave_shows_at_its_frequency_also_with_missing_pixels():
    image = np.cos(2 * np.pi * 0.25 * np.arange(256))[None, :] * np.ones((256, 1))
    image[:20] = np.nan
    spectrum = power_spectrum(image)
    assert spectrum.frequency[np.argmax(spectrum.power)] == pytest.approx(0.25, abs=1 / 64)


def test_tiny_or_empty_images_have_no_spectrum():
    assert power_spectrum(np.zeros((1, 30))).power.size == 0
    assert power_spectrum(np.full((30, 30), np.nan)).power.size == 0


def test_sky_level_and_noise_are_compared():
    image = np.random.default_rng(5).normal(10, 2, (128, 128))
    change = sky_change(image, image * 2)
    assert change.level_after == pytest.approx(2 * change.level_before, rel=1e-6)
    assert change.sigma_after == pytest.approx(2 * change.sigma_before, rel=1e-6)
    assert sky_change(image * np.nan, image) is None


def test_the_middle_of_an_image_is_cut_out():
    image = np.arange(30).reshape(5, 6)
    assert middle_part(image, 2).tolist() == [[8, 9], [14, 15]]
    assert middle_part(image, 10) is not None
    assert middle_part(image, 10).shape == (5, 6)
