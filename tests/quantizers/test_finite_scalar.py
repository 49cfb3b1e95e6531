"""Finite scalar quantisation: all codes, both ways, and the gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.quantizers import QUANTIZERS, FiniteScalarQuantizer


@settings(deadline=None)
@given(levels=st.lists(st.integers(2, 8), min_size=1, max_size=4))
def test_every_index_has_its_own_code_within_minus_one_and_one(levels):
    quantizer = FiniteScalarQuantizer(tuple(levels))
    count = math.prod(levels)
    assert quantizer.codes == count
    indices = torch.arange(count).reshape(1, 1, 1, count)
    codes = quantizer.lookup(indices)[0, :, 0].T
    assert codes.unique(dim=0).shape == (count, len(levels))
    assert codes.min() >= -1
    assert codes.max() <= 1


@settings(deadline=None)
@given(levels=st.lists(st.integers(2, 8), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_each_channel_takes_the_nearest_level_of_the_bounded_latent(levels, seed):
    quantizer = FiniteScalarQuantizer(tuple(levels))
    z = 3 * torch.randn(1, len(levels), 5, 5, generator=torch.Generator().manual_seed(seed))
    quantized = quantizer(z).quantized
    for i, count in enumerate(levels):
        half, offset = (count - 1) * 1.001 / 2, 0.5 * (count % 2 == 0)
        bounded = torch.tanh(z[:, i] + math.atanh(offset / half)) * half - offset
        torch.testing.assert_close(quantized[:, i], bounded.round() / (count // 2))


def test_all_levels_are_reached():
    quantizer = FiniteScalarQuantizer((5, 4))
    z = torch.randn(1, 2, 100, 100, generator=torch.Generator().manual_seed(0)) * 3
    assert quantizer(z).usage.dead == 0


def test_the_gradient_is_that_of_the_bound():
    quantizer = FiniteScalarQuantizer((5,))
    z = torch.tensor([0.3, -1.2]).reshape(1, 1, 1, 2).requires_grad_()
    quantizer(z).quantized.sum().backward()
    expected = (1 - torch.tanh(z.detach()) ** 2) * 2 * 1.001 / 2
    torch.testing.assert_close(z.grad, expected)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 2 each"):
        FiniteScalarQuantizer((3, 1))
    with pytest.raises(ConfigError, match=r"16 latent channels, levels \[3, 5\]"):
        QUANTIZERS["finite-scalar"](ModelConfig(quantizer="finite-scalar", levels=(3, 5)))
    with pytest.raises(ConfigError, match="straight-through gradient only"):
        QUANTIZERS["finite-scalar"](
            ModelConfig(
                quantizer="finite-scalar", levels=(3,), latent_channels=1, gradient="rotation"
            )
        )
