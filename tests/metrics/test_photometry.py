import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astro_vq.errors import DataError
from astro_vq.metrics.background import background_map
from astro_vq.metrics.detection import detect_sources, match_sources
from astro_vq.metrics.field import prepare_field
from astro_vq.metrics.measurement import measure_sources
from astro_vq.metrics.photometry import QUANTITIES, compare_sources, make_catalogue
from astro_vq.metrics.source_types import FWHM_PER_SIGMA, Detections

FWHM = 3.0


def make_sky(*, size=400, stars=80, sigma=5.0, correlation=0.0, seed=0, ellipticity=0.0):
    """Return the image without noise, with noise, and positions and fluxes of its stars."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((size, size))
    rows, columns = np.mgrid[:size, :size]
    width = FWHM / FWHM_PER_SIGMA
    places = np.column_stack(
        [rng.uniform(15, size - 15, (stars, 2)), 10 ** rng.uniform(2.8, 4.5, stars)]
    )
    for x, y, flux in places:
        part = np.s_[int(y) - 14 : int(y) + 15, int(x) - 14 : int(x) + 15]
        squares = (columns[part] - x) ** 2 / (1 + ellipticity) + (rows[part] - y) ** 2 / (
            1 - ellipticity
        )
        shape = np.exp(-squares / 2 / width**2)
        truth[part] += flux * shape / shape.sum()
    noise = rng.normal(size=truth.shape)
    if correlation:
        noise = gaussian_filter(noise, correlation)
        noise /= noise.std()
    return truth + 100, truth + 100 + sigma * noise, places


def test_aperture_fluxes_are_those_of_photutils_and_sep_by_hand():
    sep = pytest.importorskip("sep")
    from photutils.aperture import CircularAperture, aperture_photometry

    _, image, _ = make_sky()
    catalogue = make_catalogue(image, radius=4.0)
    flat = np.ascontiguousarray(image - catalogue.field.background)
    found = catalogue.found
    table = aperture_photometry(flat, CircularAperture(np.column_stack([found.x, found.y]), r=4.0))
    assert found.x.size > 60
    np.testing.assert_allclose(catalogue.measured.flux, table["aperture_sum"], rtol=1e-10)
    fluxes, _, _ = sep.sum_circle(flat, found.x, found.y, 4.0, subpix=0)
    np.testing.assert_allclose(catalogue.measured.flux, fluxes, rtol=1e-5, atol=1e-3)


def test_positions_are_the_windowed_ones_of_sep():
    sep = pytest.importorskip("sep")
    _, image, _ = make_sky(stars=40)
    catalogue = make_catalogue(image, fwhm=FWHM)
    flat = np.ascontiguousarray(image - catalogue.field.background)
    bright = catalogue.found.snr > 30
    x, y = catalogue.measured.x[bright], catalogue.measured.y[bright]
    window = FWHM / FWHM_PER_SIGMA
    sep_x, sep_y, flag = sep.winpos(flat, np.rint(x), np.rint(y), window, subpix=0)
    good = flag == 0
    assert good.sum() > 15
    np.testing.assert_allclose(x[good], sep_x[good], atol=0.01)
    np.testing.assert_allclose(y[good], sep_y[good], atol=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_stated_errors_are_the_scatter_that_noise_makes(correlation):
    truth, image, _ = make_sky(size=700, stars=200, correlation=correlation)
    change = compare_sources(make_catalogue(image), truth)
    for name in QUANTITIES:
        values = change.differences[name]
        values = values[np.isfinite(values)]
        scatter = 1.4826 * np.median(np.abs(values - np.median(values)))
        assert 0.75 < scatter < 1.25, name
        assert values.size > 150


def test_true_fluxes_positions_and_width_are_found():
    _, image, places = make_sky(stars=25, sigma=1.0)
    catalogue = make_catalogue(image, radius=6.0)
    assert catalogue.field.fwhm == pytest.approx(FWHM, rel=0.05)
    assert catalogue.field.sigma == pytest.approx(1.0, rel=0.05)
    nearest = [
        np.argmin(np.hypot(catalogue.found.x - x, catalogue.found.y - y)) for x, y, _ in places
    ]
    distance = np.hypot(
        catalogue.measured.x[nearest] - places[:, 0], catalogue.measured.y[nearest] - places[:, 1]
    )
    assert np.median(distance) < 0.02
    assert np.median(catalogue.measured.flux[nearest] / places[:, 2]) == pytest.approx(1, abs=0.02)
    assert np.median(catalogue.measured.psf_flux[nearest] / places[:, 2]) == pytest.approx(
        1, abs=0.02
    )


def test_ellipticity_and_size_are_measured():
    _, image, _ = make_sky(stars=20, sigma=0.5, ellipticity=0.3)
    measured = make_catalogue(image, fwhm=FWHM).measured
    assert np.nanmedian(measured.e1) == pytest.approx(0.15, abs=0.02)  # half: the window is round
    assert np.nanmedian(measured.e2) == pytest.approx(0.0, abs=0.01)


def test_an_identical_image_changes_nothing():
    _, image, _ = make_sky()
    change = compare_sources(make_catalogue(image), image)
    assert change.lost == change.invented == 0
    assert change.position_pixels == 0
    assert all(spread.largest == 0 for spread in change.spreads.values())
    assert change.detected == change.sources


def test_nothing_is_lost_in_a_crowded_field_that_stays_the_same():
    _, image, _ = make_sky(size=160, stars=400)
    change = compare_sources(make_catalogue(image), image)
    assert change.sources > 50
    assert change.lost == change.invented == 0


def test_sources_beyond_those_measured_are_matched_too():
    _, image, _ = make_sky(stars=60)
    whole = compare_sources(make_catalogue(image), image)
    change = compare_sources(make_catalogue(image, max_sources=10), image)
    assert change.sources == whole.sources > 40
    assert change.usable <= 10
    assert change.lost == change.invented == 0


def test_a_brighter_image_is_a_bias_in_units_of_the_errors():
    truth, image, _ = make_sky()
    catalogue = make_catalogue(image)
    change = compare_sources(catalogue, image + 0.05 * (truth - 100))
    expected = 0.05 * catalogue.measured.flux / catalogue.errors.flux
    assert change.spreads["flux"].bias == pytest.approx(np.nanmedian(expected), rel=0.1)
    assert change.spreads["x"].median < 0.5


def test_removed_sources_are_lost_and_new_ones_invented():
    _, image, places = make_sky(stars=30)
    catalogue = make_catalogue(image)
    brightest = np.argsort(-places[:, 2])[:3]
    decoded = image.copy()
    for x, y, _ in places[brightest]:
        decoded[int(y) - 12 : int(y) + 13, int(x) - 12 : int(x) + 13] = 100.0
    decoded[3:6, 3:6] += 500
    change = compare_sources(catalogue, decoded)
    assert change.lost >= 3
    assert change.lost_snr == pytest.approx(catalogue.found.snr.max())
    assert change.invented >= 1
    assert change.invented_snr > 20


def test_differences_are_binned_by_significance():
    _, image, _ = make_sky()
    change = compare_sources(make_catalogue(image), np.rint(image / 10) * 10)
    numbers = [spread.number for _, _, spread in change.spreads_by_snr]
    assert sum(numbers) == change.usable
    document = change.to_dict()
    assert document["flux_differences_by_snr"][-1]["high"] is None
    assert document["differences_in_errors"]["flux"]["number"] == change.usable


def test_sources_at_borders_and_missing_pixels_are_left_out():
    _, image, places = make_sky(stars=30)
    x, y, _ = places[np.argmax(places[:, 2])]
    image[round(y) + 3, round(x)] = np.nan
    image[:, :12] = np.nan
    catalogue = make_catalogue(image)
    nearest = np.argmin(np.hypot(catalogue.found.x - x, catalogue.found.y - y))
    assert np.isnan(catalogue.measured.flux[nearest])
    change = compare_sources(catalogue, image)
    assert change.usable < change.sources
    assert np.isfinite(change.spreads["flux"].largest)


def test_an_image_without_sources_gives_an_empty_comparison():
    image = np.random.default_rng(0).normal(size=(200, 200))
    change = compare_sources(make_catalogue(image, threshold=7.0), image)
    assert change.sources == change.lost == change.invented == 0
    assert change.spreads["flux"].number == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 5)])
def test_tiny_and_constant_images_give_an_empty_comparison(shape):
    image = np.full(shape, 3.0)
    change = compare_sources(make_catalogue(image), image)
    assert change.sources == 0


def test_counts_have_the_errors_of_counts():
    rng = np.random.default_rng(0)
    rate = np.full((200, 200), 0.01)
    rows, columns = np.mgrid[:200, :200]
    for x, y in rng.uniform(20, 180, (12, 2)):
        rate += 40 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 4)
    counts = rng.poisson(rate).astype(float)
    catalogue = make_catalogue(counts, is_counts=True)
    assert 8 <= (catalogue.found.snr > 20).sum() <= 14
    bright = np.isfinite(catalogue.measured.flux) & (catalogue.found.snr > 20)
    expected = np.sqrt(catalogue.measured.flux[bright])
    assert np.allclose(catalogue.errors.flux[bright], expected, rtol=0.2)


def test_a_gradient_is_taken_out():
    rows, columns = np.mgrid[:400, :300]
    image = 50 + 0.1 * rows + 0.05 * columns + np.random.default_rng(0).normal(size=(400, 300))
    flat = image - background_map(image)
    assert abs(flat.mean()) < 0.1
    assert flat.std() < 1.1


def test_detections_are_matched_one_to_one_nearest_first():
    first = Detections(np.array([0.0, 1.0, 50.0]), np.zeros(3), np.ones(3))
    second = Detections(np.array([0.9, 80.0]), np.zeros(2), np.ones(2))
    partner, taken = match_sources(first, second, 2.0)
    assert partner.tolist() == [-1, 0, -1]
    assert taken.tolist() == [True, False]


def test_measuring_in_pieces_is_the_same_as_at_once(monkeypatch):
    _, image, _ = make_sky(stars=20)
    field = prepare_field(image)
    found = detect_sources(image, field)
    whole = measure_sources(image, field, found.x, found.y)
    monkeypatch.setattr("astro_vq.metrics.measurement._CHUNK", 7)
    pieces = measure_sources(image, field, found.x, found.y)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_arguments_are_errors():
    image = np.random.default_rng(0).normal(size=(50, 50))
    with pytest.raises(ValueError, match="threshold must be positive"):
        make_catalogue(image, threshold=0)
    with pytest.raises(ValueError, match="radius must be positive"):
        make_catalogue(image, radius=-1)
    with pytest.raises(ValueError, match="shape must be"):
        compare_sources(make_catalogue(image), image[:10])
    with pytest.raises(DataError, match="no pixel is finite"):
        make_catalogue(image * np.nan)
