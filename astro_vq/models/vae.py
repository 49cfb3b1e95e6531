"""Variational autoencoder, and the importance-sampled bound that tests any of them."""

import math
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from astro_vq.config import ModelConfig
from astro_vq.likelihoods import Likelihood
from astro_vq.likelihoods.base import standard_normal_like, sum_except_batch
from astro_vq.models.base import (
    LossTerms,
    Model,
    PixelBatch,
    Prepared,
    build_parts,
    finish_terms,
    prepare,
)

LARGEST_LOG_SCALE = 7.0
"""A posterior's scale stays within exp(-7) and exp(7), a thousandth and a thousand: wider or
narrower ones only overflow early in training."""


class Gaussian(NamedTuple):
    """A normal density with independent numbers.

    Attributes
    ----------
    mean, log_scale : Tensor (B, D, h, w)
        Mean, and natural logarithm of the standard deviation.
    """

    mean: Tensor
    log_scale: Tensor

    @classmethod
    def from_raw(cls, raw: Tensor) -> Self:
        """Read (B, 2 D, h, w) as means, then log scales."""
        mean, log_scale = raw.to(torch.promote_types(raw.dtype, torch.float32)).chunk(2, dim=1)
        return cls(mean, LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE))

    @classmethod
    def standard(cls, like: Tensor) -> Self:
        """Return mean zero and scale one in the shape of a tensor."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def repeat(self, samples: int) -> Self:
        """Return the density of `samples` copies of the batch, one after the other."""
        return type(self)(*(p.repeat(samples, 1, 1, 1) for p in self))

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one sample, with a gradient to mean and scale."""
        return self.mean + self.log_scale.exp() * standard_normal_like(self.mean, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density (B,), nats."""
        residual = (x - self.mean) * torch.exp(-self.log_scale)
        return sum_except_batch(
            -0.5 * residual.square() - self.log_scale - 0.5 * math.log(2 * math.pi)
        )

    def divergence(self, other: "Gaussian") -> Tensor:
        """Return the KL divergence (B,), nats, from this density to another."""
        ratio = self.log_scale - other.log_scale
        shift = (self.mean - other.mean) * torch.exp(-other.log_scale)
        return sum_except_batch(0.5 * (shift.square() + (2 * ratio).exp() - 1) - ratio)


class Draw(NamedTuple):
    """Latents drawn from a posterior.

    Attributes
    ----------
    latents : Tensor (N, D, h, w)
        What the decoder takes.
    log_ratio : Tensor (N,)
        ``log p(z) - log q(z | x)``, nats, over all stochastic layers.
    divergences : tuple of Tensor (N,)
        KL divergence of each layer, in closed form given the layers above.
    """

    latents: Tensor
    log_ratio: Tensor
    divergences: tuple[Tensor, ...]


class VAE(Model):
    """Variational autoencoder with a standard normal prior.

    ::

        pixels -- encoder --> mean, log scale -- draw --> latents -- decoder --> raw -- likelihood
                                     |
                                     +--> KL(q(z | x) || N(0, 1)), in closed form

    ``loss = sum_b (-log p(x_b | z_b) + beta KL_b) / (number of valid pixels)``; beta = 1 is the
    evidence lower bound.

    Parameters
    ----------
    encoder, decoder, likelihood, channels, stride, halo
        See `Model`; the encoder gives twice the channels that the decoder takes.
    beta : float
        Weight of the KL term.

    References
    ----------
    Kingma & Welling 2013, arXiv:1312.6114; Higgins et al. 2017 (beta).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood[Any],
        *,
        channels: int,
        stride: int,
        halo: int,
        beta: float = 1.0,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, channels=channels, stride=stride, halo=halo)
        self.beta = beta

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model; see `Model.from_config`."""
        networks, likelihood = build_parts(config, channels, encoded=2 * config.latent_channels)
        return cls(
            networks.encoder,
            networks.decoder,
            likelihood,
            channels=channels,
            stride=networks.stride,
            halo=networks.halo,
            beta=config.beta,
        )

    def posterior(self, pixels: Tensor) -> Gaussian:
        """Return q(z | x) of pixels (B, C, H, W)."""
        self._check_pixels(pixels)
        return Gaussian.from_raw(self.encoder(pixels))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the posterior mean (B, D, h, w) of pixels (B, C, H, W)."""
        return self.posterior(pixels).mean

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W) at the posterior mean of pixels (B, C, H, W)."""
        return self.likelihood.mean(self.decode(self.encode(pixels)))

    def draw(
        self, pixels: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Draw:
        """Draw latents from the posterior.

        Parameters
        ----------
        pixels : Tensor (B, C, H, W)
            Pixels.
        samples : int
            Draws per image; results have samples * B rows, image by image within each draw.
        generator : torch.Generator, optional
            Source of randomness; torch's own when left out.
        """
        posterior = self.posterior(pixels)
        divergence = posterior.divergence(Gaussian.standard(posterior.mean))
        posterior = posterior.repeat(samples)
        latents = posterior.draw(generator)
        log_ratio = Gaussian.standard(latents).log_prob(latents) - posterior.log_prob(latents)
        return Draw(latents, log_ratio, (divergence.repeat(samples),))

    def draw_prior(
        self,
        number: int,
        size: tuple[int, int],
        generator: torch.Generator | None = None,
        *,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw latents (number, D, h, w) from the prior for images of a size (H, W).

        Their standard deviation is `temperature` (that of the top layer, where there are several).
        """
        weight = next(self.parameters())
        encoded = self.encoder(weight.new_zeros(1, self.channels, *size)).shape
        shape = (number, encoded[1] // 2, *encoded[2:])
        return temperature * standard_normal_like(weight.new_empty(shape), generator)

    def sample(
        self, number: int, size: tuple[int, int], generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images (number, C, H, W) from the model.

        Parameters
        ----------
        number : int
            Images.
        size : tuple of int
            Height and width, multiples of `stride`.
        generator : torch.Generator, optional
            Source of randomness; torch's own when left out.
        """
        latents = self.draw_prior(number, size, generator)
        return self.likelihood.sample(self.decode(latents), generator)

    def _log_weights(self, prepared: Prepared, drawn: Draw, samples: int) -> Tensor:
        """Return ``log p(x, z) - log q(z | x)`` (samples, B) of what was drawn."""
        repeated = Prepared(
            prepared.pixels.repeat(samples, 1, 1, 1),
            None if prepared.mask is None else prepared.mask.repeat(samples, 1, 1, 1),
            None if prepared.scale is None else prepared.scale.repeat(samples, 1, 1, 1),
            prepared.dimensions,
        )
        parameters = self.decode(drawn.latents, scale=repeated.scale)
        log_prob = self.likelihood.log_prob(repeated.pixels, parameters, repeated.mask)
        return (log_prob + drawn.log_ratio).view(samples, -1)

    @torch.no_grad()
    def importance_bound(
        self,
        batch: PixelBatch,
        *,
        samples: int = 5000,
        chunk: int = 50,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Estimate the log-likelihood by importance sampling: a bound that rises to it.

        ``log (1/k) sum_i p(x, z_i) / q(z_i | x)``, in memory that grows with `chunk` only.

        Parameters
        ----------
        batch : PixelBatch
            Images and masks.
        samples : int
            Draws k per image.
        chunk : int
            Draws held at a time.
        generator : torch.Generator, optional
            Source of randomness; torch's own when left out.

        Returns
        -------
        Tensor (B,)
            Nats per image.

        References
        ----------
        Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519, equation 8.
        """
        if samples < 1 or chunk < 1:
            raise ValueError(f"samples and chunk must be positive, got {samples} and {chunk}")
        prepared = prepare(batch)
        total = torch.full((len(prepared.pixels),), -torch.inf, dtype=torch.float64)
        for start in range(0, samples, chunk):
            number = min(chunk, samples - start)
            drawn = self.draw(prepared.pixels, number, generator)
            part = self._log_weights(prepared, drawn, number)
            total = torch.logaddexp(total.to(part.device), part.double().logsumexp(0))
        return total - math.log(samples)

    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return ``loss``, ``elbo`` and ``kl`` (nats per image), ``kl_1`` ... by layer.

        Also ``nll``, ``nll_per_dim``, ``bits_per_dim``, ``mse`` of the reconstruction, as in
        `Autoencoder`, at one draw per image.
        """
        prepared = prepare(batch)
        drawn = self.draw(prepared.pixels)
        parameters = self.decode(drawn.latents, scale=prepared.scale)
        terms = self._likelihood_terms(prepared, parameters)
        divergence = torch.stack(drawn.divergences).sum(0)
        loss = terms["nll_per_dim"] + self.beta * divergence.sum() / prepared.dimensions
        terms |= {"elbo": -terms["nll"] - divergence.mean(), "kl": divergence.mean()}
        for layer, value in enumerate(drawn.divergences, 1):
            terms[f"kl_{layer}"] = value.mean()
        return finish_terms(loss, terms)
