"""Residual quantisation: depth by position, and what each level adds."""

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.quantizers import QUANTIZERS, ResidualVectorQuantizer


def latents(seed=0, batch=8, dim=4):
    """Faint everywhere, bright in one corner."""
    z = 0.1 * torch.randn(batch, dim, 8, 8, generator=torch.Generator().manual_seed(seed))
    z[:, :, :2, :2] *= 50
    return z


def trained(**options):
    quantizer = ResidualVectorQuantizer(32, 4, depth=4, **options)
    for step in range(20):
        quantizer(latents(step))
    return quantizer.eval()


def test_each_level_brings_the_sum_nearer():
    quantizer = trained()
    z = latents(99)
    indices = quantizer.indices(z)
    errors = []
    for depth in range(1, 5):
        cut = indices.clone()
        cut[:, depth:] = 0
        errors.append((z - quantizer.lookup(cut)).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_bright_positions_get_many_codes_and_empty_ones_one():
    quantizer = trained(stop=0.02)
    indices = quantizer.indices(latents(99))
    depth = (indices[:, 1:] > 0).sum(1) + 1
    assert depth[:, 2:, 2:].float().mean() < 1.2
    assert depth[:, :2, :2].float().mean() > 2.5
    z = latents(99)
    bright = (z - quantizer.lookup(indices))[:, :, :2, :2].square().mean()
    single = z - quantizer.lookup(indices * torch.tensor([1, 0, 0, 0])[:, None, None])
    assert bright < 0.3 * single[:, :, :2, :2].square().mean()


def test_the_depth_can_be_given_for_each_position():
    quantizer = trained()
    z = latents(99)
    depth = torch.randint(1, 5, (8, 8, 8), generator=torch.Generator().manual_seed(0))
    indices = quantizer.indices_to_depth(z, depth)
    for level in range(1, 4):
        assert (indices[:, level][depth <= level] == 0).all()
    full = quantizer.indices_to_depth(z, torch.full((8, 8, 8), 4))
    assert torch.equal(full, quantizer.indices(z))
    with pytest.raises(ValueError, match=r"depth must be \(B, h, w\)"):
        quantizer.indices_to_depth(z, depth[0])


def test_index_zero_adds_nothing_beyond_the_first_level():
    quantizer = trained()
    indices = torch.zeros(1, 4, 1, 1, dtype=torch.int64)
    torch.testing.assert_close(quantizer.lookup(indices).flatten(), quantizer.levels[0].codebook[0])


def test_losses_are_sums_over_levels_of_means_over_all_numbers():
    quantizer = trained(stop=0.02, update="gradient")
    z = latents(99)
    out = quantizer(z)
    expected, total = 0.0, torch.zeros_like(z)
    for level in range(4):
        rest = z - total
        active = rest.square().mean(1, keepdim=True) > (0.02 if level else -1)
        cut = quantizer.levels[level].lookup(quantizer.levels[level].indices(rest))
        expected += ((rest - cut).square() * active).sum() / z.numel()
        part = out.indices.clone()
        part[:, level + 1 :] = 0
        total = quantizer.lookup(part)
    torch.testing.assert_close(out.commitment_loss, expected)
    torch.testing.assert_close(out.codebook_loss, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": 2, "dim": 2}, "at least 3 codes"),
        ({"codes": 4, "dim": 2, "stop": -1.0}, "stop must be zero or more"),
        ({"codes": 4, "dim": 2, "depth": 0}, "must be positive"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualVectorQuantizer(**arguments)


def test_the_cosine_option_is_refused():
    with pytest.raises(ConfigError, match="no cosine option"):
        QUANTIZERS["residual"](ModelConfig(quantizer="residual", cosine=True))
