"""Autoencoder: an encoder, a decoder and a likelihood, with nothing in between."""

from typing import Self

from torch import Tensor

from astro_vq.config import ModelConfig
from astro_vq.models.base import (
    LossTerms,
    Model,
    PixelBatch,
    build_parts,
    finish_terms,
    prepare,
)


class Autoencoder(Model):
    """Plain autoencoder.

    ::

        pixels -- encoder --> latents -- decoder --> raw -- likelihood --> log p(pixels | latents)

    The loss is the negative log-likelihood in nats per dimension,
    ``-sum_b log p(x_b | z_b) / (number of valid pixels)``.
    """

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model; see `Model.from_config`."""
        networks, likelihood = build_parts(config, channels, encoded=config.latent_channels)
        return cls(
            networks.encoder,
            networks.decoder,
            likelihood,
            channels=channels,
            stride=networks.stride,
            halo=networks.halo,
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents (B, D, h, w) of pixels (B, C, H, W)."""
        self._check_pixels(pixels)
        latents: Tensor = self.encoder(pixels)
        return latents

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W) of pixels (B, C, H, W)."""
        return self.likelihood.mean(self.decode(self.encode(pixels)))

    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return ``loss`` = ``nll_per_dim``, ``nll``, ``bits_per_dim``, ``mse``."""
        prepared = prepare(batch)
        parameters = self.decode(self.encode(prepared.pixels), scale=prepared.scale)
        terms = self._likelihood_terms(prepared, parameters)
        return finish_terms(terms["nll_per_dim"], terms)
