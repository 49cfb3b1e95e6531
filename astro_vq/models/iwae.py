"""Importance-weighted autoencoder: a variational autoencoder trained on a tighter bound."""

import math
from typing import Any, Self

from torch import Tensor, nn

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.likelihoods import Likelihood
from astro_vq.models.base import LossTerms, PixelBatch, build_parts, finish_terms, prepare
from astro_vq.models.vae import VAE, Draw, Gaussian


class IWAE(VAE):
    """Importance-weighted autoencoder.

    ::

        pixels -- encoder --> mean, log scale -- k draws --> latents -- decoder --> log p(x | z_i)
                                                                                      |
             log (1/k) sum_i p(x | z_i) p(z_i) / q(z_i | x) <-------------------------+

    ``loss = -sum_b bound_b / (number of valid pixels)``; with k = 1 it is the VAE with a KL term
    estimated at the draw.

    The gradient is that of the bound in expectation, without the part of it that only adds noise:
    the density of the posterior is taken as fixed, and what reaches the posterior through draw i
    is weighted by the square of its share ``w_i / sum_j w_j``. Where the posterior is exact, each
    draw gives the encoder a gradient of zero.

    Parameters
    ----------
    encoder, decoder, likelihood, channels, stride, halo
        See `VAE`.
    samples : int
        Draws k per image.

    References
    ----------
    Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519. The gradient: Tucker, Lawson, Gu, Maddison
    2018, arXiv:1810.04152, equation 8.
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
        samples: int = 5,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, channels=channels, stride=stride, halo=halo)
        self.samples = samples

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model; see `Model.from_config`."""
        if config.flux_weight or config.spectrum_weight:
            raise ConfigError("model 'iwae' has no flux and spectrum terms: it weighs its draws")
        networks, likelihood = build_parts(config, channels, encoded=2 * config.latent_channels)
        return cls(
            networks.encoder,
            networks.decoder,
            likelihood,
            channels=channels,
            stride=networks.stride,
            halo=networks.halo,
            samples=config.samples,
        )

    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return ``loss``, ``bound`` (nats per image) and ``bits_per_dim`` of the bound."""
        prepared = prepare(batch)
        posterior = self.posterior(prepared.pixels).repeat(self.samples)
        latents = posterior.draw()
        fixed = Gaussian(*(part.detach() for part in posterior))
        log_ratio = Gaussian.standard(latents).log_prob(latents) - fixed.log_prob(latents)
        log_weights = self._log_weights(prepared, Draw(latents, log_ratio, ()), self.samples)
        shares = log_weights.detach().softmax(0)
        if latents.requires_grad:
            latents.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: gradient * shares.view(-1, 1, 1, 1)
            )
        bound: Tensor = log_weights.detach().logsumexp(0) - math.log(self.samples)
        slope = (shares * log_weights).sum(0)  # its gradient is that of the bound
        loss = -(bound + slope - slope.detach()).sum() / prepared.dimensions
        terms = {
            "nll": -bound.mean(),
            "bound": bound.mean(),
            "nll_per_dim": loss.detach(),
            "bits_per_dim": loss.detach() / math.log(2),
        }
        return finish_terms(loss, terms)
