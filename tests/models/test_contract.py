"""What every model of the table promises, with any likelihood."""

import itertools

import pytest
import torch

from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import ModelConfig, ModelName, RunConfig
from astro_vq.errors import ConfigError
from astro_vq.likelihoods import LIKELIHOODS
from astro_vq.models import MODELS as ALL_MODELS
from astro_vq.models import PlainBatch, build_model

# sparse tokens are fitted, not trained by gradient, and have their own: test_sparse.py
MODELS = {name: kind for name, kind in ALL_MODELS.items() if name != "sparse"}
SMALL = {"hidden_channels": 8, "latent_channels": 4, "codes": 8}
PAIRS = list(itertools.product(MODELS, LIKELIHOODS))


def make(model, likelihood="normal", channels=2, **options):
    torch.manual_seed(0)
    config = ModelConfig(model=model, likelihood=likelihood, **{**SMALL, **options})
    return build_model(config, channels), config


def images(side=16, batch=8):
    x = torch.randn(batch, 2, side, side, generator=torch.Generator().manual_seed(0))
    return (x > 0).float()  # fit for every likelihood


def test_the_table_holds_every_name_of_the_configuration():
    assert set(ALL_MODELS) == set(ModelName.__args__)


@pytest.mark.parametrize(("name", "likelihood"), PAIRS)
def test_the_loss_is_finite_and_reaches_every_weight(name, likelihood):
    model, _ = make(name, likelihood)
    terms = model.loss(PlainBatch(images()))
    assert next(iter(terms)) == "loss"
    assert all(v.shape == () and torch.isfinite(v) for v in terms.values())
    assert {"nll", "nll_per_dim", "bits_per_dim"} <= terms.keys()
    terms["loss"].backward()
    for weight_name, weight in model.named_parameters():
        assert weight.grad is not None, weight_name
        assert torch.isfinite(weight.grad).all(), weight_name


@pytest.mark.parametrize("network", ["compact", "oord"])
@pytest.mark.parametrize("name", MODELS)
def test_options_of_the_networks_reach_every_model(name, network):
    options = {"attention": 1, "batch_norm": True, "activation": "leaky-relu"}
    model, _ = make(name, network=network, last_convolution=True, **options)
    terms = model.loss(PlainBatch(images()))
    terms["loss"].backward()
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("LocalAttention") == 2
    assert {"BatchNorm2d", "LeakyReLU"} <= set(kinds)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_masked_pixels_add_nothing_whatever_they_hold(name):
    model, _ = make(name)
    model.eval()
    x = images()
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    losses = []
    for filler in (0.0, torch.nan):
        torch.manual_seed(7)
        losses.append(model.loss(PlainBatch(torch.where(mask, x, filler), mask))["loss"])
    assert torch.equal(*losses)


@pytest.mark.parametrize("likelihood", ["low rank", "channels"])
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_networks_have_a_likelihood_in_single_precision(name, likelihood):
    options = {
        "low rank": {"likelihood": "multivariate-normal", "likelihood_covariance": "low-rank"},
        "channels": {"likelihood": "discretized-logistic-mixture", "autoregressive": True},
    }[likelihood]
    model, _ = make(name, **options)
    x = images()
    model.loss(PlainBatch(x))  # the start of the codes
    losses = []
    for enabled in (False, True):
        model.eval()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = model.loss(PlainBatch(x))
        assert terms["loss"].dtype == torch.float32
        losses.append(terms["nll_per_dim"])
    terms["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_a_few_steps_lower_the_loss(name):
    model, _ = make(name)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    x = torch.nn.functional.avg_pool2d(4 * torch.randn(8, 2, 20, 20), 5, 1)
    losses = []
    for _ in range(40):
        terms = model.loss(PlainBatch(x))
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        losses.append(terms["nll_per_dim"].item())
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_saving_with_its_reconstructions(name, tmp_path):
    model, config = make(name, "multivariate-normal")
    model.likelihood.set_autocovariance([[0, 0.1, 0], [0.2, 1, 0.2], [0, 0.1, 0]])
    model.loss(PlainBatch(images()))
    save_model(tmp_path / "m", model, RunConfig(model=config))
    loaded = load_model(tmp_path / "m").model
    model.eval()
    x = images()
    torch.testing.assert_close(loaded.reconstruct(x), model.reconstruct(x))
    assert torch.equal(
        loaded.likelihood.noise.autocovariance, model.likelihood.noise.autocovariance
    )


@pytest.mark.parametrize("name", MODELS)
def test_images_of_the_wrong_shape_are_refused(name):
    model, _ = make(name)
    with pytest.raises(ValueError, match=r"pixels must be \(B, 2, H, W\)"):
        model.reconstruct(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="sides must be multiples of"):
        model.reconstruct(torch.zeros(1, 2, 16, 18))


@pytest.mark.parametrize("name", ["vqvae", "vqvae2"])
@pytest.mark.parametrize(("network", "attention"), [("compact", 0), ("oord", 0), ("compact", 2)])
def test_windowed_tokens_equal_those_of_the_whole_image(name, network, attention):
    model, _ = make(name, network=network, attention=attention)
    for weight_name, weight in model.named_parameters():
        if weight_name.endswith("out.weight"):  # an untrained attention block does nothing
            torch.nn.init.normal_(weight)
    x = torch.nn.functional.avg_pool2d(5 * torch.randn(1, 2, 132, 100), 5, 1)
    model.loss(PlainBatch(x))
    model.eval()
    s, halo = model.stride, model.halo
    with torch.inference_mode():
        whole = model.encode_indices(x)
        image = model.decode_indices(whole)
        assert image.shape == x.shape
        assert whole.shape == (1, model.depth, 128 // s, 96 // s)
        size = 5
        for y0, x0 in itertools.product(
            range(0, whole.shape[2], size), range(0, whole.shape[3], size)
        ):
            ya, yb = max(0, y0 - halo), min(whole.shape[2], y0 + size + halo)
            xa, xb = max(0, x0 - halo), min(whole.shape[3], x0 + size + halo)
            window = model.encode_indices(x[..., ya * s : yb * s, xa * s : xb * s])
            part = window[..., y0 - ya :, x0 - xa :][..., :size, :size]
            assert torch.equal(part, whole[..., y0 : y0 + size, x0 : x0 + size])
            pixels = model.decode_indices(whole[..., ya:yb, xa:xb])
            part = pixels[..., (y0 - ya) * s :, (x0 - xa) * s :][..., : size * s, : size * s]
            expected = image[..., y0 * s : (y0 + size) * s, x0 * s : (x0 + size) * s]
            torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("quantizer", ["vector", "residual", "finite-scalar"])
@pytest.mark.parametrize("name", ["vqvae", "vqvae2"])
def test_token_models_take_any_quantizer(name, quantizer):
    options = {"levels": (3, 3, 3, 3)} if quantizer == "finite-scalar" else {"depth": 2}
    model, _ = make(name, quantizer=quantizer, **options)
    model.loss(PlainBatch(images()))["loss"].backward()
    model.eval()
    indices = model.encode_indices(images())
    assert indices.shape[1] == model.depth
    assert 0 <= indices.min() <= indices.max() < model.codes
    torch.testing.assert_close(model.decode_indices(indices), model.reconstruct(images()))


def test_the_latents_of_two_levels_lie_at_half_the_stride():
    model, _ = make("vqvae2")
    model.eval()
    x = images()
    assert model.stride == 8
    latents = model.encode(x)
    assert latents.shape == (8, 4, 4, 4)
    indices = model.encode_indices(x)
    blocks = torch.stack([indices[:, 1], indices[:, 2]], -1).flatten(2)  # rows 0, 2, of width 4
    assert torch.equal(model.bottom.indices(latents)[:, 0, ::2], blocks)


def test_impossible_two_level_models_are_refused():
    with pytest.raises(ConfigError, match="needs a network with maps"):
        make("vqvae2", network="mlp", image_size=16)
    with pytest.raises(ConfigError, match="reconstruction 'nll' only"):
        make("vqvae2", reconstruction="data-variance")
    model, _ = make("vqvae2")
    with pytest.raises(ValueError, match=r"indices must be \(B, 5, h, w\)"):
        model.decode_indices(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
