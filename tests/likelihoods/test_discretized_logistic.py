"""Binned logistic densities: against brute force, in the tails, for 16-bit data."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from astro_vq.likelihoods import DiscretizedLogistic, DiscretizedLogisticMixture
from astro_vq.likelihoods.discretized_logistic import SMALLEST_LOG_SCALE, LogisticParameters


def single(location, scale, shape=(1, 1, 1, 1, 1)):
    """Parameters of one logistic."""
    location = torch.as_tensor(location, dtype=torch.float64).expand(shape)
    log_scale = torch.as_tensor(scale, dtype=torch.float64).log().expand(shape)
    none = torch.zeros(shape[0], shape[1], 0, 0, *shape[3:], dtype=torch.float64)
    return LogisticParameters(torch.zeros(shape, dtype=torch.float64), location, log_scale, none)


@settings(deadline=None)
@given(location=st.floats(-5, 5), scale=st.floats(0.05, 20), width=st.floats(0.1, 2))
def test_the_mass_of_each_bin_is_a_difference_of_distribution_functions(location, scale, width):
    likelihood = DiscretizedLogistic(bin_width=width, lowest=-2.0, highest=-2.0 + 8 * width)
    mass = likelihood.bin_mass(single(location, scale)).flatten().numpy()
    edges = -2.0 + width * (np.arange(8) + 0.5)
    below = stats.logistic.cdf(edges, location, scale)
    expected = np.diff(np.concatenate([[0.0], below, [1.0]]))
    np.testing.assert_allclose(mass, expected, atol=1e-12)


def test_far_tails_keep_their_logarithm():
    likelihood = DiscretizedLogistic(bin_width=1.0, lowest=0.0, highest=65535.0)
    x = torch.tensor([1.0, 3000.0, 65000.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    parameters = single(1000.0, 2.0, (3, 1, 1, 1, 1))
    result = likelihood.log_prob(x, parameters)
    # far from the centre: log(sigmoid(b) sigmoid(-a) (1 - e^(a-b))) tends to -|x - m|/s + const
    bracket = math.log(2 * math.sinh(0.25))
    expected = [-abs(v - 1000.0) / 2 + bracket for v in (1.0, 3000.0, 65000.0)]
    np.testing.assert_allclose(result, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale_in_bins", [1e-3, 0.05, 1.0, 1e3, 1e6])
def test_sixteen_bit_data_have_mass_one_at_any_scale(dtype, scale_in_bins):
    likelihood = DiscretizedLogistic(bin_width=1.0, lowest=0.0, highest=65535.0)
    parameters = LogisticParameters(*(p.to(dtype) for p in single(32100.3, scale_in_bins)))
    mass = likelihood.bin_mass(parameters, bins=torch.arange(31_000, 33_000)).double()
    if scale_in_bins <= 1:
        assert mass.sum().item() == pytest.approx(1, abs=1e-3 if dtype == torch.float32 else 1e-9)
    assert torch.isfinite(mass).all()
    location = torch.tensor(32100.3, dtype=dtype).reshape(1, 1, 1, 1, 1).requires_grad_()
    parameters = parameters._replace(location=location)
    x = torch.tensor(40000.0, dtype=dtype).reshape(1, 1, 1, 1)
    result = likelihood.log_prob(x, parameters)
    (gradient,) = torch.autograd.grad(result.sum(), location)
    assert torch.isfinite(result).all()
    assert torch.isfinite(gradient).all()
    assert gradient.item() > 0


def test_the_scale_never_falls_below_a_thousandth_of_a_bin():
    likelihood = DiscretizedLogistic(bin_width=0.5)
    raw = torch.tensor([0.0, -1e6]).reshape(1, 2, 1, 1)
    log_scale = likelihood(raw).log_scale.item()
    assert log_scale == pytest.approx(math.log(0.5) + SMALLEST_LOG_SCALE)
    above = likelihood(torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)).log_scale.item()
    assert above == pytest.approx(2.0, abs=1e-3)  # well above the floor the raw value is the log


def test_a_mixture_is_the_weighted_sum_of_its_components():
    likelihood = DiscretizedLogisticMixture(3, bin_width=0.5, lowest=-4.0, highest=4.0)
    raw = torch.randn(2, 9, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    mixture = likelihood(raw)
    weight = special.softmax(raw[:, 6:].numpy(), 1)
    np.testing.assert_allclose(mixture.log_weight.exp()[:, :, 0], weight, rtol=1e-9)
    one = DiscretizedLogistic(bin_width=0.5, lowest=-4.0, highest=4.0)
    total = 0
    for k in range(3):
        part = one(torch.stack([raw[:, k], raw[:, 3 + k]], 1))
        total = total + torch.as_tensor(weight[:, [k]])[..., None] * one.bin_mass(part)
    torch.testing.assert_close(likelihood.bin_mass(mixture), total)


def test_one_component_is_the_single_logistic():
    mixture = DiscretizedLogisticMixture(1)
    one = DiscretizedLogistic()
    raw, x = torch.randn(2, 2, 3, 3), torch.randn(2, 1, 3, 3)
    assert torch.equal(mixture.log_prob(x, mixture(raw)), one.log_prob(x, one(raw)))


def test_channels_depend_on_those_before_them_and_not_on_those_after():
    likelihood = DiscretizedLogisticMixture(2, autoregressive=True)
    raw = torch.randn(
        1, likelihood.raw_channels(3), 1, 1, generator=torch.Generator().manual_seed(0)
    )
    parameters = likelihood(raw.double())
    x = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    base = likelihood.pixel_log_prob(x, parameters).flatten()
    for channel in range(3):
        moved = x.clone()
        moved[0, channel] = 1.0
        changed = (likelihood.pixel_log_prob(moved, parameters).flatten() != base).tolist()
        assert changed == [c >= channel for c in range(3)]
    centres = likelihood._centres(torch.ones_like(x), parameters)
    expected = parameters.location[:, :, 2] + parameters.coefficient[:, :, 2, :2].sum(2)
    torch.testing.assert_close(centres[:, :, 2], expected)


def test_pixels_off_the_grid_belong_to_the_nearest_bin_and_beyond_it_to_the_outer_ones():
    likelihood = DiscretizedLogistic(bin_width=0.5, lowest=-1.0, highest=1.0)
    x = torch.tensor([-99.0, -1.0, -0.8, 0.2, 0.3, 1.3, 99.0])
    assert likelihood.to_bins(x).tolist() == [0, 0, 0, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"components": 0}, "at least one component"),
        ({"bin_width": 0.0}, "bin width must be positive"),
        ({"lowest": 2.0, "highest": 1.0}, "highest above lowest"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DiscretizedLogisticMixture(**arguments)


def test_raw_channels_that_fit_no_image_are_refused():
    with pytest.raises(ValueError, match="5 raw channels fit no number of bands"):
        DiscretizedLogistic()(torch.zeros(1, 5, 1, 1))
    likelihood = DiscretizedLogistic(autoregressive=True)
    parameters = likelihood(torch.zeros(1, likelihood.raw_channels(2), 1, 1))
    with pytest.raises(ValueError, match="the pixels are needed"):
        likelihood.bin_mass(parameters)
