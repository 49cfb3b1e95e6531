"""Priors are trained on a model's tokens, end early when asked, and are found beside the model."""

import dataclasses

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import DataConfig, ModelConfig, PriorConfig, RunConfig, TrainingConfig
from astro_vq.errors import ModelMismatchError
from astro_vq.metrics.token_rate import TokenMap, measure_token_rate
from astro_vq.models import build_model
from astro_vq.priors import TokenPrior, load_prior
from astro_vq.priors.pixelcnn import MapShape
from astro_vq.training.prior import train_prior
from astro_vq.training.reports import Note, StepReport

SMALL = PriorConfig(width=16, layers=2)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Folder of images whose rows repeat, so that tokens tell what comes next."""
    folder = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for seed in range(8):
        rows = np.repeat(rng.choice([0.0, 0.0, 0.0, 40.0, 160.0], (12, 1)), 4, axis=0)
        image = np.tile(rows, (1, 48)) + rng.normal(0, 1, (48, 48))
        fits.writeto(folder / f"{seed}.fits", image.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def model(stripes, tmp_path_factory):
    """Folder of a model whose codes tell bright from faint, not trained."""
    torch.manual_seed(0)
    config = ModelConfig(hidden_channels=4, latent_channels=4, codes=8, quantizer="vector")
    network = build_model(config, 1)
    data = DataConfig(fits_dir=(str(stripes),), cutout_size=32, validation_fraction=0.3)
    folder = tmp_path_factory.mktemp("model")
    pixels = torch.arcsinh(torch.linspace(0, 160, 64)).view(64, 1, 1, 1).expand(64, 1, 16, 16)
    with torch.no_grad():
        latents = network.encode(pixels)[:, :, 1, 1]
        network.quantizer.codebook.data.copy_(latents[::8])
    save_model(folder, network, RunConfig(data=data, model=config))
    return folder


def test_a_prior_is_trained_and_kept_beside_its_model(model):
    loaded = load_model(model)
    reports = []
    options = TrainingConfig(steps=150, batch_size=4, learning_rate=1e-2, threads=1, device="cpu")
    data = loaded.config.data
    result = train_prior(
        loaded, model, data=data, training=options, prior=SMALL, progress=reports.append
    )
    assert (result.step, result.interrupted) == (150, False)
    assert result.rate.fixed == 3
    assert result.rate.prior < 0.9 * result.rate.order0 < 0.9 * 3
    assert result.rate.prior < result.rate.order0_image
    assert any(isinstance(r, StepReport) and "bits_per_token" in r.terms for r in reports)
    assert any(isinstance(r, Note) for r in reports)
    kept = load_prior(model, model_hash=loaded.hash)
    assert kept.extra["bits_per_token"]["prior"] == pytest.approx(result.rate.prior)
    assert kept.prior.config == SMALL
    with pytest.raises(FileExistsError, match="--overwrite"):
        train_prior(loaded, model, training=options)


def test_models_without_tokens_and_wrong_images_are_refused(model, tmp_path):
    loaded = load_model(model)
    data = dataclasses.replace(loaded.config.data, cutout_size=30)
    with pytest.raises(ModelMismatchError, match="try --cutout-size 28"):
        train_prior(loaded, tmp_path, data=data)
    vae = ModelConfig(model="vae", hidden_channels=4)
    save_model(tmp_path, build_model(vae, 1), RunConfig(model=vae))
    with pytest.raises(ModelMismatchError, match="no tokens"):
        train_prior(load_model(tmp_path), tmp_path)


def test_bits_of_tokens_are_entropies_and_cross_entropies():
    torch.manual_seed(0)
    prior = TokenPrior(MapShape(4, 1), levels=1, config=PriorConfig(width=4, layers=1))
    for head in prior.pixelcnns[0].heads:
        head.weight.data.zero_()
        head.bias.data.copy_(torch.tensor([0.5, 0.25, 0.125, 0.125]).log())
    first = torch.tensor([0, 0, 1, 1]).view(1, 1, 2, 2)
    second = torch.tensor([2, 2, 2, 2, 3, 3]).view(1, 1, 2, 3)
    counted = torch.tensor([1, 1, 1, 1, 0, 0]).bool().view(1, 1, 2, 3)
    rate = measure_token_rate(prior, [TokenMap(first), TokenMap(second, counted)])
    assert rate.tokens == 8
    assert rate.fixed == 2
    assert rate.order0 == pytest.approx(1.5)  # 1/4, 1/4, 1/2
    assert rate.order0_image == pytest.approx(0.5)  # one bit in the first, none in the second
    assert rate.prior == pytest.approx((2 * 1 + 2 * 2 + 4 * 3) / 8)
    assert rate.saved == pytest.approx(1 - 2.25 / 1.5)
