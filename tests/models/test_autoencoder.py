"""The autoencoder's loss against its formula."""

import math

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.models import PlainBatch, build_model


def make(**options):
    torch.manual_seed(0)
    return build_model(ModelConfig(model="autoencoder", **options), 2)


def test_the_loss_is_the_negative_log_likelihood_per_dimension():
    model = make()
    x = torch.randn(3, 2, 16, 12)
    terms = model.loss(PlainBatch(x))
    error = x - model.reconstruct(x)
    mse = error.square().mean()
    torch.testing.assert_close(terms["loss"], 0.5 * mse + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(terms["mse"], mse)
    torch.testing.assert_close(terms["nll"], terms["loss"] * 2 * 16 * 12)
    torch.testing.assert_close(terms["bits_per_dim"], terms["loss"] / math.log(2))


def test_masked_pixels_add_nothing_whatever_they_hold():
    model = make()
    x = torch.randn(2, 2, 8, 8)
    mask = torch.rand(2, 2, 8, 8) > 0.3
    spoiled = torch.where(mask, x, torch.nan)
    one = model.loss(PlainBatch(torch.where(mask, x, 0.0), mask))
    two = model.loss(PlainBatch(spoiled, mask))
    assert torch.equal(one["loss"], two["loss"])
    two["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_normalisation_counts_valid_pixels():
    model = make()
    x = torch.randn(1, 2, 8, 8)
    mask = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    mask[..., :4, :] = True
    terms = model.loss(PlainBatch(x, mask))
    error = (torch.where(mask, x, 0.0) - model.reconstruct(torch.where(mask, x, 0.0)))[mask]
    expected = 0.5 * error.square().sum() / 64 + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(terms["loss"], expected)


def test_a_batch_that_is_all_masked_has_no_loss_and_no_gradient():
    model = make()
    batch = PlainBatch(torch.full((1, 2, 8, 8), torch.nan), torch.zeros(1, 2, 8, 8) > 0)
    terms = model.loss(batch)
    assert terms["loss"].item() == 0
    terms["loss"].backward()
    assert all((p.grad == 0).all() for p in model.parameters())


def test_given_noise_reaches_the_likelihood():
    model = make(likelihood_scale="given")
    x, scale = torch.randn(2, 2, 8, 8), torch.rand(2, 2, 8, 8) + 0.5
    terms = model.loss(PlainBatch(x, None, scale))
    normal = torch.distributions.Normal(model.reconstruct(x), scale)
    torch.testing.assert_close(terms["loss"], -normal.log_prob(x).mean())


def test_wrong_images_are_refused_with_what_would_do():
    model = make()
    with pytest.raises(ValueError, match=r"pixels must be \(B, 2, H, W\)"):
        model.encode(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="multiples of 4, got 9 x 14; pad to 12 x 16"):
        model.encode(torch.zeros(1, 2, 9, 14))
