"""Hierarchical variational autoencoder: two or more stochastic layers, as a ladder."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from astro_vq.config import ModelConfig
from astro_vq.likelihoods import Likelihood
from astro_vq.likelihoods.base import standard_normal_like
from astro_vq.models.base import build_parts
from astro_vq.models.vae import VAE, Draw, Gaussian


class HierarchicalVAE(VAE):
    """Ladder variational autoencoder.

    ::

        pixels -- encoder --> h_1 -- 3x3/2 --> h_2 -- ... --> h_L
                               |                |              |
                               v                v              v
        raw <-- decoder <---- z_1 <-- prior -- z_2 <-- ... -- z_L <-- N(0, 1)

    Going down, the posterior of a layer is the product of what the pixels say (h_l) and the
    layer's prior given the layer above, both normal. The bottom layer lies at the stride of the
    network, each higher one at twice the stride of the one below (the same, for `mlp`).

    Parameters
    ----------
    encoder, decoder, likelihood, channels, stride, halo, beta
        See `VAE`; `stride` is that of the top layer.
    features : int
        Channels of h_l.
    latent_channels : int
        Channels of each z_l.
    layers : int
        Stochastic layers L.
    step : {1, 2}
        Ratio of the strides of neighbouring layers.

    References
    ----------
    Sonderby et al. 2016, arXiv:1602.02282, equations 7 to 12.
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
        features: int,
        latent_channels: int,
        layers: int = 2,
        step: int = 2,
        beta: float = 1.0,
    ) -> None:
        super().__init__(
            encoder, decoder, likelihood, channels=channels, stride=stride, halo=halo, beta=beta
        )
        self.layers = layers
        self.step = step
        self.latent_channels = latent_channels
        down_kernel, up_kernel, padding = (3, 4, 1) if step == 2 else (1, 1, 0)
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.LeakyReLU(0.2),
                nn.Conv2d(features, features, down_kernel, step, padding),
            )
            for _ in range(layers - 1)
        )
        self.evidence = nn.ModuleList(
            nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(features, 2 * latent_channels, 1))
            for _ in range(layers)
        )
        self.prior = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(latent_channels, features, up_kernel, step, padding),
                nn.LeakyReLU(0.2),
                nn.Conv2d(features, 2 * latent_channels, 1),
            )
            for _ in range(layers - 1)
        )

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model; see `Model.from_config`."""
        features = 4 * config.latent_channels
        networks, likelihood = build_parts(config, channels, encoded=features)
        step = 1 if config.network == "mlp" else 2
        layers = config.stochastic_layers
        # every step up adds a position of context, every step down another
        halo = networks.halo + 2 * (layers - 1) if step == 2 else networks.halo
        return cls(
            networks.encoder,
            networks.decoder,
            likelihood,
            channels=channels,
            stride=networks.stride * step ** (layers - 1),
            halo=halo,
            features=features,
            latent_channels=config.latent_channels,
            layers=layers,
            step=step,
            beta=config.beta,
        )

    def _evidence(self, pixels: Tensor) -> list[Gaussian]:
        """Return what the pixels say of each layer, bottom first."""
        self._check_pixels(pixels)
        features = [self.encoder(pixels)]
        for layer in self.down:
            features.append(layer(features[-1]))
        heads = zip(self.evidence, features, strict=True)
        return [Gaussian.from_raw(head(h)) for head, h in heads]

    def _descend(self, evidence: list[Gaussian], generator: torch.Generator | None) -> Draw:
        """Draw each layer given the one above, from the top."""
        divergences: list[Tensor] = []
        prior = Gaussian.standard(evidence[-1].mean)
        log_ratio = prior.mean.new_zeros(len(prior.mean))
        latents = prior.mean
        for level in range(self.layers - 1, -1, -1):
            if level < self.layers - 1:
                prior = Gaussian.from_raw(self.prior[level](latents))
            posterior = multiply(evidence[level], prior)
            latents = posterior.draw(generator)
            divergences.insert(0, posterior.divergence(prior))
            log_ratio = log_ratio + prior.log_prob(latents) - posterior.log_prob(latents)
        return Draw(latents, log_ratio, tuple(divergences))

    def posterior(self, pixels: Tensor) -> Gaussian:
        """Return q(z_1 | x) with every layer above at its mean."""
        evidence = self._evidence(pixels)
        prior = Gaussian.standard(evidence[-1].mean)
        for level in range(self.layers - 1, 0, -1):
            prior = Gaussian.from_raw(self.prior[level - 1](multiply(evidence[level], prior).mean))
        return multiply(evidence[0], prior)

    def draw(
        self, pixels: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Draw:
        """Draw latents of the bottom layer from the posterior; see `VAE.draw`."""
        return self._descend([e.repeat(samples) for e in self._evidence(pixels)], generator)

    def draw_prior(
        self,
        number: int,
        size: tuple[int, int],
        generator: torch.Generator | None = None,
        *,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw latents (number, D, h, w) of the bottom layer from the prior."""
        weight = next(self.parameters())
        shape = (number, self.latent_channels, size[0] // self.stride, size[1] // self.stride)
        latents = temperature * standard_normal_like(weight.new_empty(shape), generator)
        for level in range(self.layers - 2, -1, -1):
            latents = Gaussian.from_raw(self.prior[level](latents)).draw(generator)
        return latents


def multiply(one: Gaussian, other: Gaussian) -> Gaussian:
    """Return the normalised product of two normal densities."""
    log_precision = torch.logaddexp(-2 * one.log_scale, -2 * other.log_scale)
    share = torch.exp(-2 * one.log_scale - log_precision)
    mean = share * one.mean + (1 - share) * other.mean
    return Gaussian(mean, -0.5 * log_precision)
