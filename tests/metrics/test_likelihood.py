"""Evaluation of models: likelihood, cost of latents, importance bound."""

import json
import math

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_vq.checkpoint import LoadedModel
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.errors import DataError
from astro_vq.metrics import likelihood as module
from astro_vq.metrics.likelihood import EvaluationData, evaluate
from astro_vq.models import MODELS, build_model

SMALL = {"hidden_channels": 4, "latent_channels": 3, "codes": 5}


def load(seed=0, channels=1, **changes):
    config = RunConfig(model=ModelConfig(**(SMALL | changes)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(config.model, channels).eval()
    return LoadedModel(model, config, "tiny", "0" * 64, {})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for number in range(3):
        image = rng.normal(10, 2, (64, 64)) + 200 * np.exp(
            -((y - 30) ** 2 + (x - 20 - 5 * number) ** 2) / 4.0
        )
        image[:3, :9] = np.nan
        fits.writeto(folder / f"{number}.fits", image.astype(np.float32))
    index = CutoutIndex.build([folder])
    return EvaluationData.prepare(index, cutout_size=32, max_cutouts=10, batch_size=4)


def whole_batch(data):
    parts = [cutouts.batch for cutouts in data.cutouts]
    columns = zip(*parts, strict=True)
    return type(parts[0])(*(None if c[0] is None else torch.cat(c) for c in columns))


def test_data_are_the_same_every_time_and_sky_has_no_source(data):
    batch = whole_batch(data)
    assert batch.pixels.shape == (10, 1, 32, 32)
    sky = torch.cat([cutouts.sky for cutouts in data.cutouts])
    assert not (sky & ~batch.mask).any()
    assert float(batch.pixels[sky].max()) < np.arcsinh(6)
    assert float(batch.pixels.max()) > 4
    assert 0.5 < float(sky.float().mean()) < 1
    assert len(data.frames) == 3


@pytest.mark.parametrize("kind", ["autocovariance", "vqvae", "vqvae2"])
def test_likelihood_is_that_of_the_loss(data, kind):
    changes = {"model": "vqvae2" if kind == "vqvae2" else "vqvae"}
    if kind == "autocovariance":
        changes = {"model": "autoencoder", "likelihood": "multivariate-normal"}
    loaded = load(**changes)
    if kind == "autocovariance":
        values = torch.tensor([[0.0, 0.1, 0.0], [0.2, 1.0, 0.2], [0.0, 0.1, 0.0]])
        loaded.model.likelihood.set_autocovariance(values)
    result = evaluate(loaded, data)
    with torch.no_grad():
        terms = loaded.model.loss(whole_batch(data))
    assert result.nll == pytest.approx(float(terms["nll"]), rel=1e-4)
    assert result.bits_per_dim == pytest.approx(float(terms["bits_per_dim"]), rel=1e-4)
    assert result.nll_error > 0
    assert (result.cutouts, result.bound, result.samples) == (10, None, 0)
    tokens = {"vqvae": 8 * 8, "vqvae2": 8 * 8 + 4 * 4}
    if kind == "autocovariance":
        assert result.code is None
    else:
        assert result.code == pytest.approx(tokens[kind] * math.log(5))


def test_chi_squared_of_unit_noise_is_twice_the_mean_squared_error(data):
    loaded = load(model="autoencoder")
    result = evaluate(loaded, data)
    with torch.no_grad():
        terms = loaded.model.loss(whole_batch(data))
    assert result.chi_squared == pytest.approx(float(terms["mse"]), rel=1e-4)
    assert result.whiteness.whitened_lag_one == pytest.approx(result.whiteness.lag_one)


@pytest.mark.parametrize("kind", ["vae", "iwae", "hierarchical-vae"])
def test_the_importance_bound_is_below_the_variational_one(data, kind):
    result = evaluate(load(model=kind), data, samples=64, seed=1)
    assert result.samples == 64
    assert result.code > 0
    assert result.bound < result.nll + result.code + 3 * result.nll_error
    assert result.bound_bits_per_dim == pytest.approx(
        result.bits_per_dim * result.bound / result.nll
    )
    again = evaluate(load(model=kind), data, samples=64, seed=1)
    assert again == result


def test_the_bound_holds_few_draws_at_a_time(data, monkeypatch):
    loaded = load(model="vae")
    plain = evaluate(loaded, data, samples=200)
    monkeypatch.setattr(module, "CHUNK_NUMBERS", 3 * 4 * 32 * 32)
    sizes = []
    decode = loaded.model.decode

    def watch(latents, **options):
        sizes.append(len(latents))
        return decode(latents, **options)

    monkeypatch.setattr(loaded.model, "decode", watch)
    few = evaluate(loaded, data, samples=200)
    assert max(sizes) <= 3 * 4
    assert few.bound == pytest.approx(plain.bound, rel=0.01)


@pytest.mark.parametrize("kind", sorted(set(MODELS) - {"sparse"}))  # random codes take long
def test_every_model_can_be_evaluated_and_written_as_json(data, kind):
    result = evaluate(load(model=kind), data)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["fluxes"]["sources"] == result.fluxes.sources > 0


def test_discretised_likelihoods_have_no_chi_squared(data):
    result = evaluate(load(model="autoencoder", likelihood="discretized-logistic"), data)
    assert result.is_discrete
    assert result.chi_squared is None
    assert result.whiteness.whitened_square is None


def test_what_cannot_be_evaluated_is_refused(data):
    with pytest.raises(DataError, match=r"takes 2 channel\(s\), the images have 1"):
        evaluate(load(channels=2), data)
    with pytest.raises(ValueError, match="not be negative"):
        evaluate(load(), data, samples=-1)
