"""Noise covariance of frames and sets of cutouts, and of files."""

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from astro_vq.data.noise import autocovariance, covariance, neighbour_correlation
from astro_vq.data.noise import read_autocovariance as read
from astro_vq.errors import DataError, FormatError


def correlated(shape, seed, width=0.8):
    """Noise of variance one and its autocovariance at lag (dy, dx)."""
    white = np.random.default_rng(seed).normal(size=shape)
    widths = (0,) * (len(shape) - 2) + (width, width)
    smooth = ndimage.gaussian_filter(white, widths, mode="wrap", truncate=6)
    kernel = ndimage.gaussian_filter(np.eye(1, 41, 20)[0], width, truncate=6)
    by_lag = np.correlate(kernel, kernel, "same") / np.sum(kernel**2)
    return smooth / np.sum(kernel**2), lambda dy, dx: by_lag[20 + dy] * by_lag[20 + dx]


def test_cutouts_are_pooled_to_the_true_covariance():
    noise, truth = correlated((60, 64, 64), 1)
    noise[:, 20:23, 30:33] += 40.0  # a source in each
    noise[3, 5] = np.nan
    measured = covariance(noise, 3)
    lags = np.arange(-3, 4)
    np.testing.assert_allclose(measured, truth(lags[:, None], lags), atol=0.025)
    assert neighbour_correlation(measured) == pytest.approx(truth(0, 1), abs=0.01)


def test_a_frame_gives_its_autocovariance_and_masks_are_used():
    noise, _ = correlated((200, 150), 2)
    np.testing.assert_array_equal(covariance(noise, 2), autocovariance(noise, 2))
    mask = np.ones(noise.shape, dtype=bool)
    mask[:, 75:] = False
    spoilt = np.where(mask, noise, 1e4)
    np.testing.assert_allclose(
        covariance([spoilt], 2, masks=[mask]), autocovariance(noise[:, :75], 2), rtol=0.02
    )


def test_images_of_several_sizes_weigh_by_their_pairs():
    one, other = np.random.default_rng(3).normal(size=(2, 90, 90))
    both = covariance(iter([one, 2 * other[:45]]), 0)[0, 0]
    assert both == pytest.approx((1 * 2 + 4 * 1) / 3, rel=0.05)


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(DataError, match="no image"):
        covariance([], 2)
    with pytest.raises(DataError, match="too few sky pixels for lags up to 9"):
        covariance(np.random.default_rng(0).normal(size=(3, 8, 8)), 9)
    with pytest.raises(ValueError, match="negative"):
        covariance(np.zeros((8, 8)), -1)
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        covariance(np.zeros((2, 2, 8, 8)), 1)
    with pytest.raises(ValueError, match="zip"):
        covariance(np.ones((2, 8, 8)) * np.eye(8), 1, masks=np.ones((1, 8, 8), dtype=bool))


def test_correlation_of_neighbours_is_the_mean_of_both_axes():
    values = np.array([[0.1, 0.6, 0.1], [1.0, 2.0, 1.0], [0.1, 0.6, 0.1]])
    assert neighbour_correlation(values) == pytest.approx(0.4)
    assert neighbour_correlation(np.ones((1, 1))) == 0.0


def test_a_file_holds_one_plane_or_one_a_channel(tmp_path):
    one, _ = correlated((100, 100), 4)
    values = autocovariance(one, 2)
    fits.writeto(tmp_path / "one.fits", values)
    np.testing.assert_array_equal(read(tmp_path / "one.fits"), values[None])
    stacked = np.stack([values, 2 * values])
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(stacked)]
    fits.HDUList(hdus).writeto(tmp_path / "two.fits")
    np.testing.assert_array_equal(read(tmp_path / "two.fits"), stacked)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 5)), r"got one of shape \(3, 5\)"),
        (np.ones((4, 4)), r"2L\+1 by 2L\+1 pixels.*got one of shape \(4, 4\)"),
        (np.ones((1, 1, 3, 3)), "got one of shape"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.zeros((3, 3)), "the variance; it is"),
        (np.array([[0.1, 0.5, 0], [0, 1, 0], [0, 0.4, 0.1]]), "the same at a lag and at its"),
        (np.array([[0.1, 2, 0], [0, 1, 0], [0, 2, 0.1]]), "more covariance than lag zero"),
    ],
)
def test_a_file_that_is_no_autocovariance_is_refused(tmp_path, values, message):
    path = tmp_path / "wrong.fits"
    fits.writeto(path, values)
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_file_without_an_image_is_refused(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(DataError, match="no HDU holds an image"):
        read(tmp_path / "empty.fits")
    (tmp_path / "text.fits").write_text("nothing")
    with pytest.raises(FormatError):
        read(tmp_path / "text.fits")
