"""VQ-VAE: an autoencoder whose latents are indices into a codebook."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from astro_vq.collective import mean_over_processes
from astro_vq.config import ModelConfig
from astro_vq.likelihoods import Likelihood
from astro_vq.models.base import (
    LossTerms,
    Model,
    PixelBatch,
    Prepared,
    build_parts,
    finish_terms,
    prepare,
)
from astro_vq.quantizers import QUANTIZERS, Quantizer


class VQVAE(Model):
    """Vector-quantised autoencoder; a `TokenModel` of the codec.

    ::

        pixels -- encoder --> latents -- quantizer --> codes -- decoder --> raw -- likelihood
                                             |
                                             +--> indices (B, K, h, w)

    ``loss = reconstruction + codebook + commitment_weight * commitment``. With
    ``reconstruction='nll'`` the first term is the negative log-likelihood per dimension,
    ``-sum_b log p(x_b | z_b) / (number of valid pixels)``: for `Normal` of scale one that is half
    the mean squared error and a constant, the loss of the paper. With ``'data-variance'`` it is
    the mean squared error over the variance of the data. Codebook and commitment terms are means
    over all numbers of the latents.

    Parameters
    ----------
    encoder, decoder, likelihood, channels, stride, halo
        See `Model`.
    quantizer : Quantizer
        Between encoder and decoder.
    commitment : float
        Weight of the commitment term.
    reconstruction : {'nll', 'data-variance'}
        See above. The variance is that of `set_data_variance`, or else of the valid pixels of
        the first batch in training mode.

    References
    ----------
    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937, equation 3.
    """

    data_variance: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood[Any],
        quantizer: Quantizer,
        *,
        channels: int,
        stride: int,
        halo: int,
        commitment: float = 0.25,
        reconstruction: str = "nll",
    ) -> None:
        super().__init__(encoder, decoder, likelihood, channels=channels, stride=stride, halo=halo)
        if reconstruction not in ("nll", "data-variance"):
            raise ValueError(
                f"reconstruction must be 'nll' or 'data-variance', got {reconstruction!r}"
            )
        self.quantizer = quantizer
        self.commitment = commitment
        self.reconstruction = reconstruction
        self.register_buffer("data_variance", torch.zeros(()))  # 0: not measured yet

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model; see `Model.from_config`."""
        networks, likelihood = build_parts(config, channels, encoded=config.latent_channels)
        return cls(
            networks.encoder,
            networks.decoder,
            likelihood,
            QUANTIZERS[config.quantizer](config),
            channels=channels,
            stride=networks.stride,
            halo=networks.halo,
            commitment=config.commitment,
            reconstruction=config.reconstruction,
        )

    @property
    def codes(self) -> int:
        """Number of codes; every index lies in ``[0, codes)``."""
        return self.quantizer.codes

    @property
    def depth(self) -> int:
        """Indices per position."""
        return self.quantizer.depth

    def set_data_variance(self, variance: float) -> None:
        """Set the variance, network units squared, that ``'data-variance'`` divides by."""
        if not variance > 0:
            raise ValueError(f"the variance of the data must be positive, got {variance}")
        self.data_variance.fill_(variance)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents (B, D, h, w), not yet quantised, of pixels (B, C, H, W)."""
        self._check_pixels(pixels)
        latents: Tensor = self.encoder(pixels)
        return latents

    def encode_indices(self, pixels: Tensor) -> Tensor:
        """Return code indices (B, K, h, w) int64 of pixels (B, C, H, W), network units."""
        return self.quantizer.indices(self.encode(pixels))

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W), network units, of code indices (B, K, h, w)."""
        return self.likelihood.mean(self.decode(self.quantizer.lookup(indices)))

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W) of the codes of pixels (B, C, H, W)."""
        return self.decode_indices(self.encode_indices(pixels))

    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return the terms of the loss; see `Model.loss` for masks.

        ``loss``, ``reconstruction``, ``codebook``, ``commitment`` (not weighted), ``perplexity``,
        ``dead_codes``, and ``nll``, ``nll_per_dim``, ``bits_per_dim``, ``mse`` as in
        `Autoencoder`.
        """
        prepared = prepare(batch)
        result = self.quantizer(self.encode(prepared.pixels))
        parameters = self.decode(result.quantized, scale=prepared.scale)
        terms = self._likelihood_terms(prepared, parameters)
        if self.reconstruction == "nll":
            reconstruction = terms["nll_per_dim"]
        else:
            reconstruction = terms["mse"] / self._variance(prepared)
        loss = reconstruction + result.codebook_loss + self.commitment * result.commitment_loss
        return finish_terms(
            loss,
            {
                "reconstruction": reconstruction,
                "codebook": result.codebook_loss,
                "commitment": result.commitment_loss,
                "perplexity": result.usage.perplexity,
                "dead_codes": result.usage.dead,
                **terms,
            },
        )

    @torch.no_grad()
    def _variance(self, prepared: Prepared) -> Tensor:
        if self.data_variance > 0:
            return self.data_variance
        # masked pixels are zero: they drop out of both sums
        sums = torch.stack([prepared.pixels.sum(), prepared.pixels.square().sum()])
        means = mean_over_processes(sums) / prepared.dimensions
        variance = means[1] - means[0].square()
        variance = variance.clamp_min(torch.finfo(variance.dtype).tiny)
        if self.training:
            self.data_variance.copy_(variance)
        return variance
