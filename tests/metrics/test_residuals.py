"""Whiteness and chi-squared of residuals."""

import numpy as np
import pytest
import torch

from astro_vq.likelihoods import Bernoulli, MultivariateNormal, Normal
from astro_vq.metrics.residuals import WhitenessSums, chi_squared, whiten

AUTOCOVARIANCE = torch.tensor(
    [[0.1, 0.4, 0.1], [0.4, 2.0, 0.4], [0.1, 0.4, 0.1]], dtype=torch.float64
)


def draw(likelihood, shape, seed=0):
    """Return parameters of mean zero and images drawn from them."""
    parameters = likelihood(torch.zeros(shape[0], likelihood.raw_channels(1), *shape[2:]))
    return parameters, likelihood.sample(parameters, torch.Generator().manual_seed(seed))


def measure(likelihood, pixels, sky):
    parameters = likelihood(torch.zeros(len(pixels), 1, *pixels.shape[2:]))
    white = whiten(likelihood, pixels, parameters, torch.ones_like(sky))
    sums = WhitenessSums()
    for part in (slice(0, 3), slice(3, None)):
        sums.add(pixels[part], white[part], sky[part])
    return sums.result()


def test_the_right_covariance_whitens_and_the_wrong_one_does_not():
    likelihood = MultivariateNormal.from_autocovariance(AUTOCOVARIANCE)
    _, pixels = draw(likelihood, (8, 1, 64, 64))
    sky = torch.ones_like(pixels, dtype=torch.bool)
    sky[:, :, :20, 30:] = False
    right = measure(likelihood, pixels, sky)
    assert right.pixels == int(sky.sum())
    assert right.sigma == pytest.approx(2**0.5, rel=0.03)
    assert right.lag_one == pytest.approx(0.2, abs=0.02)
    assert right.whitened_lag_one == pytest.approx(0.0, abs=0.02)
    assert right.whitened_square == pytest.approx(1.0, rel=0.03)
    wrong = measure(Normal("one"), pixels, sky)
    assert wrong.whitened_lag_one == pytest.approx(right.lag_one, abs=1e-6)
    assert wrong.whitened_square == pytest.approx(2.0, rel=0.05)


def test_pixels_that_are_not_sky_do_not_count():
    pixels = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    sky = torch.ones_like(pixels, dtype=torch.bool)
    sky[:, :, 10:14, 10:14] = False
    before = measure(Normal("one"), pixels, sky)
    pixels[~sky] = 1e6
    after = measure(Normal("one"), pixels, sky)
    assert after == before
    sums = WhitenessSums()
    sums.add(pixels, None, torch.zeros_like(sky))
    assert sums.result() is None


def test_likelihoods_that_are_not_normal_have_no_whitened_residuals():
    pixels = torch.zeros(1, 1, 8, 8)
    mask = torch.ones_like(pixels, dtype=torch.bool)
    assert whiten(Bernoulli(), pixels, Bernoulli()(pixels), mask) is None
    sums = WhitenessSums()
    sums.add(pixels, None, mask)
    result = sums.result()
    assert (result.whitened_lag_one, result.whitened_square) == (None, None)
    assert (result.sigma, result.lag_one) == (0.0, 0.0)  # constant


@pytest.mark.parametrize("kind", ["normal", "stationary", "low-rank"])
def test_chi_squared_is_that_of_the_marginal_covariance(kind):
    generator = torch.Generator().manual_seed(2)
    likelihood = Normal("learnt") if kind == "normal" else MultivariateNormal(kind, rank=2)
    if kind == "stationary":
        likelihood.set_autocovariance(AUTOCOVARIANCE)
    raw = torch.randn(2, likelihood.raw_channels(1), 6, 6, generator=generator).double()
    parameters = likelihood(raw)
    pixels = torch.randn(2, 1, 6, 6, generator=generator).double()
    mask = torch.rand(2, 1, 6, 6, generator=generator) < 0.8
    expected = 0.0
    for b in range(2):
        scale = parameters[1].expand_as(pixels)[b].exp().flatten().numpy()
        covariance = np.diag(scale**2)
        if kind == "stationary":
            factor = likelihood.noise.factor((6, 6), pixels)[0].numpy()
            covariance = factor @ factor.T
        if kind == "low-rank":
            columns = parameters.factor[b].flatten(1).numpy()
            covariance = covariance + columns.T @ columns
        valid = mask[b].flatten().numpy()
        residual = (pixels - parameters[0])[b].flatten().numpy()[valid]
        expected += residual @ np.linalg.solve(covariance[np.ix_(valid, valid)], residual)
    assert chi_squared(likelihood, pixels, parameters, mask) == pytest.approx(expected, rel=1e-8)


def test_whitened_residuals_of_low_rank_have_the_right_size():
    likelihood = MultivariateNormal("low-rank", rank=3)
    generator = torch.Generator().manual_seed(3)
    raw = torch.randn(4, likelihood.raw_channels(1), 8, 8, generator=generator).double()
    parameters = likelihood(raw)
    pixels = likelihood.sample(parameters, generator)
    mask = torch.ones_like(pixels, dtype=torch.bool)
    white = whiten(likelihood, pixels, parameters, mask)
    total = chi_squared(likelihood, pixels, parameters, mask)
    assert float(white.square().sum()) == pytest.approx(total, rel=1e-8)
