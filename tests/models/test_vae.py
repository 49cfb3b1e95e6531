"""Variational models: losses and bounds against closed forms."""

import math

import pytest
import torch
from torch import nn

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.likelihoods import Normal
from astro_vq.models import IWAE, VAE, PlainBatch, build_model
from astro_vq.models.base import prepare
from astro_vq.models.hierarchical import multiply
from astro_vq.models.vae import Gaussian


def make(model, **options):
    torch.manual_seed(0)
    options = {"hidden_channels": 8, "latent_channels": 4, **options}
    return build_model(ModelConfig(model=model, **options), 1)


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(
        torch.randn(shape, generator=generator, dtype=torch.float64),
        0.5 * torch.randn(shape, generator=generator, dtype=torch.float64),
    )


def torch_normal(g):
    return torch.distributions.Normal(g.mean, g.log_scale.exp())


def test_densities_and_divergences_equal_those_of_torch():
    one, other = gaussian(3, 2, 4, 5), gaussian(3, 2, 4, 5, seed=1)
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    expected = torch_normal(one).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(one.log_prob(x), expected)
    divergence = torch.distributions.kl_divergence(torch_normal(one), torch_normal(other))
    torch.testing.assert_close(one.divergence(other), divergence.sum((1, 2, 3)))


def test_the_importance_weights_of_a_hierarchical_model_are_those_of_its_layers():
    model = make("hierarchical-vae").double().eval()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    drawn = model.draw(x, 3, torch.Generator().manual_seed(0))
    bottom, top = [e.repeat(3) for e in model._evidence(x)]
    generator = torch.Generator().manual_seed(0)
    q_top = multiply(top, Gaussian.standard(top.mean))
    z_top = q_top.draw(generator)
    p_bottom = Gaussian.from_raw(model.prior[0](z_top))
    q_bottom = multiply(bottom, p_bottom)
    z_bottom = q_bottom.draw(generator)
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = standard.log_prob(z_top) - torch_normal(q_top).log_prob(z_top)
    expected = expected.sum((1, 2, 3))
    change = torch_normal(p_bottom).log_prob(z_bottom) - torch_normal(q_bottom).log_prob(z_bottom)
    torch.testing.assert_close(drawn.latents, z_bottom)
    torch.testing.assert_close(drawn.log_ratio, expected + change.sum((1, 2, 3)))


def test_the_product_of_two_densities_is_proportional_to_it():
    one, other = gaussian(1, 1, 1, 1), gaussian(1, 1, 1, 1, seed=1)
    product = multiply(one, other)
    x = torch.linspace(-3, 3, 9, dtype=torch.float64).reshape(9, 1, 1, 1)
    difference = one.log_prob(x) + other.log_prob(x) - product.log_prob(x)
    torch.testing.assert_close(difference, difference[:1].expand(9))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_is_nll_and_beta_times_kl_per_dimension(beta):
    model = make("vae", beta=beta)
    x = torch.randn(3, 1, 8, 8)
    torch.manual_seed(5)
    terms = model.loss(PlainBatch(x))
    torch.manual_seed(5)
    posterior = model.posterior(x)
    latents = posterior.draw()
    nll = 0.5 * (x - model.likelihood.mean(model.decode(latents))).square().sum()
    nll = nll + x.numel() * 0.5 * math.log(2 * math.pi)
    standard = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(torch_normal(posterior), standard).sum()
    torch.testing.assert_close(terms["loss"], (nll + beta * kl) / x.numel())
    torch.testing.assert_close(terms["kl"], kl.detach() / 3)
    torch.testing.assert_close(terms["elbo"], -(nll + kl).detach() / 3)


class LinearEncoder(nn.Module):
    """The exact posterior of ``x = W z + noise`` with orthogonal columns of W."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight.clone())

    def forward(self, x):
        variance = 1 / (1 + self.weight.square().sum(0))
        mean = (x.flatten(1) @ self.weight) * variance
        raw = 0.5 * variance.log()
        raw = 7 * torch.atanh(raw / 7)  # undo the soft limit of the log scale
        return torch.cat([mean, raw.expand_as(mean)], 1)[:, :, None, None]


class LinearDecoder(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, z):
        return (z.flatten(1) @ self.weight.T).view(-1, 1, 4, 4)


def linear(kind, **options):
    """A linear model of 16 pixels and 3 latents, whose likelihood is known."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(16, 3, generator=generator, dtype=torch.float64))
    weight = basis * torch.tensor([3.0, 1.5, 0.5])
    model = kind(
        LinearEncoder(weight),
        LinearDecoder(weight),
        Normal(),
        channels=1,
        stride=4,
        halo=0,
        **options,
    )
    covariance = weight @ weight.T + torch.eye(16)
    return model, torch.distributions.MultivariateNormal(torch.zeros(16).double(), covariance)


def test_with_the_exact_posterior_every_bound_is_the_likelihood():
    x = 2 * torch.randn(5, 1, 4, 4, dtype=torch.float64)
    model, truth = linear(VAE)
    expected = truth.log_prob(x.flatten(1))
    bound = model.importance_bound(PlainBatch(x), samples=7, chunk=3)
    torch.testing.assert_close(bound, expected)
    model, _ = linear(IWAE, samples=3)
    torch.testing.assert_close(model.loss(PlainBatch(x))["bound"], expected.mean())


def test_more_samples_bring_the_bound_nearer_to_the_likelihood():
    x = torch.randn(200, 1, 4, 4, dtype=torch.float64)
    model, truth = linear(VAE)
    model.encoder.weight.mul_(0.8)  # no longer the posterior
    generator = torch.Generator().manual_seed(0)
    bounds = [
        model.importance_bound(PlainBatch(x), samples=k, generator=generator).mean()
        for k in (1, 10, 1000)
    ]
    expected = truth.log_prob(x.flatten(1)).mean()
    assert bounds[0] < bounds[1] < bounds[2] < expected + 0.02
    assert expected - bounds[2] < 0.1 * (expected - bounds[0])


def gradients(seed, x, *, plain):
    """Gradients of encoder and decoder of a linear model whose encoder is not the posterior."""
    model, _ = linear(IWAE, samples=4)
    with torch.no_grad():
        model.encoder.weight.mul_(0.6)
    for weight in (model.encoder.weight, model.decoder.weight):
        weight.requires_grad_()
    torch.manual_seed(seed)
    if plain:
        weights = model._log_weights(prepare(PlainBatch(x)), model.draw(x, 4), 4)
        loss = -(weights.logsumexp(0) - math.log(4)).mean() / 16
    else:
        loss = model.loss(PlainBatch(x))["loss"]
    loss.backward()
    return loss.item(), model.encoder.weight.grad, model.decoder.weight.grad


def test_the_gradient_of_an_importance_weighted_model_is_that_of_its_bound():
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64).expand(1000, 1, 4, 4)
    ours, plain = gradients(0, x, plain=False), gradients(0, x, plain=True)
    assert ours[0] == pytest.approx(plain[0], rel=1e-12)
    torch.testing.assert_close(ours[2], plain[2])  # of the decoder: draw by draw
    # of the encoder: on average, with less noise
    ours = torch.stack([gradients(s, x, plain=False)[1] for s in range(20)])
    plain = torch.stack([gradients(99 - s, x, plain=True)[1] for s in range(20)])
    error = ((ours.var(0) + plain.var(0)) / 20).sqrt()
    assert ((ours.mean(0) - plain.mean(0)).abs() < 4.5 * error).all()
    assert ours.std(0).norm() < 0.3 * plain.std(0).norm()


def test_with_the_exact_posterior_no_draw_moves_the_encoder():
    x = 2 * torch.randn(5, 1, 4, 4, dtype=torch.float64)
    model, _ = linear(IWAE, samples=3)
    model.encoder.weight.requires_grad_()
    model.loss(PlainBatch(x))["loss"].backward()
    assert model.encoder.weight.grad.abs().max() < 1e-12


@pytest.mark.parametrize("name", ["vae", "hierarchical-vae"])
def test_the_bound_at_one_sample_is_the_evidence_lower_bound_on_average(name):
    model = make(name).double()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        draws = [model.importance_bound(PlainBatch(x), samples=1).mean() for _ in range(300)]
        elbo = [model.loss(PlainBatch(x))["elbo"] for _ in range(300)]
    draws, elbo = torch.stack(draws), torch.stack(elbo)
    error = ((draws.var() + elbo.var()) / 300).sqrt()
    assert abs(draws.mean() - elbo.mean()) < 5 * error


def test_chunks_of_any_size_draw_the_same_samples():
    model = make("vae").double()
    batch = PlainBatch(torch.randn(1, 1, 8, 8, dtype=torch.float64))
    bounds = [
        model.importance_bound(
            batch, samples=12, chunk=chunk, generator=torch.Generator().manual_seed(0)
        )
        for chunk in (1, 5, 12, 100)
    ]
    for bound in bounds[1:]:
        torch.testing.assert_close(bound, bounds[0])
    with pytest.raises(ValueError, match="must be positive"):
        model.importance_bound(batch, samples=0)


def test_the_memory_of_the_bound_grows_with_the_chunk_only():
    model = make("vae")
    rows = []
    hook = model.decoder.register_forward_hook(lambda _, inputs, out: rows.append(len(inputs[0])))
    model.importance_bound(PlainBatch(torch.randn(3, 1, 8, 8)), samples=25, chunk=10)
    hook.remove()
    assert rows == [30, 30, 15]


def test_a_hierarchical_model_has_a_divergence_for_each_layer():
    model = make("hierarchical-vae", stochastic_layers=3)
    assert model.stride == 16
    x = torch.randn(2, 1, 32, 32)
    terms = model.loss(PlainBatch(x))
    total = terms["kl_1"] + terms["kl_2"] + terms["kl_3"]
    torch.testing.assert_close(terms["kl"], total)
    torch.testing.assert_close(terms["elbo"], -terms["nll"] - terms["kl"])
    assert model.encode(x).shape == (2, 4, 8, 8)
    assert model.sample(2, (32, 48)).shape == (2, 1, 32, 48)


@pytest.mark.parametrize("name", ["vae", "iwae", "hierarchical-vae"])
def test_the_fully_connected_network_fits_every_variational_model(name):
    model = make(name, network="mlp", image_size=12, likelihood="bernoulli", activation="tanh")
    x = (torch.rand(3, 1, 12, 12) > 0.5).float()
    model.loss(PlainBatch(x))["loss"].backward()
    assert model.importance_bound(PlainBatch(x), samples=5).shape == (3,)
    sample = model.sample(4, (12, 12), torch.Generator().manual_seed(0))
    assert sample.shape == (4, 1, 12, 12)
    assert set(sample.unique().tolist()) <= {0.0, 1.0}
    again = model.sample(4, (12, 12), torch.Generator().manual_seed(0))
    assert torch.equal(sample, again)


def test_an_importance_weighted_model_refuses_terms_of_single_reconstructions():
    with pytest.raises(ConfigError, match="no flux and spectrum terms"):
        make("iwae", flux_weight=1.0)
