"""Normal pixels: values against scipy, and the bounds of the scale."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from astro_vq.likelihoods import Normal, NormalParameters


def test_values_equal_those_of_scipy():
    generator = torch.Generator().manual_seed(0)
    x, mean = torch.randn(2, 3, 2, 4, 5, generator=generator, dtype=torch.float64)
    log_scale = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    result = Normal("learnt").log_prob(x, NormalParameters(mean, log_scale))
    expected = stats.norm.logpdf(x.numpy(), mean.numpy(), log_scale.exp().numpy()).sum((1, 2, 3))
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_scale_one_is_half_the_squared_error_and_a_constant():
    likelihood = Normal()
    x = torch.randn(2, 1, 8, 8)
    raw = torch.randn(2, 1, 8, 8)
    expected = -0.5 * (x - raw).square().sum((1, 2, 3)) - 32 * math.log(2 * math.pi)
    torch.testing.assert_close(likelihood.log_prob(x, likelihood(raw)), expected)
    assert likelihood.raw_channels(3) == 3


def test_a_given_scale_is_that_of_the_caller_or_sigma():
    likelihood = Normal("given", sigma=2.0)
    raw, scale = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    torch.testing.assert_close(likelihood(raw).log_scale.exp(), torch.tensor(2.0))
    torch.testing.assert_close(likelihood(raw, scale).log_scale.exp(), scale)


def test_a_learnt_scale_stays_above_its_floor():
    likelihood = Normal("learnt", floor=0.25)
    assert likelihood.raw_channels(3) == 6
    raw = torch.tensor([0.0, -1000.0]).reshape(1, 2, 1, 1)
    assert likelihood(raw).log_scale.exp().item() == pytest.approx(0.25)
    assert Normal("learnt")(raw).log_scale.exp().item() == pytest.approx(1e-3)


@pytest.mark.parametrize("raw", [-1e4, -1.0, 0.0, 2.0, 1e4])
def test_the_plain_tanh_bound_keeps_the_variance_at_least_exp_minus_one(raw):
    scale = Normal("bounded")(torch.tensor([0.0, raw]).reshape(1, 2, 1, 1))
    log_variance = 2 * scale.log_scale.item()
    assert log_variance == pytest.approx(math.tanh(raw), abs=1e-6)


def test_a_chosen_bound_is_kept_on_both_sides():
    likelihood = Normal("bounded", floor=0.1)
    raw = torch.tensor([[0.0, -50.0], [0.0, 50.0]]).reshape(2, 2, 1, 1)
    scale = likelihood(raw).log_scale.exp().flatten()
    torch.testing.assert_close(scale, torch.tensor([0.1, 10.0]))


def test_half_precision_raw_output_is_used_in_single_precision():
    assert Normal()(torch.zeros(1, 1, 2, 2).bfloat16()).mean.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "two"}, "scale must be one of"),
        ({"scale": "bounded", "floor": 1.0}, "below 1 if bounded"),
        ({"scale": "given", "sigma": 0.0}, "sigma must be positive"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Normal(**arguments)
