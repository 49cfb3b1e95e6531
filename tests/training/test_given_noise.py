"""Runs whose likelihood takes the noise of each pixel from weight maps."""

import math

import numpy as np
import pytest
import torch
from astropy.io import fits
from matplotlib.figure import Figure

from astro_vq.checkpoint import load_model
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.weights import WeightSource
from astro_vq.errors import ConfigError, DataError
from astro_vq.likelihoods import LIKELIHOODS
from astro_vq.metrics.likelihood import EvaluationData, evaluate
from astro_vq.training.data import open_data
from astro_vq.training.loop import train

from .conftest import OPTIONS, make_image


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Folder of four images, their right halves with more noise, and a map of it in each file."""
    folder = tmp_path_factory.mktemp("weighted")
    sigma = np.full((40, 40), 5.0)
    sigma[:, 20:] = 15.0
    for seed in range(4):
        image = make_image(seed)
        image[:, 20:] += np.random.default_rng(seed).normal(0, math.sqrt(200), (40, 20))
        hdus = [fits.PrimaryHDU(image), fits.ImageHDU(sigma**-2, name="WHT")]
        fits.HDUList(hdus).writeto(folder / f"frame{seed}.fits")
    return folder


@pytest.fixture(scope="module")
def run(frames, tmp_path_factory):
    """A run, and its result."""
    output = tmp_path_factory.mktemp("runs") / "run"
    options = OPTIONS | {"fits_dir": [str(frames)], "weights": "WHT", "likelihood_scale": "given"}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_curves", "draw_reconstructions", "draw_usage"):
            patch.setattr(f"astro_vq.training.outputs.{name}", lambda *_, **__: Figure())
        return output, train(options | {"steps": 8}, output)


def test_the_loss_of_the_sky_level_is_that_under_the_given_noise(run):
    output, result = run
    config = load_model(output).config
    data = open_data(config.data, seed=config.training.seed)
    terms, count = 0.0, 0
    for batch in data.validation_batches(config.training.batch_size, limit=1024):
        scale = batch.scale.double().clamp_min(0.3)
        each = 0.5 * (batch.pixels / scale) ** 2 + scale.log() + 0.5 * math.log(2 * math.pi)
        terms += float(each[batch.mask].sum())
        count += int(batch.mask.sum())
    assert result.validation.sky["loss"] == pytest.approx(terms / count, rel=1e-5)
    assert result.validation.terms["loss"] < 1.5 * result.validation.sky["loss"]


def test_the_card_says_where_the_noise_is_from(run):
    card = (run[0] / "MODEL_CARD.md").read_text()
    assert "Weight maps (`WHT`, inverse-variance) masked pixels of no weight and gave" in card


def test_a_model_is_evaluated_under_the_given_noise(run, frames):
    loaded = load_model(run[0])
    index = CutoutIndex.build([frames], weights=WeightSource("WHT"))
    data = EvaluationData.prepare(index, cutout_size=16, max_cutouts=8, max_frames=0)
    found = evaluate(loaded, data)
    batch = data.cutouts[0].batch
    with torch.no_grad():
        mean = loaded.model.reconstruct(batch.pixels)
    scale = batch.scale.clamp_min(0.3)
    density = torch.distributions.Normal(mean, scale).log_prob(batch.pixels)
    expected = -(density * batch.mask).sum((1, 2, 3)).mean()
    assert found.nll == pytest.approx(float(expected), rel=1e-5)
    squares = ((batch.pixels - mean) / scale).square()[batch.mask].mean()
    assert found.chi_squared == pytest.approx(float(squares), rel=1e-4)
    plain = EvaluationData.prepare(CutoutIndex.build([frames]), cutout_size=16, max_frames=0)
    with pytest.raises(
        DataError, match=r"takes the noise of each pixel from weight maps.*--weights"
    ):
        evaluate(loaded, plain)


def test_given_noise_without_weight_maps_is_refused(frames, tmp_path):
    options = OPTIONS | {"fits_dir": [str(frames)], "likelihood_scale": "given"}
    with pytest.raises(ConfigError, match="say where they are, such as --weights WHT"):
        train(options, tmp_path / "run")


def test_the_floor_of_given_noise_is_three_tenths_unless_chosen(run):
    config = load_model(run[0]).config.model
    scale = torch.tensor([0.01, 0.5]).reshape(1, 1, 1, 2)
    for floor, expected in ((0.0, [0.3, 0.5]), (0.2, [0.2, 0.5]), (1e-3, [0.01, 0.5])):
        chosen = type(config).from_dict(config.to_dict() | {"likelihood_floor": floor})
        parameters = LIKELIHOODS["normal"](chosen)(torch.zeros(1, 1, 1, 2), scale)
        np.testing.assert_allclose(parameters.log_scale.exp().flatten(), expected, rtol=1e-6)
