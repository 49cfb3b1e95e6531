"""What every quantiser of the table promises."""

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.quantizers import QUANTIZERS

CONFIGS = {
    "ema": ModelConfig(quantizer="ema", latent_channels=6, codes=32),
    "vector": ModelConfig(quantizer="vector", latent_channels=6, codes=32),
    "ema cosine": ModelConfig(quantizer="ema", latent_channels=6, codes=32, cosine=True),
    "vector cosine": ModelConfig(quantizer="vector", latent_channels=6, codes=32, cosine=True),
    "ema rotation": ModelConfig(latent_channels=6, codes=32, gradient="rotation"),
    "residual": ModelConfig(quantizer="residual", latent_channels=6, codes=16, depth=3, stop=0.2),
    "finite scalar": ModelConfig(
        quantizer="finite-scalar", latent_channels=6, levels=(3, 4, 2, 2, 5, 3)
    ),
}
IDEMPOTENT = [n for n in CONFIGS if n not in ("residual", "finite scalar")]


def make(name):
    config = CONFIGS[name]
    return QUANTIZERS[config.quantizer](config)


def latents(seed=0, batch=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 6, 8, 7, generator=generator)


def test_every_quantizer_of_the_table_is_tested():
    assert {c.quantizer for c in CONFIGS.values()} == set(QUANTIZERS)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_output_has_the_stated_shapes_and_kinds(name):
    quantizer = make(name)
    z = latents().requires_grad_()
    out = quantizer(z)
    assert out.quantized.shape == z.shape
    assert out.indices.shape == (4, quantizer.depth, 8, 7)
    assert out.indices.dtype == torch.int64
    assert 0 <= out.indices.min() <= out.indices.max() < quantizer.codes
    assert out.codebook_loss.shape == out.commitment_loss.shape == ()
    assert out.usage.counts.shape == (quantizer.codes,)
    assert out.usage.counts.sum() == (out.indices >= 0).sum()
    assert out.usage.dead == (out.usage.counts == 0).sum()
    (out.quantized.sum() + out.codebook_loss + out.commitment_loss).backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_lookup_of_the_indices_is_the_quantized_latent(name):
    quantizer = make(name)
    quantizer(latents())
    quantizer.eval()
    z = latents(1)
    out = quantizer(z)
    torch.testing.assert_close(quantizer.indices(z), out.indices)
    torch.testing.assert_close(quantizer.lookup(out.indices), out.quantized, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", IDEMPOTENT)
def test_quantizing_a_quantized_latent_changes_nothing(name):
    quantizer = make(name)
    quantizer(latents())
    quantizer.eval()
    indices = quantizer.indices(latents(1))
    again = quantizer.indices(quantizer.lookup(indices))
    torch.testing.assert_close(
        quantizer.lookup(again), quantizer.lookup(indices), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_learns_in_evaluation_mode(name):
    quantizer = make(name)
    quantizer(latents())
    quantizer.eval()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(latents(1))
    quantizer.indices(latents(2))
    for key, value in quantizer.state_dict().items():
        torch.testing.assert_close(value, before[key])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_state_that_is_loaded_goes_on_bit_for_bit(name):
    one, two = make(name), make(name)
    for step in range(3):
        one(latents(step))
    two.load_state_dict(one.state_dict())
    for step in range(3, 6):
        first, second = one(latents(step)), two(latents(step))
        assert torch.equal(first.quantized, second.quantized)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])


@pytest.mark.parametrize("name", CONFIGS)
def test_wrong_shapes_are_refused(name):
    quantizer = make(name)
    with pytest.raises(ValueError, match=r"latents must be \(B, 6, h, w\), got \(1, 5, 2, 2\)"):
        quantizer(torch.zeros(1, 5, 2, 2))
    with pytest.raises(ValueError, match="indices must be"):
        quantizer.lookup(torch.zeros(1, quantizer.depth + 1, 2, 2, dtype=torch.int64))


@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_latents_are_quantized_in_full_precision(name):
    quantizer = make(name)
    out = quantizer(latents().bfloat16())
    assert out.quantized.dtype == torch.float32
    assert out.commitment_loss.dtype == torch.float32
