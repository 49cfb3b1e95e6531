"""Correlated normal pixels against scipy and torch; what the two paths differ by."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from astro_vq.errors import AstroVQWarning
from astro_vq.likelihoods import MultivariateNormal, Normal, StationaryNoise
from astro_vq.likelihoods.gaussian import factorise
from astro_vq.likelihoods.marginal import FactorCache


def autocovariance(sigma=0.7, white=0.1, lag=6):
    """Covariance by lag of white noise smoothed by a Gaussian, plus some that is not."""
    d = np.arange(-lag, lag + 1)
    smooth = np.exp(-(d[:, None] ** 2 + d**2) / (4 * sigma**2))
    smooth[lag, lag] += white
    return smooth


def toeplitz(values, side):
    """Covariance of a square plane by brute force."""
    lag = len(values) // 2
    y, x = np.divmod(np.arange(side**2), side)
    dy, dx = y[:, None] - y, x[:, None] - x
    inside = (abs(dy) <= lag) & (abs(dx) <= lag)
    return np.where(inside, values[np.clip(dy, -lag, lag) + lag, np.clip(dx, -lag, lag) + lag], 0)


def torus(values, height, width):
    """Covariance of a periodic plane by brute force."""
    lag = len(values) // 2
    plane = np.zeros((height, width))
    for i in range(-lag, lag + 1):
        for j in range(-lag, lag + 1):
            plane[i % height, j % width] += values[i + lag, j + lag]
    y, x = np.divmod(np.arange(height * width), width)
    return plane[(y[:, None] - y) % height, (x[:, None] - x) % width]


def marginal(image, valid, matrix):
    """Log density of the valid part of an image by scipy."""
    block = matrix[np.ix_(valid.ravel(), valid.ravel())]
    return stats.multivariate_normal(np.zeros(len(block)), block).logpdf(image[valid])


def images(batch, side, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, channels, side, side)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def known():
    """A covariance of 32 x 32 pixels, and log densities of two images by scipy and torch."""
    matrix = toeplitz(autocovariance(), 32)
    x, mean = images(2, 32, 1), images(2, 32, 2)
    scipy = stats.multivariate_normal(np.zeros(1024), matrix)
    expected = torch.distributions.MultivariateNormal(
        mean.flatten(1), torch.as_tensor(matrix), validate_args=False
    ).log_prob(x.flatten(1))
    return matrix, x, mean, scipy.logpdf((x - mean).flatten(1).numpy()), expected.numpy()


@pytest.mark.parametrize("kind", ["stationary", "covariance", "cholesky", "precision"])
def test_values_equal_scipy_and_torch_at_32_by_32(kind, known):
    matrix, x, mean, by_scipy, by_torch = known
    if kind == "stationary":
        likelihood = MultivariateNormal.from_autocovariance(autocovariance(), method="exact")
    else:
        given = {
            "covariance": matrix,
            "cholesky": np.linalg.cholesky(matrix),
            "precision": np.linalg.inv(matrix),
        }[kind]
        if kind == "precision":
            given = (given + given.T) / 2
        likelihood = MultivariateNormal.from_covariance(**{kind: given})
    result = likelihood.log_prob(x, likelihood(mean)).numpy()
    np.testing.assert_allclose(result, by_scipy, rtol=1e-5)
    np.testing.assert_allclose(result, by_torch, rtol=1e-5)


def test_low_rank_equals_torch():
    likelihood = MultivariateNormal("low-rank", rank=3)
    raw = torch.randn(
        2, likelihood.raw_channels(2), 5, 4, generator=torch.Generator().manual_seed(0)
    ).double()
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    parameters = likelihood(raw)
    expected = torch.distributions.LowRankMultivariateNormal(
        parameters.mean.flatten(1),
        parameters.factor.flatten(2).mT,
        (2 * parameters.log_scale).exp().flatten(1),
        validate_args=False,
    ).log_prob(x.flatten(1))
    torch.testing.assert_close(likelihood.log_prob(x, parameters), expected, rtol=1e-10, atol=0)


def test_white_noise_of_variance_one_is_the_independent_normal():
    x, mean = images(2, 8), images(2, 8, 1)
    for method in ("exact", "circulant"):
        likelihood = MultivariateNormal(method=method)
        torch.testing.assert_close(
            likelihood.log_prob(x, likelihood(mean)), Normal().log_prob(x, Normal()(mean))
        )


def test_the_circulant_path_is_exact_for_a_periodic_plane():
    side, values = 16, autocovariance(lag=3)
    matrix = torus(values, side, side)
    pixels = images(2, side)
    likelihood = MultivariateNormal.from_autocovariance(values, method="circulant")
    result = likelihood.log_prob(pixels, likelihood(torch.zeros_like(pixels)))
    expected = stats.multivariate_normal(np.zeros(side**2), matrix)
    np.testing.assert_allclose(result, expected.logpdf(pixels.flatten(1).numpy()), rtol=1e-9)


def test_the_paths_differ_by_an_edge_term_that_falls_as_one_over_the_side():
    values = autocovariance()
    exact = MultivariateNormal.from_autocovariance(values, method="exact")
    circulant = MultivariateNormal.from_autocovariance(values, method="circulant")
    per_side = []
    for side in (16, 24, 40):
        mean = torch.zeros(40, 1, side, side, dtype=torch.float64)
        x = exact.sample(exact(mean), torch.Generator().manual_seed(1))
        difference = exact.log_prob(x, exact(mean)) - circulant.log_prob(x, circulant(mean))
        # nats per pixel, times the side: the truth is likelier under the truth
        per_side.append(difference.mean().item() / side)
    # 0.7 nats per pixel of one edge at this correlation, whatever the size
    assert per_side == pytest.approx([0.7, 0.7, 0.7], abs=0.2)


def test_auto_takes_the_exact_path_for_cutouts_and_the_other_for_images():
    options = {"exact_pixels": 64}
    auto = MultivariateNormal.from_autocovariance(autocovariance(), **options)
    for side, method in ((8, "exact"), (9, "circulant")):
        same = MultivariateNormal.from_autocovariance(autocovariance(), method=method)
        x = images(1, side)
        assert torch.equal(auto.log_prob(x, auto(0 * x)), same.log_prob(x, same(0 * x)))


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_masked_pixels_are_marginalised_exactly_on_the_circulant_path(share):
    values = autocovariance(lag=3)
    likelihood = MultivariateNormal.from_autocovariance(values, method="circulant")
    x = images(4, 12, channels=2)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > share
    mask[0] = True
    mask[1, :, :3] = mask[1, :, :, 9:] = mask[2, 0] = False  # borders, and a channel without any
    expected = np.zeros((4, 2))
    for place in np.ndindex(4, 2):
        image, valid = x[place].numpy(), mask[place].numpy()
        if valid.any():
            ys, xs = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
            box = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
            matrix = torus(values, *valid[box].shape)
            expected[place] = marginal(image[box], valid[box], matrix)
    result = likelihood.log_prob(x, likelihood(torch.zeros_like(x)), mask)
    np.testing.assert_allclose(result, expected.sum(1), rtol=1e-8)
    single = likelihood.log_prob(x.float(), likelihood(torch.zeros_like(x).float()), mask)
    np.testing.assert_allclose(single, expected.sum(1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["stationary", "full"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_masked_pixels_are_marginalised_exactly_for_cutouts(kind, share):
    matrix = toeplitz(autocovariance(), 6)
    if kind == "full":
        likelihood = MultivariateNormal.from_covariance(matrix)
    else:
        likelihood = MultivariateNormal.from_autocovariance(autocovariance())
    x = images(3, 6)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > share
    mask[1] = True
    mask[2, 0, 0] = False
    result = likelihood.log_prob(x, likelihood(torch.zeros_like(x)), mask)
    for image, valid, value in zip(x[:, 0].numpy(), mask[:, 0].numpy(), result, strict=True):
        assert value.item() == pytest.approx(marginal(image, valid, matrix), rel=1e-9)


@pytest.mark.parametrize("method", ["exact", "circulant"])
def test_an_image_has_the_same_density_whatever_it_is_padded_with(method):
    likelihood = MultivariateNormal.from_autocovariance(autocovariance(), method=method)
    small, large = images(2, 9), images(2, 14, seed=1)
    large[:, :, 3:12, 1:10] = small
    mask = torch.zeros_like(large, dtype=torch.bool)
    mask[:, :, 3:12, 1:10] = True
    padded = likelihood.log_prob(large, likelihood(0 * large), mask)
    torch.testing.assert_close(padded, likelihood.log_prob(small, likelihood(0 * small)))


def test_planes_that_share_a_mask_share_a_factorisation(monkeypatch):
    likelihood = MultivariateNormal.from_autocovariance(autocovariance(), method="circulant")
    x = images(6, 16)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[::2, :, 4:7, 5] = False
    mask[1::2, :, 9, 8:12] = False
    sizes = []
    cholesky = torch.linalg.cholesky

    def watch(matrix):
        sizes.append(len(matrix))
        return cholesky(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky", watch)
    first = likelihood.log_prob(x, likelihood(0 * x), mask)
    assert sorted(sizes) == [3, 4]
    assert torch.equal(likelihood.log_prob(x, likelihood(0 * x), mask), first)
    assert len(sizes) == 2  # kept
    likelihood.set_autocovariance(2 * autocovariance())
    second = likelihood.log_prob(x, likelihood(0 * x), mask)
    assert sorted(sizes) == [3, 3, 4, 4]
    assert not torch.equal(first, second)


def test_factors_are_kept_up_to_a_bound():
    cache, made = FactorCache(most_bytes=3 * 4 * 8), []

    def ask(key):
        def make():
            made.append(key)
            return 4 * torch.eye(2, dtype=torch.float64)

        assert torch.equal(cache.factor((key,), make), 2 * torch.eye(2, dtype=torch.float64))

    for key in "abcabdab":  # d takes the place of c
        ask(key)
    assert made == list("abcd")
    ask("c")
    assert made == list("abcdc")
    cache.factor(("large",), lambda: torch.eye(9, dtype=torch.float64))  # too large to keep
    ask("c")
    assert made == list("abcdc")


def test_planes_with_too_many_masked_and_valid_pixels_are_refused(monkeypatch):
    monkeypatch.setattr("astro_vq.likelihoods.stationary.LARGEST_BLOCK", 40)
    likelihood = MultivariateNormal.from_autocovariance(autocovariance(), method="circulant")
    x = images(1, 12)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[..., 1:-1:2, 1:-1:2] = False  # 25 masked
    assert torch.isfinite(likelihood.log_prob(x, likelihood(0 * x), mask)).all()
    mask[..., 1:-1, 1:-1:2] = False  # 50
    with pytest.raises(ValueError, match=r"has 50 masked ones.* cut it into smaller ones"):
        likelihood.log_prob(x, likelihood(0 * x), mask)


def test_a_given_scale_multiplies_the_noise():
    likelihood = MultivariateNormal.from_autocovariance(autocovariance(lag=3), scale="given")
    x, scale = images(1, 5), 0.5 + images(1, 5, 3).abs()
    d = np.diag(scale.flatten().numpy())
    matrix = d @ toeplitz(autocovariance(lag=3), 5) @ d
    expected = stats.multivariate_normal(np.zeros(25), matrix).logpdf(x.flatten().numpy())
    result = likelihood.log_prob(x, likelihood(torch.zeros_like(x), scale))
    assert result.item() == pytest.approx(expected, rel=1e-9)


def test_channels_may_have_their_own_autocovariance():
    two = np.stack([autocovariance(), 3 * autocovariance(sigma=0.5)])
    x = images(2, 6, channels=2)
    for method in ("exact", "circulant"):
        both = MultivariateNormal.from_autocovariance(two, method=method)
        each = [MultivariateNormal.from_autocovariance(v, method=method) for v in two]
        apart = sum(m.log_prob(x[:, [c]], m(0 * x[:, [c]])) for c, m in enumerate(each))
        torch.testing.assert_close(both.log_prob(x, both(0 * x)), apart)
        with pytest.raises(ValueError, match="autocovariance has 2 channels, the image has 3"):
            both.log_prob(images(1, 6, channels=3), both(images(1, 6, channels=3)))


@pytest.mark.parametrize("method", ["exact", "circulant"])
def test_whitened_residuals_of_samples_are_white(method):
    likelihood = MultivariateNormal.from_autocovariance(autocovariance(), method=method)
    mean = torch.zeros(30, 1, 32, 32, dtype=torch.float64)
    x = likelihood.sample(likelihood(mean), torch.Generator().manual_seed(0))
    lag_one = (x[..., 1:] * x[..., :-1]).mean() / x.square().mean()
    assert lag_one == pytest.approx(autocovariance()[6, 7] / 1.1, abs=0.02)
    white = likelihood.whiten(x, likelihood(mean))
    inner = white[..., 6:-6, 6:-6]
    assert inner.square().mean() == pytest.approx(1, abs=0.03)
    assert (inner[..., 1:] * inner[..., :-1]).mean().abs() < 0.03
    if method == "exact":
        energy = white.flatten(1).square().sum(1)
        constant = likelihood.log_prob(x, likelihood(mean)) + 0.5 * energy
        torch.testing.assert_close(constant, constant[:1].expand_as(constant))


def test_samples_of_smoothed_white_noise_look_like_it():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 0.7, mode="wrap")
    values = np.fft.ifft2(abs(np.fft.fft2(noise)) ** 2).real / noise.size
    values = np.roll(values, (5, 5), (0, 1))[:11, :11]
    likelihood = MultivariateNormal.from_autocovariance(values)
    mean = torch.zeros(1, 1, 200, 200, dtype=torch.float64)
    sample = likelihood.sample(likelihood(mean), torch.Generator().manual_seed(0))[0, 0].numpy()
    assert sample.std() == pytest.approx(noise.std(), rel=0.03)
    lag = (sample[:, 1:] * sample[:, :-1]).mean() / (noise[:, 1:] * noise[:, :-1]).mean()
    assert lag == pytest.approx(1, abs=0.05)


def test_an_autocovariance_that_is_not_positive_is_repaired_aloud_or_refused():
    values = np.zeros((5, 5))
    values[2, 2], values[2, 1], values[2, 3] = 1.0, 0.8, 0.8  # power 1 + 1.6 cos < 0
    with pytest.warns(AstroVQWarning, match="not positive definite.*changes the variance by"):
        likelihood = MultivariateNormal.from_autocovariance(values)
    for side in (5, 9, 40):
        x = images(2, side)
        for method in ("exact", "circulant"):
            likelihood.method = method
            assert torch.isfinite(likelihood.log_prob(x, likelihood(0 * x))).all()
    with pytest.raises(ValueError, match="not positive definite"):
        MultivariateNormal.from_autocovariance(values, repair=False)
    again = MultivariateNormal()
    again.load_state_dict(likelihood.state_dict())  # what was repaired needs no repair


def test_noise_without_fine_structure_is_repaired_by_very_little():
    d = np.arange(-12, 13)
    with pytest.warns(AstroVQWarning) as caught:
        noise = StationaryNoise(torch.as_tensor(np.exp(-(d[:, None] ** 2 + d**2) / 8.0)))
    assert "changes the variance by 0.00%" in str(caught[0].message)
    assert noise.autocovariance[0, 12, 12].item() == pytest.approx(1, abs=1e-4)


def test_a_covariance_that_is_not_positive_definite_is_repaired_aloud_or_refused():
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[0, 1] = matrix[1, 0] = 1.5
    with pytest.warns(AstroVQWarning, match="1 of 4 eigenvalues .* the lowest is -0.5; they were"):
        factor = factorise(matrix)
    fixed = factor @ factor.T
    assert torch.linalg.eigvalsh(fixed).min() > 0
    torch.testing.assert_close(fixed[2:, 2:], matrix[2:, 2:])
    with pytest.raises(ValueError, match="not positive definite"):
        MultivariateNormal.from_covariance(matrix, repair=False)
    singular = torch.ones(3, 3, dtype=torch.float64)
    with pytest.warns(AstroVQWarning, match="2 of 3 eigenvalues"):
        factorise(singular)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: MultivariateNormal("toeplitz"), "covariance must be one of"),
        (lambda: MultivariateNormal(method="fast"), "method must be one of"),
        (lambda: MultivariateNormal(rank=0), "rank must be positive"),
        (lambda: MultivariateNormal("full").set_autocovariance([[1.0]]), "takes no autocov"),
        (lambda: MultivariateNormal().set_covariance(np.eye(2)), "takes no matrix"),
        (lambda: MultivariateNormal.from_covariance(), "give one of"),
        (lambda: MultivariateNormal.from_covariance(np.ones((2, 3))), "must be square"),
        (lambda: MultivariateNormal.from_covariance([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: MultivariateNormal.from_covariance([[math.nan]]), "must be finite"),
        (lambda: MultivariateNormal.from_covariance(cholesky=np.ones((2, 2))), "lower triang"),
        (lambda: MultivariateNormal.from_autocovariance(np.ones((2, 2))), r"must be \(2L\+1"),
        (lambda: MultivariateNormal.from_autocovariance([[0.0]]), "must be positive"),
        (lambda: MultivariateNormal.from_autocovariance([[math.inf]]), "must be finite"),
        (
            lambda: MultivariateNormal.from_autocovariance([[0, 0, 0], [0.2, 1, 0.1], [0, 0, 0]]),
            "same at a lag and at its opposite",
        ),
    ],
)
def test_what_is_no_covariance_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()


def test_a_covariance_of_another_size_than_the_image_is_refused():
    likelihood = MultivariateNormal.from_covariance(np.eye(4))
    x = images(1, 3)
    with pytest.raises(ValueError, match="covariance is of 4 pixels"):
        likelihood.log_prob(x, likelihood(x))


def test_a_likelihood_can_be_copied():
    likelihood = MultivariateNormal.from_autocovariance(autocovariance())
    x = images(1, 6)
    other = copy.deepcopy(likelihood)
    assert torch.equal(other.log_prob(x, other(0 * x)), likelihood.log_prob(x, likelihood(0 * x)))


def test_single_precision_agrees_with_double():
    likelihood = MultivariateNormal.from_autocovariance(autocovariance(), method="circulant")
    x = images(2, 64)
    double = likelihood.log_prob(x, likelihood(0 * x))
    single = likelihood.log_prob(x.float(), likelihood(0 * x.float()))
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


def test_a_full_covariance_whitens_and_samples():
    matrix = toeplitz(autocovariance(lag=3), 4)
    likelihood = MultivariateNormal.from_covariance(matrix)
    parameters = likelihood(torch.zeros(20_000, 1, 4, 4, dtype=torch.float64))
    x = likelihood.sample(parameters, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        torch.cov(x.flatten(1).T), torch.as_tensor(matrix), atol=0.06, rtol=0
    )
    white = likelihood.whiten(x, parameters).flatten(1)
    torch.testing.assert_close(torch.cov(white.T), torch.eye(16).double(), atol=0.06, rtol=0)
    everything = torch.ones_like(x, dtype=torch.bool)
    assert torch.equal(
        likelihood.log_prob(x, parameters, everything), likelihood.log_prob(x, parameters)
    )


def test_a_full_covariance_travels_with_the_state():
    likelihood = MultivariateNormal.from_covariance(toeplitz(autocovariance(), 3))
    other = MultivariateNormal("full")
    other.load_state_dict(likelihood.state_dict())
    x = images(2, 3)
    assert torch.equal(other.log_prob(x, other(0 * x)), likelihood.log_prob(x, likelihood(0 * x)))


def test_low_rank_covariances_have_no_whitening():
    likelihood = MultivariateNormal("low-rank")
    parameters = likelihood(torch.zeros(1, likelihood.raw_channels(1), 2, 2))
    with pytest.raises(ValueError, match="no whitening of fixed form"):
        likelihood.whiten(torch.zeros(1, 1, 2, 2), parameters)


def test_noise_may_count_as_white_in_training():
    likelihood = MultivariateNormal.from_autocovariance(4 * autocovariance(), scale="learnt")
    x = images(2, 6)
    raw = torch.cat([images(2, 6, 1), images(2, 6, 2)], 1)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    parameters = likelihood(raw)
    correlated = likelihood.log_prob(x, parameters, mask)
    likelihood.is_white = True
    scale = parameters.log_scale.exp() * math.sqrt(4.4)
    white = stats.norm.logpdf(x.numpy(), parameters.mean.numpy(), scale.numpy())
    expected = np.where(mask.numpy(), white, 0).sum((1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(x, parameters, mask), expected)
    likelihood.eval()
    assert torch.equal(likelihood.log_prob(x, parameters, mask), correlated)
