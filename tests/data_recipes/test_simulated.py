import tracemalloc

import numpy as np
import pytest
from astro_vq.data_recipes.frame import FrameSettings
from astro_vq.data_recipes.profiles import PointSpread
from astro_vq.data_recipes.simulated import simulate, write_simulated_fits
from astro_vq.data_recipes.sky_model import TRUTH_DTYPE
from astropy.io import fits
from astropy.wcs import WCS

from astro_vq.data.noise import autocovariance, sky_statistics

EMPTY = {"n_stars": 0, "n_galaxies": 0, "cosmic_rays": 0}


def test_the_same_seed_gives_the_same_frame_and_another_seed_another():
    first, again = simulate((300, 200), seed=5), simulate((300, 200), seed=5)
    np.testing.assert_array_equal(first.data, again.data)
    for name in first.truth.dtype.names:
        np.testing.assert_array_equal(first.truth[name], again.truth[name])
    assert first.header == again.header
    assert (first.data != simulate((300, 200), seed=6).data).any()


def test_empty_sky_has_the_level_and_noise_that_were_asked_for():
    image = simulate((600, 600), seed=1, sky=300.0, gain=2.0, read_noise=10.0, **EMPTY)
    sigma = np.sqrt(300 * 2 + 100) / 2
    assert image.data.mean(dtype=float) == pytest.approx(300, abs=5 * sigma / 600)
    assert image.data.std(dtype=float) == pytest.approx(sigma, rel=0.005)
    assert sky_statistics(image.data).sigma == pytest.approx(sigma, rel=0.01)
    assert image.header["SKYSIGMA"] == pytest.approx(sigma)


def test_sky_of_a_full_frame_is_measured_to_a_few_per_cent():
    image = simulate((800, 800), seed=2)
    sky = sky_statistics(image.data)
    assert sky.sigma == pytest.approx(image.header["SKYSIGMA"], rel=0.03)
    assert sky.level == pytest.approx(200, abs=1)


def test_poisson_noise_makes_integers_without_read_noise():
    image = simulate((64, 64), seed=1, sky=50.0, gain=1.0, read_noise=0.0, **EMPTY)
    np.testing.assert_array_equal(image.data, np.rint(image.data))
    assert image.data.var(dtype=float) == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize("fwhm", [2.0, 2.5])
def test_correlated_noise_has_the_analytic_autocovariance(fwhm):
    image = simulate((700, 700), seed=3, noise_correlation_fwhm=fwhm, **EMPTY)
    sigma = image.header["SKYSIGMA"]
    lags = np.arange(-3, 4)
    squared = lags[:, None] ** 2 + lags[None, :] ** 2
    expected = sigma**2 * np.exp(-2 * np.log(2) * squared / fwhm**2)
    np.testing.assert_allclose(autocovariance(image.data, 3), expected, atol=0.03 * sigma**2)
    edge = image.data[:4].astype(float).std()
    assert edge == pytest.approx(sigma, rel=0.1)


def draw(truth, shape, psf):
    """Return the light of these sources, practically without noise."""
    frame = FrameSettings(
        shape=shape, seed=1, psf=psf, n_stars=0, n_galaxies=0, read_noise=0.0, gain=1e14,
        sky=1.0, noise_correlation_fwhm=0.0, cosmic_rays=0, saturation=1e300,
        dtype=np.dtype(np.float64),
    )  # fmt: skip
    return np.concatenate(list(frame.strips(truth))) - 1.0


def one_source(kind, **columns):
    truth = np.zeros(1, dtype=TRUTH_DTYPE)
    truth["type"] = kind
    for name, value in columns.items():
        truth[name] = value
    return truth


@pytest.mark.parametrize("y", [300.3, 255.5, 511.9, 500.0])
@pytest.mark.parametrize("psf", ["gaussian", "moffat"])
@pytest.mark.parametrize("kind", ["star", "galaxy"])
def test_flux_and_position_in_the_frame_are_those_of_the_truth(kind, psf, y):
    """Also where the stamp lies in several strips."""
    truth = one_source(
        kind, x=301.25, y=y, flux=2e4, half_light_radius=3.0, sersic_index=1.0, axis_ratio=0.6,
        position_angle=0.4,
    )  # fmt: skip
    light = draw(truth, (800, 600), PointSpread(3.0, psf, 3.0))
    assert light.sum() == pytest.approx(2e4, rel=1e-6)
    rows, columns = np.mgrid[:800, :600]
    assert (light * columns).sum() / 2e4 == pytest.approx(301.25, abs=0.01)
    assert (light * rows).sum() / 2e4 == pytest.approx(y, abs=0.01)


def test_light_beyond_the_border_is_cut_off():
    truth = one_source("star", x=-0.5, y=50.0, flux=1e4)
    light = draw(truth, (100, 80), PointSpread(3.0, "gaussian"))
    assert light.sum() == pytest.approx(5e3, rel=1e-6)


def test_aperture_fluxes_of_noisy_stars_scatter_by_their_noise_about_the_truth():
    image = simulate(
        (1000, 1000), seed=26, psf="gaussian", n_stars=300, n_galaxies=0, cosmic_rays=0
    )
    truth, sigma = image.truth, image.header["SKYSIGMA"]
    rows, columns = np.mgrid[-5:6, -5:6]
    pulls = []
    for star in truth:
        x, y = round(star["x"]), round(star["y"])
        near = np.hypot(truth["x"] - star["x"], truth["y"] - star["y"])
        if min(x, y, 999 - x, 999 - y) < 6 or np.sort(near)[1] < 25:
            continue
        aperture = np.hypot(columns, rows) < 5
        cut = image.data[y - 5 : y + 6, x - 5 : x + 6].astype(float) - 200
        noise = np.sqrt(aperture.sum() * sigma**2 + star["flux"] / 1.5)
        pulls.append((cut[aperture].sum() - star["flux"]) / noise)
    assert len(pulls) > 100
    assert np.median(pulls) == pytest.approx(0, abs=0.2)
    assert np.std(pulls) == pytest.approx(1, abs=0.2)


def test_stars_have_the_fwhm_of_the_psf():
    light = draw(
        one_source("star", x=99.7, y=100.2, flux=1e4), (200, 200), PointSpread(6.0, "gaussian")
    )
    rows, columns = np.mgrid[:200, :200]
    variance = (light * ((columns - 99.7) ** 2 + (rows - 100.2) ** 2)).sum() / 2e4
    assert np.sqrt(variance - 1 / 12) * 2.35482 == pytest.approx(6.0, rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "int16", "int32"])
def test_the_file_holds_the_same_pixels_header_and_truth(tmp_path, dtype):
    path = tmp_path / "sky.fits"
    options = {"seed": 7, "noise_correlation_fwhm": 1.5, "dtype": dtype}
    truth = write_simulated_fits(path, (300, 123), **options)
    image = simulate((300, 123), **options)
    with fits.open(path, memmap=False) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, image.data)
        assert hdus[0].data.dtype.newbyteorder("=") == image.data.dtype
        assert WCS(hdus[0].header).wcs.ctype[0] == "RA---TAN"
        table = hdus["TRUTH"].data
        np.testing.assert_allclose(table["X"], truth["x"] + 1)
        np.testing.assert_array_equal(table["FLUX"], image.truth["flux"])
        assert {str(kind) for kind in table["TYPE"]} == {"star", "galaxy"}
    assert path.stat().st_size % 2880 == 0
    with pytest.raises(FileExistsError):
        write_simulated_fits(path, (300, 123))
    write_simulated_fits(path, (30, 20), overwrite=True, with_truth=False)
    with fits.open(path) as hdus:
        assert len(hdus) == 1


def test_saturation_cuts_and_is_told_in_the_header():
    image = simulate((200, 200), seed=1, saturation=260.0)
    assert image.data.max() == 260
    assert image.header["SATURATE"] == 260
    assert simulate((40, 40), dtype="int16").header["SATURATE"] == 32767


def test_cosmic_rays_are_sharp():
    image = simulate((200, 200), seed=1, n_stars=0, n_galaxies=0, cosmic_rays=20)
    light = (image.data - 200) / image.header["SKYSIGMA"]
    assert 20 <= np.count_nonzero(light > 8) <= 1000
    assert np.count_nonzero(np.abs(light) > 5) < 1500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"psf_fwhm": 0}, "psf_fwhm"),
        ({"psf": "airy"}, "'gaussian' or 'moffat'"),
        ({"moffat_beta": 1.0}, "moffat_beta"),
        ({"gain": 0}, "gain must be positive"),
        ({"n_stars": -1}, "n_stars must not be negative"),
        ({"dtype": "uint8"}, "dtype must be one of"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        simulate((20, 20), **options)
    with pytest.raises(ValueError, match="shape"):
        simulate((0, 20))


def test_memory_of_a_file_does_not_grow_with_the_frame(tmp_path):
    peaks = []
    for height in (600, 2400):
        tracemalloc.start()
        write_simulated_fits(tmp_path / f"{height}.fits", (height, 400), n_stars=50, n_galaxies=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
