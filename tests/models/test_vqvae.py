"""The VQ-VAE: losses against their formulas, and windows that equal the whole image."""

import math

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.models import MODELS, VQVAE, PlainBatch, build_model

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def make(channels=1, **options):
    torch.manual_seed(0)
    return build_model(ModelConfig(codes=32, **options), channels)


@pytest.mark.parametrize("quantizer", ["vector", "ema"])
def test_the_loss_is_that_of_the_paper(quantizer):
    model = make(quantizer=quantizer, commitment=0.4).eval()
    x = torch.randn(2, 1, 16, 16)
    terms = model.loss(PlainBatch(x))
    latents = model.encode(x)
    codes = model.quantizer.lookup(model.encode_indices(x))
    mse = (x - model.reconstruct(x)).square().mean()
    commitment = (latents - codes).square().mean()
    codebook = commitment if quantizer == "vector" else torch.zeros(())
    torch.testing.assert_close(terms["reconstruction"], 0.5 * mse + HALF_LOG_TWO_PI)
    torch.testing.assert_close(terms["commitment"], commitment.detach())
    torch.testing.assert_close(terms["codebook"], codebook.detach())
    expected = 0.5 * mse + HALF_LOG_TWO_PI + codebook + 0.4 * commitment
    torch.testing.assert_close(terms["loss"], expected)
    # NLL of the unit normal times batch over numbers
    torch.testing.assert_close(terms["reconstruction"], terms["nll"] * 2 / x.numel())


def test_the_data_variance_form_divides_the_squared_error_by_the_variance():
    model = make(reconstruction="data-variance", quantizer="vector")
    x = 3 + 2 * torch.randn(4, 1, 16, 16)
    model.eval()
    terms = model.loss(PlainBatch(x))
    mse = (x - model.reconstruct(x)).square().mean()
    torch.testing.assert_close(terms["reconstruction"], (mse / x.var(correction=0)).detach())
    assert model.data_variance.item() == 0  # evaluation measures nothing
    model.train()
    model.loss(PlainBatch(x))
    torch.testing.assert_close(model.data_variance, x.var(correction=0))
    model.set_data_variance(7.0)
    model.eval()
    terms = model.loss(PlainBatch(x))
    mse = (x - model.reconstruct(x)).square().mean()
    torch.testing.assert_close(terms["reconstruction"], (mse / 7).detach())


def test_the_data_variance_is_of_valid_pixels():
    model = make(reconstruction="data-variance").eval()
    x = torch.randn(2, 1, 16, 16)
    mask = torch.rand(2, 1, 16, 16) > 0.5
    terms = model.loss(PlainBatch(torch.where(mask, x, torch.nan), mask))
    filled = torch.where(mask, x, 0.0)
    error = (filled - model.reconstruct(filled))[mask].square().mean()
    expected = error / x[mask].var(correction=0)
    torch.testing.assert_close(terms["reconstruction"], expected.detach())


def test_masked_pixels_add_nothing_to_any_term():
    model = make().eval()
    x = torch.randn(2, 1, 16, 16)
    mask = torch.rand(2, 1, 16, 16) > 0.3
    one = model.loss(PlainBatch(torch.where(mask, x, 0.0), mask))
    two = model.loss(PlainBatch(torch.where(mask, x, torch.inf), mask))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_the_gradient_reaches_encoder_and_decoder():
    model = make(quantizer="vector")
    model.loss(PlainBatch(torch.randn(8, 1, 16, 16)))["loss"].backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_training_lowers_the_loss_and_uses_the_codes():
    torch.manual_seed(0)
    model = make()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    x = torch.nn.functional.avg_pool2d(3 * torch.randn(8, 1, 36, 36), 5, 1)
    first = model.loss(PlainBatch(x))["mse"]
    for _ in range(60):
        terms = model.loss(PlainBatch(x))
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    assert terms["mse"] < 0.5 * first
    assert terms["perplexity"] > 8
    assert {"perplexity", "dead_codes", "nll", "bits_per_dim"} <= terms.keys()
    assert all(not v.requires_grad for k, v in terms.items() if k != "loss")


@pytest.mark.parametrize(
    "options",
    [{}, {"network": "oord", "hidden_channels": 16, "batch_norm": True}],
    ids=["compact", "oord"],
)
def test_windowed_indices_and_means_equal_those_of_the_whole_image(options):
    model = make(**options)
    x = torch.nn.functional.avg_pool2d(5 * torch.randn(1, 1, 132, 100), 5, 1)
    model.loss(PlainBatch(x))
    model.eval()
    s, halo = model.stride, model.halo
    with torch.inference_mode():
        whole = model.encode_indices(x)
        image = model.decode_indices(whole)
        height, width = whole.shape[-2:]
        size = 10
        for y0 in range(0, height, size):
            for x0 in range(0, width, size):
                ya, yb = max(0, y0 - halo), min(height, y0 + size + halo)
                xa, xb = max(0, x0 - halo), min(width, x0 + size + halo)
                window = model.encode_indices(x[..., ya * s : yb * s, xa * s : xb * s])
                part = window[..., y0 - ya :, x0 - xa :][..., :size, :size]
                assert torch.equal(part, whole[..., y0 : y0 + size, x0 : x0 + size])
                pixels = model.decode_indices(whole[..., ya:yb, xa:xb])
                part = pixels[..., (y0 - ya) * s :, (x0 - xa) * s :][..., : size * s, : size * s]
                expected = image[..., y0 * s : (y0 + size) * s, x0 * s : (x0 + size) * s]
                torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


def test_a_vqvae_is_what_the_codec_asks_for():
    model = make(channels=3)
    assert isinstance(model, VQVAE)
    assert MODELS["vqvae"] is VQVAE
    assert (model.stride, model.halo, model.channels) == (4, 1, 3)
    assert (model.codes, model.depth) == (32, 1)
    indices = model.eval().encode_indices(torch.randn(1, 3, 8, 12))
    assert indices.shape == (1, 1, 2, 3)
    assert model.decode_indices(indices).shape == (1, 3, 8, 12)


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="variance of the data must be positive"):
        make().set_data_variance(0.0)
