"""What every likelihood of the table promises."""

import copy

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.likelihoods import LIKELIHOODS, MultivariateNormal

GRID = {"bin_width": 0.5, "lowest": -3.0, "highest": 4.0}
CONFIGS = {
    "normal one": ModelConfig(),
    "normal learnt": ModelConfig(likelihood_scale="learnt"),
    "normal bounded": ModelConfig(likelihood_scale="bounded"),
    "normal given": ModelConfig(likelihood_scale="given"),
    "stationary": ModelConfig(likelihood="multivariate-normal"),
    "stationary learnt": ModelConfig(likelihood="multivariate-normal", likelihood_scale="learnt"),
    "stationary bounded": ModelConfig(likelihood="multivariate-normal", likelihood_scale="bounded"),
    "circulant": ModelConfig(likelihood="multivariate-normal"),
    "full": ModelConfig(likelihood="multivariate-normal"),
    "low rank": ModelConfig(
        likelihood="multivariate-normal", likelihood_covariance="low-rank", likelihood_rank=2
    ),
    "logistic": ModelConfig(likelihood="discretized-logistic", **GRID),
    "logistic channels": ModelConfig(
        likelihood="discretized-logistic", autoregressive=True, **GRID
    ),
    "mixture": ModelConfig(likelihood="discretized-logistic-mixture", components=3, **GRID),
    "mixture channels": ModelConfig(
        likelihood="discretized-logistic-mixture", components=3, autoregressive=True, **GRID
    ),
    "bernoulli": ModelConfig(likelihood="bernoulli"),
}
DISCRETE = [n for n, c in CONFIGS.items() if c.likelihood.startswith(("disc", "bern"))]
CONTINUOUS = [n for n in CONFIGS if n not in DISCRETE]
CHANNELS = 2
EVERY = pytest.mark.parametrize("name", CONFIGS)


def make(name, side=4):
    if name == "full":
        noise = torch.randn(40, CHANNELS * side**2, generator=torch.Generator().manual_seed(9))
        return MultivariateNormal.from_covariance(
            torch.cov(noise.T) + 0.3 * torch.eye(noise.shape[1])
        )
    likelihood = LIKELIHOODS[CONFIGS[name].likelihood](CONFIGS[name])
    if name.startswith(("stationary", "circulant")):
        lag = torch.arange(-2.0, 3)
        likelihood.set_autocovariance(0.8 * torch.exp(-(lag[:, None].abs() + lag.abs()) * 1.2))
        likelihood.method = "circulant" if name == "circulant" else "exact"
    return likelihood


def draw(name, *, batch=3, side=4, dtype=torch.float64, seed=0):
    """Return a likelihood, raw decoder output and pixels it could be of."""
    likelihood = make(name, side)
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, likelihood.raw_channels(CHANNELS), side, side)
    raw = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    x = 1.5 * torch.randn(batch, CHANNELS, side, side, generator=generator, dtype=torch.float64)
    if name == "bernoulli":
        x = (x > 0).double()
    elif name in DISCRETE:
        x = GRID["bin_width"] * (x / GRID["bin_width"]).round()
    return likelihood, raw, x.to(dtype)


def test_every_likelihood_of_the_table_is_tested():
    assert {c.likelihood for c in CONFIGS.values()} == set(LIKELIHOODS)
    assert all(make(n).is_discrete for n in DISCRETE)
    assert not any(make(n).is_discrete for n in CONTINUOUS)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_is_one_finite_number_per_image_in_the_dtype_of_the_input(name, dtype):
    likelihood, raw, x = draw(name, dtype=dtype)
    parameters = likelihood(raw)
    result = likelihood.log_prob(x, parameters)
    assert result.shape == (3,)
    assert result.dtype == dtype
    assert torch.isfinite(result).all()
    assert likelihood.mean(parameters).shape == x.shape
    assert likelihood.sample(parameters).shape == x.shape
    assert likelihood.sample(parameters).dtype == dtype


@EVERY
def test_log_prob_of_an_image_does_not_depend_on_its_batch(name):
    likelihood, raw, x = draw(name)
    together = likelihood.log_prob(x, likelihood(raw))
    alone = [likelihood.log_prob(x[i : i + 1], likelihood(raw[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


@EVERY
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_equal_finite_differences(name, masked):
    likelihood, raw, x = draw(name, batch=1, side=3)
    mask = None
    if masked:
        mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3

    def function(raw, x):
        return likelihood.log_prob(x, likelihood(raw), mask)

    raw.requires_grad_()
    x.requires_grad_(name in CONTINUOUS)
    assert torch.autograd.gradcheck(function, (raw, x), eps=1e-6, atol=1e-5)


@EVERY
def test_masked_pixels_add_nothing_whatever_they_hold(name):
    likelihood, raw, x = draw(name)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    raw.requires_grad_()
    results = []
    for filler in (0.0, 7.0, torch.nan, torch.inf):
        result = likelihood.log_prob(torch.where(mask, x, filler), likelihood(raw), mask)
        (gradient,) = torch.autograd.grad(result.sum(), raw)
        assert torch.isfinite(gradient).all()
        results.append(result)
    for result in results[1:]:
        assert torch.equal(result, results[0])


@EVERY
def test_a_mask_of_ones_changes_nothing_and_one_of_zeros_leaves_nothing(name):
    likelihood, raw, x = draw(name)
    parameters = likelihood(raw)
    everything = torch.ones_like(x, dtype=torch.bool)
    torch.testing.assert_close(
        likelihood.log_prob(x, parameters, everything), likelihood.log_prob(x, parameters)
    )
    nothing = likelihood.log_prob(x, parameters, ~everything)
    torch.testing.assert_close(nothing, torch.zeros_like(nothing), atol=1e-9, rtol=0)


@EVERY
def test_the_marginal_of_a_masked_image_integrates_the_masked_pixel_out(name):
    likelihood, raw, x = draw(name, batch=1, side=2)
    parameters = likelihood(raw)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, -1, 1, 0] = False  # of the last channel, on which nothing depends
    if name in DISCRETE:
        values, weight = likelihood.bin_values(), 1.0
    else:
        values = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
        weight = values[1] - values[0]
    many = x.repeat(len(values), 1, 1, 1)
    many[:, -1, 1, 0] = values
    repeated = type(parameters)(
        *(p.expand(len(values), *p.shape[1:]) if p.dim() else p for p in parameters)
    )
    total = (likelihood.log_prob(many, repeated).exp() * weight).sum().log()
    torch.testing.assert_close(
        likelihood.log_prob(x, parameters, mask)[0], total, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", DISCRETE)
def test_the_mass_of_all_bins_is_one(name):
    likelihood, raw, x = draw(name)
    raw = 3 * raw
    options = (x,) if CONFIGS[name].autoregressive else ()
    mass = likelihood.bin_mass(likelihood(raw), *options)
    assert (mass >= 0).all()
    torch.testing.assert_close(mass.sum(-1), torch.ones_like(x))


@pytest.mark.parametrize("name", DISCRETE)
def test_log_prob_is_the_log_of_the_mass_of_the_pixels_bins(name):
    likelihood, raw, x = draw(name)
    parameters = likelihood(raw)
    options = (x,) if CONFIGS[name].autoregressive else ()
    mass = likelihood.bin_mass(parameters, *options)
    values = likelihood.bin_values()
    index = (x[..., None] - values).abs().argmin(-1)
    expected = mass.gather(-1, index[..., None])[..., 0].log().sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(x, parameters), expected)


@EVERY
def test_samples_have_the_stated_mean_and_follow_the_density(name):
    likelihood, raw, _ = draw(name, batch=1, side=2)
    raw = 0.5 * raw
    if hasattr(likelihood, "components"):  # narrow, so that little lies beyond the outer bins
        size = likelihood.components * CHANNELS
        raw[:, size : 2 * size] -= 2
    parameters = likelihood(raw.expand(20_000, -1, -1, -1))
    samples = likelihood.sample(parameters, torch.Generator().manual_seed(3))
    assert torch.equal(samples, likelihood.sample(parameters, torch.Generator().manual_seed(3)))
    spread = samples.std(0).max()
    # edge bins and rounding move the mean of a binned density a little
    slack = 0.05 if name in DISCRETE else 0.0
    error = (samples.mean(0) - likelihood.mean(parameters)[0]).abs().max()
    assert error < 5 * spread / 20_000**0.5 + slack
    # the mean of log p over samples of p is minus the entropy: for continuous kinds it is known
    if name in CONTINUOUS:
        covariance = torch.cov(samples.flatten(1).T)
        entropy = 0.5 * torch.logdet(2 * torch.pi * torch.e * covariance)
        if name != "circulant":  # whose density wraps, and whose samples do not
            log_prob = likelihood.log_prob(samples, parameters)
            torch.testing.assert_close(-log_prob.mean(), entropy, atol=0.1, rtol=0)
    else:
        values = likelihood.bin_values()
        options = (samples,) if CONFIGS[name].autoregressive else ()
        mass = likelihood.bin_mass(parameters, *options).mean(0)
        share = (samples[..., None] == values.to(samples)).double().mean(0)
        torch.testing.assert_close(share.sum(-1), torch.ones_like(share.sum(-1)))
        torch.testing.assert_close(share, mass, atol=0.02, rtol=0)


@EVERY
def test_raw_output_of_any_size_gives_finite_results(name):
    likelihood, raw, x = draw(name, dtype=torch.float32)
    for factor in (0.0, 30.0, 1000.0):
        wild = (factor * raw).requires_grad_()
        result = likelihood.log_prob(x, likelihood(wild))
        (gradient,) = torch.autograd.grad(result.sum(), wild)
        assert torch.isfinite(result).all()
        assert torch.isfinite(gradient).all()


@EVERY
def test_wrong_shapes_and_masks_are_refused(name):
    likelihood, raw, x = draw(name)
    parameters = likelihood(raw)
    with pytest.raises(ValueError, match=r"pixels must be \(3, 2, 4, 4\), got \(3, 2, 4, 3\)"):
        likelihood.log_prob(x[..., :3], parameters)
    with pytest.raises(ValueError, match="mask must be of bool"):
        likelihood.log_prob(x, parameters, torch.ones_like(x))


@pytest.mark.parametrize("name", DISCRETE)
def test_a_scale_is_refused_where_none_is_taken(name):
    likelihood, raw, x = draw(name)
    with pytest.raises(ValueError, match="takes no scale"):
        likelihood(raw, torch.ones_like(x))


@pytest.mark.gpu
@EVERY
def test_a_gpu_gives_the_values_of_the_cpu(name):
    likelihood, raw, x = draw(name)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    for given in (None, mask):
        expected = likelihood.log_prob(x, likelihood(raw), given)
        there = copy.deepcopy(likelihood).cuda()
        moved = None if given is None else given.cuda()
        result = there.log_prob(x.cuda(), there(raw.cuda()), moved)
        assert result.device.type == "cuda"
        torch.testing.assert_close(result.cpu(), expected)


def test_the_noise_travels_with_the_state():
    one, two = make("stationary"), MultivariateNormal()
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.noise.autocovariance, one.noise.autocovariance)
