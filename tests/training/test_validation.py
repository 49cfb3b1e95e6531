"""Figures on validation data, and the sky level alone."""

import math

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.data.datasets import Batch
from astro_vq.models import build_model
from astro_vq.training.validation import sky_terms, validate

SMALL = {"hidden_channels": 4, "latent_channels": 3, "codes": 5}
CPU = torch.device("cpu")


def make_batches(count=3, size=2, valid=0.8):
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        pixels = torch.randn(size, 1, 8, 8, generator=generator)
        mask = torch.rand(size, 1, 8, 8, generator=generator) < valid
        zeros = torch.zeros(size, 1)
        batches.append(Batch(pixels * mask, mask, zeros, zeros))
    return batches


def make_model(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(ModelConfig(**(SMALL | changes)), 1)


def test_terms_are_means_over_all_valid_pixels():
    model, batches = make_model().eval(), make_batches()
    report = validate(model, batches, device=CPU, step=7)
    parts = zip(*(batch[:4] for batch in batches), strict=True)
    whole = Batch(*(torch.cat(part) for part in parts))
    with torch.no_grad():
        expected = model.loss(whole)
    assert report.terms["mse"] == pytest.approx(float(expected["mse"]), rel=1e-5)
    assert report.terms["nll_per_dim"] == pytest.approx(float(expected["nll_per_dim"]), rel=1e-5)
    assert (report.step, report.cutouts) == (7, 6)


def test_codes_are_counted_over_all_batches():
    model, batches = make_model().eval(), make_batches()
    report = validate(model, batches, device=CPU, step=0)
    counts = torch.zeros(5, dtype=torch.int64)
    for batch in batches:
        counts += torch.bincount(model.encode_indices(batch.pixels).flatten(), minlength=5)
    assert report.counts == tuple(counts.tolist())
    share = counts / counts.sum()
    entropy = -torch.xlogy(share, share).sum()
    assert report.perplexity == pytest.approx(math.exp(entropy), rel=1e-5)
    assert report.codes_used == int((counts > 0).sum())
    assert report.terms["dead_codes"] == 5 - report.codes_used


def test_the_sky_level_alone_is_the_loss_of_zero_everywhere():
    batches = make_batches()
    pixels = torch.cat([batch.pixels[batch.mask] for batch in batches]).double()
    report = validate(make_model(), batches, device=CPU, step=0)
    mean_square = float(pixels.square().mean())
    assert report.sky["mse"] == pytest.approx(mean_square, rel=1e-6)
    expected = -torch.distributions.Normal(0.0, 1.0).log_prob(pixels).mean()
    assert report.sky["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_validating_changes_neither_the_model_nor_random_numbers():
    model = make_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    validate(model, make_batches(), device=CPU, step=0)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_model_without_codes_has_no_usage():
    report = validate(make_model(model="autoencoder"), make_batches(), device=CPU, step=0)
    assert (report.counts, report.perplexity, report.codes_used) == ((), None, 0)
    assert "loss" in report.sky


def test_a_learnt_scale_is_compared_with_the_best_fixed_one():
    terms = sky_terms(make_model(likelihood_scale="learnt"), 4.0)
    assert terms["nll_per_dim"] == pytest.approx(0.5 * (1 + math.log(2 * math.pi * 4.0)))
    assert terms["loss"] == terms["nll_per_dim"]


def test_the_sky_in_units_of_the_variance_of_the_data():
    model = make_model(reconstruction="data-variance")
    assert "loss" not in sky_terms(model, 3.0)  # not measured yet
    model.set_data_variance(2.0)
    assert sky_terms(model, 3.0)["loss"] == 1.5


def test_the_sky_level_alone_is_judged_under_the_covariance_of_correlated_noise():
    batches = make_batches()
    model = make_model(likelihood="multivariate-normal")
    values = torch.tensor([[0.0, 0.1, 0.0], [0.2, 1.0, 0.2], [0.0, 0.1, 0.0]])
    model.likelihood.set_autocovariance(values)
    report = validate(model, batches, device=CPU, step=0)
    zero = model.likelihood(torch.zeros(2, 1, 8, 8))
    nll = -sum(model.likelihood.log_prob(b.pixels, zero, b.mask).sum() for b in batches)
    dimensions = sum(b.mask.sum() for b in batches)
    assert report.sky["nll_per_dim"] == pytest.approx(float(nll / dimensions), rel=1e-5)
    assert report.sky["loss"] == report.sky["nll_per_dim"]
