"""What every model takes and gives."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from astro_vq.collective import mean_over_processes
from astro_vq.config import ModelConfig
from astro_vq.likelihoods import LIKELIHOODS, Likelihood
from astro_vq.likelihoods.base import fill_masked
from astro_vq.models.networks import NETWORKS, Networks
from astro_vq.models.statistics import flux_mismatch, spectrum_mismatch

LossTerms = dict[str, Tensor]
"""Named terms of a loss, each of shape (); the key ``loss`` is what to minimise."""


class PixelBatch(Protocol):
    """What a model reads of a batch: `astro_vq.data.datasets.Batch` is one.

    Attributes
    ----------
    pixels : Tensor (B, C, H, W)
        Pixels, network units.
    mask : Tensor of bool (B, C, H, W) or None
        True where a pixel counts.
    """

    @property
    def pixels(self) -> Tensor:
        """Pixels (B, C, H, W), network units."""
        ...

    @property
    def mask(self) -> Tensor | None:
        """Boolean mask (B, C, H, W), True where a pixel counts."""
        ...


class PlainBatch(NamedTuple):
    """The smallest batch: pixels, which of them count, and their noise.

    Attributes
    ----------
    pixels : Tensor (B, C, H, W)
        Pixels, network units; masked ones may hold anything.
    mask : Tensor of bool (B, C, H, W) or None
        True where a pixel counts; None where all do.
    scale : Tensor (B, C, H, W) or None
        Standard deviation of each pixel, network units, for likelihoods that take it.
    """

    pixels: Tensor
    mask: Tensor | None = None
    scale: Tensor | None = None


class Prepared(NamedTuple):
    """A batch that is fit to compute with: zero at masked pixels, counts of valid ones."""

    pixels: Tensor
    mask: Tensor | None
    scale: Tensor | None
    dimensions: Tensor


def prepare(batch: PixelBatch) -> Prepared:
    """Put zero at masked pixels and count the valid ones over the batch (at least one).

    Of several processes each counts the mean of all, so that the mean of their losses is that of
    the whole batch.
    """
    pixels, mask = fill_masked(batch.pixels, batch.mask)
    count = pixels.new_tensor(pixels.numel()) if mask is None else mask.sum().clamp_min(1)
    dimensions = mean_over_processes(count.to(pixels))
    return Prepared(pixels, mask, getattr(batch, "scale", None), dimensions)


class Parts(NamedTuple):
    """What every model is made of."""

    networks: Networks
    likelihood: Likelihood[Any]


def build_parts(config: ModelConfig, channels: int, *, encoded: int) -> Parts:
    """Build encoder, decoder and likelihood.

    Parameters
    ----------
    config : ModelConfig
        Which.
    channels : int
        Bands of the images.
    encoded : int
        Channels of the encoder's output.
    """
    likelihood = LIKELIHOODS[config.likelihood](config)
    raw = likelihood.raw_channels(channels)
    return Parts(NETWORKS[config.network](config, channels, encoded, raw), likelihood)


class Model(nn.Module, ABC):
    """Base class of models: encoder, decoder and likelihood are finished parts.

    Parameters
    ----------
    encoder, decoder : nn.Module
        See `astro_vq.models.networks.Networks`.
    likelihood : Likelihood
        Of pixels given the decoder's output.
    channels : int
        Bands of the images.
    stride : int
        Pixels per latent position along each axis.
    halo : int
        Latent positions of context that make a window's result that of the whole image.

    Attributes
    ----------
    flux_weight, spectrum_weight : float
        Weights of `flux_mismatch` and `spectrum_mismatch` in the loss; zero leaves them out.
    """

    flux_weight: float = 0.0
    spectrum_weight: float = 0.0

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood[Any],
        *,
        channels: int,
        stride: int,
        halo: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.channels = channels
        self.stride = stride
        self.halo = halo

    @classmethod
    @abstractmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model.

        Parameters
        ----------
        config : ModelConfig
            Which parts.
        channels : int
            Bands of the images.
        """

    @abstractmethod
    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents (B, D, h, w), before any quantiser or noise, of pixels (B, C, H, W).

        Raises
        ------
        ValueError
            Channels differ from the model's or sides are no multiples of `stride`.
        """

    def decode(self, latents: Tensor, *, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the parameters of the likelihood given latents (B, D, h, w).

        Parameters
        ----------
        latents : Tensor (B, D, h, w)
            Latents as the decoder was trained on.
        scale : Tensor (B, C, H, W), optional
            Standard deviation of each pixel, for likelihoods that take it.
        """
        parameters: tuple[Tensor, ...] = self.likelihood(self.decoder(latents), scale)
        return parameters

    @abstractmethod
    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Return the mean image (B, C, H, W) of pixels (B, C, H, W), without any noise."""

    @abstractmethod
    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return the terms of the loss.

        Parameters
        ----------
        batch : PixelBatch
            Pixels (B, C, H, W) in network units, and a boolean mask or None. Masked pixels are
            read as zero by the encoder and add nothing to the loss, whatever they hold.

        Returns
        -------
        dict of str to Tensor ()
            ``loss`` is what to minimise; the other terms are detached.
        """

    def _check_pixels(self, pixels: Tensor) -> None:
        if pixels.dim() != 4 or pixels.shape[1] != self.channels:
            raise ValueError(
                f"pixels must be (B, {self.channels}, H, W) for this model of {self.channels} "
                f"channel(s), got {tuple(pixels.shape)}"
            )
        height, width = pixels.shape[-2:]
        if height % self.stride or width % self.stride or not height or not width:
            raise ValueError(
                f"image sides must be multiples of {self.stride}, got {height} x {width}; pad to "
                f"{-(-height // self.stride) * self.stride} x "
                f"{-(-width // self.stride) * self.stride}"
            )

    def _likelihood_terms(self, prepared: Prepared, parameters: tuple[Tensor, ...]) -> LossTerms:
        """Return what every model reports of its likelihood, with gradients.

        ``nll`` is the negative log-likelihood in nats per image; ``nll_per_dim`` and
        ``bits_per_dim`` divide its sum over the batch by the number of valid pixels; ``mse`` is
        the mean squared error over valid pixels.
        """
        log_prob = self.likelihood.log_prob(prepared.pixels, parameters, prepared.mask)
        error = self.likelihood.mean(parameters) - prepared.pixels
        if prepared.mask is not None:
            error = torch.where(prepared.mask, error, torch.zeros((), dtype=error.dtype))
        per_dim = -log_prob.sum() / prepared.dimensions
        return self._statistics_terms(prepared, parameters) | {
            "nll": -log_prob.mean(),
            "nll_per_dim": per_dim,
            "bits_per_dim": per_dim / math.log(2),
            "mse": error.square().sum() / prepared.dimensions,
        }

    def _statistics_terms(self, prepared: Prepared, parameters: tuple[Tensor, ...]) -> LossTerms:
        """Return ``flux`` and ``spectrum``, weighted, where they have a weight."""
        terms: LossTerms = {}
        arguments = (prepared.pixels, self.likelihood.mean(parameters), prepared.mask)
        if self.flux_weight:
            terms["flux"] = self.flux_weight * flux_mismatch(*arguments)
        if self.spectrum_weight:
            terms["spectrum"] = self.spectrum_weight * spectrum_mismatch(*arguments)
        return terms


def finish_terms(loss: Tensor, terms: LossTerms) -> LossTerms:
    """Return ``loss`` first, with its gradient, and the other terms detached.

    Terms ``flux`` and ``spectrum`` come weighted and are added to the loss here.
    """
    for name in ("flux", "spectrum"):
        if name in terms:
            loss = loss + terms[name]
    return {"loss": loss} | {name: value.detach() for name, value in terms.items()}
