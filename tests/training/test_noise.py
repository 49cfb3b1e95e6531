"""Runs with correlated noise: it is measured or read, trained with, kept and described."""

import math
import warnings

import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy import ndimage

from astro_vq.checkpoint import load_model
from astro_vq.config import ModelConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.noise import autocovariance, neighbour_correlation
from astro_vq.errors import ConfigError, DataError
from astro_vq.likelihoods import MultivariateNormal
from astro_vq.models import build_model
from astro_vq.training.loop import train
from astro_vq.training.noise import measure_noise, taper, warm_noise
from astro_vq.training.reports import Note

pytestmark = pytest.mark.usefixtures("brief")

LAG = 3


def asinh_correlation(rho):
    """Correlation of asinh(x), asinh(y) for normal x, y of variance one and correlation rho."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    x, y = nodes[:, None], rho * nodes[:, None] + math.sqrt(1 - rho**2) * nodes[None, :]
    weight = weights[:, None] * weights[None, :] / (2 * np.pi)
    variance = np.sum(weight * np.arcsinh(x) ** 2)
    return np.sum(weight * np.arcsinh(x) * np.arcsinh(y)) / variance


def make_frame(seed, widths=(0.7, 0.7), side=96):
    """Correlated noise of sigma 5 with stars."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), widths, mode="wrap")
    image = 100 + 5 * noise / noise.std()
    y, x = np.mgrid[:side, :side]
    for _ in range(4):
        cy, cx = rng.uniform(0, side, 2)
        image += rng.uniform(100, 1000) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 3)
    return image.astype(np.float32)


def neighbour_truth(width):
    """Correlation of neighbours of white noise under that Gaussian filter."""
    kernel = ndimage.gaussian_filter(np.eye(1, 41, 20)[0], width)
    return np.sum(kernel[1:] * kernel[:-1]) / np.sum(kernel**2)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("correlated")
    for seed in range(6):
        fits.writeto(folder / f"frame{seed}.fits", make_frame(seed))
    return folder


@pytest.fixture
def run_options(options, frames):
    return options | {
        "fits_dir": [str(frames)],
        "likelihood": "multivariate-normal",
        "likelihood_lag": LAG,
        "steps": 6,
    }


def noise_of(folder):
    return load_model(folder).model.likelihood.noise.autocovariance


def test_measured_correlation_is_that_of_the_noise_in_network_units(frames):
    found = measure_noise(CutoutIndex.build([frames]), LAG, is_turned=True)
    assert found.added < 0.03
    assert (found.images, found.skipped, found.values.shape) == (6, 0, (1, 7, 7))
    expected = asinh_correlation(neighbour_truth(0.7))
    assert neighbour_correlation(found.values[0]) == pytest.approx(expected, abs=0.02)
    # sky pixels have sigma one before the asinh
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    variance = np.sum(weights * np.arcsinh(nodes) ** 2) / math.sqrt(2 * math.pi)
    assert found.values[0, LAG, LAG] == pytest.approx(variance, rel=0.06)


def test_turned_cutouts_take_the_mean_of_all_orientations(tmp_path):
    for seed in range(3):
        fits.writeto(tmp_path / f"{seed}.fits", make_frame(seed, widths=(1.0, 0.0)))
    index = CutoutIndex.build([tmp_path])
    as_is = measure_noise(index, 2, is_turned=False).values[0]
    turned = measure_noise(index, 2, is_turned=True).values[0]
    assert as_is[3, 2] > 0.5 * as_is[2, 2]
    assert abs(as_is[2, 3]) < 0.05 * as_is[2, 2]
    assert turned[3, 2] == pytest.approx((as_is[3, 2] + as_is[2, 3]) / 2)
    np.testing.assert_allclose(turned, turned.T)


def test_a_run_measures_its_noise_stores_it_and_says_so(run_options, tmp_path):
    notes = []
    run = tmp_path / "run"
    result = train(run_options, run, progress=notes.append)
    stored = noise_of(run)
    assert stored.shape == (1, 7, 7)
    lag_one = neighbour_correlation(stored[0].numpy())
    assert lag_one == pytest.approx(asinh_correlation(neighbour_truth(0.7)), abs=0.03)
    said = [n.text for n in notes if isinstance(n, Note) and n.text.startswith("noise covariance")]
    assert len(said) == 1
    assert f"lag-1 correlation {lag_one:.3f}" in said[0]
    card = (run / "MODEL_CARD.md").read_text()
    assert f"lag-1 correlation {lag_one:.3f}" in card
    assert "measured on sky pixels of the training images" in card
    # the sky level alone is judged by the same likelihood
    assert result.validation.terms["nll_per_dim"] < result.validation.sky["nll_per_dim"] + 1.0


@pytest.mark.parametrize("model", ["vqvae", "vae"])
def test_the_loss_is_that_of_correlated_noise(run_options, tmp_path, model):
    options = run_options | {"steps": 3, "model": model, "noise_warmup": 0.0}
    train(options, tmp_path / "one")
    white = np.zeros((7, 7))
    white[3, 3] = float(noise_of(tmp_path / "one")[0, 3, 3])
    fits.writeto(tmp_path / "white.fits", white)
    train(options | {"noise_covariance": str(tmp_path / "white.fits")}, tmp_path / "two")
    one, two = (load_model(tmp_path / name).model for name in ("one", "two"))
    weights = [dict(m.named_parameters()) for m in (one, two)]
    assert any(not torch.equal(p, weights[1][n]) for n, p in weights[0].items())


def test_a_resumed_run_keeps_its_noise_exactly(run_options, tmp_path):
    whole, parts = tmp_path / "a" / "run", tmp_path / "b" / "run"
    # neither learning rate nor noise depends on the length of the run
    options = run_options | {"steps": 6, "schedule": "constant", "noise_warmup": 0.0}
    options["checkpoint_every"] = 3
    train(options, whole)
    train(options | {"steps": 3}, parts)
    before = noise_of(parts)
    train({"steps": 6}, parts, resume=True)
    assert torch.equal(noise_of(parts), before)
    one, two = (load_model(folder).model.state_dict() for folder in (whole, parts))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_a_file_gives_the_noise_instead(run_options, tmp_path):
    values = autocovariance(make_frame(9), 2) / 25
    values[2, 2] *= 1.1  # or it is not quite positive definite
    fits.writeto(tmp_path / "noise.fits", values)
    run = tmp_path / "run"
    options = run_options | {"noise_covariance": str(tmp_path / "noise.fits"), "steps": 2}
    train(options, run)
    np.testing.assert_array_equal(noise_of(run)[0].numpy(), values)
    card = (run / "MODEL_CARD.md").read_text()
    assert "given in the file `noise.fits`" in card
    assert str(tmp_path) not in card
    (tmp_path / "noise.fits").unlink()
    train({"steps": 4}, run, resume=True)  # needs the file no more
    np.testing.assert_array_equal(noise_of(run)[0].numpy(), values)
    with pytest.raises(ConfigError, match="keeps its noise_covariance"):
        train({"noise_covariance": "other.fits"}, run, resume=True)


def test_a_file_in_other_units_or_for_another_likelihood_is_refused(run_options, tmp_path):
    path = tmp_path / "noise.fits"
    fits.writeto(path, np.full((1, 1), 1e6))
    options = run_options | {"noise_covariance": str(path)}
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"noise of 1e\+03 .* not in network units"):
        train(options, run)
    with pytest.raises(ConfigError, match="this run has 'normal'"):
        train(options | {"likelihood": "normal"}, run)
    with pytest.raises(ConfigError, match="'multivariate-normal' with covariance 'low-rank'"):
        train(options | {"likelihood_covariance": "low-rank"}, run)
    fits.writeto(tmp_path / "two.fits", np.ones((2, 1, 1)))
    with pytest.raises(DataError, match="it has 2 channels, the images have 1"):
        train(options | {"noise_covariance": str(tmp_path / "two.fits")}, run)
    with pytest.raises(FileNotFoundError):
        train(options | {"noise_covariance": str(tmp_path / "none.fits")}, run)
    assert not run.exists()


def test_noise_that_cannot_be_measured_is_refused_before_anything_is_written(run_options, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"too few sky pixels.* or give --noise-covariance FILE"):
        train(run_options | {"likelihood_lag": 200}, run)
    assert not run.exists()


def test_a_run_whose_noise_was_never_measured_is_not_resumed(run_options, tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr("astro_vq.training.loop.find_noise", lambda *_: None)
    train(run_options | {"steps": 2}, run)
    with pytest.raises(DataError, match="without a measured noise covariance"):
        train({"steps": 4}, run, resume=True)


def test_a_covariance_that_is_not_positive_is_repaired_with_a_warning(run_options, tmp_path):
    values = np.array([[0.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 0.0]])
    fits.writeto(tmp_path / "noise.fits", values)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(
            run_options | {"noise_covariance": str(tmp_path / "noise.fits"), "steps": 1},
            tmp_path / "run",
        )
    assert any("not positive definite" in str(w.message) for w in caught)
    assert float(noise_of(tmp_path / "run")[0, 1, 1]) > 1.0


def test_noise_counts_as_white_in_the_first_part_of_a_run():
    model = build_model(ModelConfig(hidden_channels=4, likelihood="multivariate-normal"), 1)
    seen = []
    for progress in (0.0, 0.49, 0.5, 1.0):
        warm_noise(model, progress, 0.5)
        seen.append(model.likelihood.is_white)
    assert seen == [True, True, False, False]
    plain = build_model(ModelConfig(hidden_channels=4), 1)
    warm_noise(plain, 0.0, 0.5)
    assert not hasattr(plain.likelihood, "is_white")


def test_a_run_starts_with_white_noise_and_ends_without(run_options, tmp_path, monkeypatch):
    seen = []
    likelihood = MultivariateNormal._log_prob

    def watch(self, *arguments):
        if self.training:
            seen.append(self.is_white)
        return likelihood(self, *arguments)

    monkeypatch.setattr(MultivariateNormal, "_log_prob", watch)
    train(run_options | {"steps": 8, "noise_warmup": 0.25}, tmp_path / "run")
    assert seen == 2 * [True] + 6 * [False]


def test_the_taper_is_a_covariance_that_ends_beyond_the_largest_lag():
    weights = taper(8)
    assert weights[8, 8] == 1
    assert weights[8, 16] < 1e-3
    assert weights[0, 0] == 0
    assert (np.diff(weights[8, 8:]) < 0).all()
    spectrum = np.fft.fft2(np.fft.ifftshift(np.pad(weights, 40))).real
    assert spectrum.min() > 0


def test_noise_that_is_correlated_over_more_than_the_largest_lag_is_tapered(tmp_path):
    for seed in range(2):
        fits.writeto(tmp_path / f"{seed}.fits", make_frame(seed, (4.0, 4.0)))
    index = CutoutIndex.build([tmp_path])
    measured = measure_noise(index, 4, is_turned=True)
    assert measured.is_tapered
    assert measured.added < 0.05  # without the taper, nearly all of it
    assert neighbour_correlation(measured.values[0]) > 0.6
    short = measure_noise(index, 0, is_turned=True)
    assert not short.is_tapered
