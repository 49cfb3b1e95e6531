"""VQ-VAE-2: a coarse map of tokens under a fine one."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.likelihoods import Likelihood
from astro_vq.models.base import (
    LossTerms,
    Model,
    PixelBatch,
    build_parts,
    finish_terms,
    prepare,
)
from astro_vq.quantizers import QUANTIZERS, Quantizer


class VQVAE2(Model):
    """Two levels of tokens; a `TokenModel` of the codec.

    ::

        pixels -- encoder --> h -- 3x3/2 --> top -- quantizer --> top codes
                              |                                      |
                              +--> [h, T4x4*2] -- 1x1 -- quantizer <-+
                                                        |            |
        raw <-- decoder <-- 1x1 -- [bottom codes, T4x4*2 of top codes]

    Indices come as one map at the stride of the top, (B, 5 K, h, w): the K of the top, then those
    of the bottom at (0, 0), (0, 1), (1, 0) and (1, 1) of each 2 x 2 block.

    ``loss = -sum_b log p(x_b | z_b) / (number of valid pixels) + codebook + commitment_weight *
    commitment``, the last two summed over the levels.

    Parameters
    ----------
    encoder, decoder, likelihood, channels, stride, halo
        See `Model`; `stride` is that of the top.
    top, bottom : Quantizer
        Of the two levels, alike.
    commitment : float
        Weight of the commitment term.

    References
    ----------
    Razavi, van den Oord, Vinyals 2019, arXiv:1906.00446.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood[Any],
        top: Quantizer,
        bottom: Quantizer,
        *,
        channels: int,
        stride: int,
        halo: int,
        features: int,
        commitment: float = 0.25,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, channels=channels, stride=stride, halo=halo)
        if top.codes != bottom.codes or top.depth != bottom.depth:
            raise ValueError("the quantisers of the two levels must have the same codes and depth")
        dim = bottom.dim
        self.top = top
        self.bottom = bottom
        self.commitment = commitment
        self.to_top = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(features, features, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(features, top.dim, 1),
        )
        self.to_bottom = nn.Conv2d(features + dim, dim, 1)
        self.up = nn.ConvTranspose2d(top.dim, dim, 4, 2, 1)
        self.merge = nn.Conv2d(2 * dim, dim, 1)

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model; see `Model.from_config`."""
        if config.network == "mlp":
            raise ConfigError("model 'vqvae2' needs a network with maps: 'compact' or 'oord'")
        if config.reconstruction != "nll":
            raise ConfigError("model 'vqvae2' has reconstruction 'nll' only")
        features = 4 * config.latent_channels
        networks, likelihood = build_parts(config, channels, encoded=features)
        return cls(
            networks.encoder,
            networks.decoder,
            likelihood,
            QUANTIZERS[config.quantizer](config),
            QUANTIZERS[config.quantizer](config),
            channels=channels,
            stride=2 * networks.stride,
            # half the reach of the network and of the step between the levels, and the way down
            halo=(networks.halo + 2) // 2 + 1,
            features=features,
            commitment=config.commitment,
        )

    @property
    def codes(self) -> int:
        """Number of codes of either level; every index lies in ``[0, codes)``."""
        return self.bottom.codes

    @property
    def depth(self) -> int:
        """Indices per position of the top: five times those of one quantiser."""
        return 5 * self.bottom.depth

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latents (B, D, 2 h, 2 w) of the bottom, not yet quantised."""
        features = self._features(pixels)
        top = self.top.lookup(self.top.indices(self.to_top(features)))
        return self._bottom_latents(features, top)

    def _features(self, pixels: Tensor) -> Tensor:
        self._check_pixels(pixels)
        features: Tensor = self.encoder(pixels)
        return features

    def _bottom_latents(self, features: Tensor, top: Tensor) -> Tensor:
        latents: Tensor = self.to_bottom(torch.cat([F.relu(features), self.up(top)], 1))
        return latents

    def _merge(self, top: Tensor, bottom: Tensor) -> Tensor:
        merged: Tensor = self.merge(torch.cat([bottom, self.up(top)], 1))
        return merged

    def encode_indices(self, pixels: Tensor) -> Tensor:
        """Return code indices (B, 5 K, h, w) int64 of pixels (B, C, H, W), network units."""
        features = self._features(pixels)
        top = self.top.indices(self.to_top(features))
        bottom = self.bottom.indices(self._bottom_latents(features, self.top.lookup(top)))
        return join_levels(top, bottom)

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W), network units, of code indices (B, 5 K, h, w)."""
        if indices.dim() != 4 or indices.shape[1] != self.depth:
            raise ValueError(f"indices must be (B, {self.depth}, h, w), got {tuple(indices.shape)}")
        top, bottom = split_levels(indices)
        merged = self._merge(self.top.lookup(top), self.bottom.lookup(bottom))
        return self.likelihood.mean(self.decode(merged))

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W) of the codes of pixels (B, C, H, W)."""
        return self.decode_indices(self.encode_indices(pixels))

    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return the terms of the loss, as `VQVAE.loss`; usage is stated for each level.

        ``perplexity`` and ``dead_codes`` are those of the bottom, ``perplexity_top`` and
        ``dead_codes_top`` those of the top.
        """
        prepared = prepare(batch)
        features = self._features(prepared.pixels)
        top = self.top(self.to_top(features))
        bottom = self.bottom(self._bottom_latents(features, top.quantized))
        merged = self._merge(top.quantized, bottom.quantized)
        parameters = self.decode(merged, scale=prepared.scale)
        terms = self._likelihood_terms(prepared, parameters)
        codebook = top.codebook_loss + bottom.codebook_loss
        commitment = top.commitment_loss + bottom.commitment_loss
        loss = terms["nll_per_dim"] + codebook + self.commitment * commitment
        return finish_terms(
            loss,
            {
                "reconstruction": terms["nll_per_dim"],
                "codebook": codebook,
                "commitment": commitment,
                "perplexity": bottom.usage.perplexity,
                "dead_codes": bottom.usage.dead,
                "perplexity_top": top.usage.perplexity,
                "dead_codes_top": top.usage.dead,
                **terms,
            },
        )


def join_levels(top: Tensor, bottom: Tensor) -> Tensor:
    """Return one map (B, 5 K, h, w) of the maps of two levels.

    Parameters
    ----------
    top : Tensor (B, K, h, w)
        Indices of the top.
    bottom : Tensor (B, K, 2 h, 2 w)
        Indices of the bottom.
    """
    batch, depth, height, width = top.shape
    blocks = bottom.view(batch, depth, height, 2, width, 2).permute(0, 3, 5, 1, 2, 4)
    return torch.cat([top, blocks.reshape(batch, 4 * depth, height, width)], 1)


def split_levels(indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return top (B, K, h, w) and bottom (B, K, 2 h, 2 w) of one map (B, 5 K, h, w)."""
    batch, slots, height, width = indices.shape
    depth = slots // 5
    blocks = indices[:, depth:].reshape(batch, 2, 2, depth, height, width)
    bottom = blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, depth, 2 * height, 2 * width)
    return indices[:, :depth], bottom
