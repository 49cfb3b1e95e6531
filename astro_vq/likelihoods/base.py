"""What every likelihood takes and gives."""

from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Parameters = TypeVar("Parameters", bound=tuple[Tensor, ...])
"""Parameters of a likelihood: a NamedTuple of tensors."""


class Valid(NamedTuple):
    """Pixels with a number at every place, and which of them count."""

    pixels: Tensor
    mask: Tensor | None


def sum_except_batch(values: Tensor) -> Tensor:
    """Sum (B, ...) over everything but the first axis: (B,)."""
    return values.flatten(1).sum(1)


def fill_masked(pixels: Tensor, mask: Tensor | None) -> Valid:
    """Put zero at masked pixels, whatever they hold (NaN too), so that no gradient sees them.

    Parameters
    ----------
    pixels : Tensor (B, C, H, W)
        Pixels.
    mask : Tensor of bool, same shape, or None
        True where a pixel counts.
    """
    if mask is None:
        return Valid(pixels, None)
    mask = mask.expand_as(pixels)
    return Valid(torch.where(mask, pixels, torch.zeros((), dtype=pixels.dtype)), mask)


class Likelihood(nn.Module, ABC, Generic[Parameters]):
    """Base class of likelihoods: pixels given the raw output of a decoder.

    Activations and floors of the parameters live in `forward` and nowhere else.
    """

    is_discrete = False
    """Whether the likelihood is of integers or bins (then it has `bin_mass`)."""

    @abstractmethod
    def raw_channels(self, channels: int) -> int:
        """Return the channels that a decoder must give for images of `channels`."""

    @abstractmethod
    def forward(self, raw: Tensor, scale: Tensor | None = None) -> Parameters:
        """Turn the raw output of a decoder into parameters.

        Parameters
        ----------
        raw : Tensor (B, raw_channels, H, W)
            Output of a decoder, any finite values.
        scale : Tensor (B, C, H, W), optional
            Standard deviation of each pixel, for likelihoods that take it.
        """

    def log_prob(self, x: Tensor, parameters: Parameters, mask: Tensor | None = None) -> Tensor:
        """Return the log-likelihood of each image.

        Parameters
        ----------
        x : Tensor (B, C, H, W)
            Pixels, network units; masked ones may hold anything, NaN too.
        parameters : NamedTuple of Tensor
            What `forward` gave.
        mask : Tensor of bool (B, C, H, W), optional
            True where a pixel counts. Masked pixels are marginalised: for independent pixels
            they add nothing.

        Returns
        -------
        Tensor (B,)
            Nats, summed over pixels and channels; densities per network unit for continuous
            likelihoods.

        Raises
        ------
        ValueError
            The shapes do not fit.
        """
        shape = self.mean(parameters).shape
        if x.dim() != 4 or x.shape != shape:
            raise ValueError(f"pixels must be {tuple(shape)}, got {tuple(x.shape)}")
        if mask is not None and mask.dtype != torch.bool:
            raise ValueError(f"mask must be of bool, got {mask.dtype}")
        dtype = torch.promote_types(x.dtype, torch.float32)
        valid = fill_masked(x.to(dtype), mask)
        with torch.autocast(x.device.type, enabled=False):  # sums of many terms, factorisations
            return self._log_prob(valid.pixels, parameters, valid.mask)

    @abstractmethod
    def mean(self, parameters: Parameters) -> Tensor:
        """Return the mean image (B, C, H, W), network units."""

    @abstractmethod
    def sample(self, parameters: Parameters, generator: torch.Generator | None = None) -> Tensor:
        """Draw images (B, C, H, W), network units.

        Parameters
        ----------
        parameters : NamedTuple of Tensor
            What `forward` gave.
        generator : torch.Generator, optional
            Source of randomness, on the parameters' device; torch's own when left out.
        """

    @abstractmethod
    def _log_prob(self, x: Tensor, parameters: Parameters, mask: Tensor | None) -> Tensor: ...


class PixelLikelihood(Likelihood[Parameters]):
    """Base class of likelihoods in which pixels are independent."""

    @abstractmethod
    def pixel_log_prob(self, x: Tensor, parameters: Parameters) -> Tensor:
        """Return the log-likelihood (B, C, H, W), nats, of each pixel (B, C, H, W)."""

    def _log_prob(self, x: Tensor, parameters: Parameters, mask: Tensor | None) -> Tensor:
        values = self.pixel_log_prob(x, parameters)
        if mask is not None:
            values = torch.where(mask, values, torch.zeros((), dtype=values.dtype))
        return sum_except_batch(values)


def standard_normal_like(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal numbers in the shape, dtype and on the device of a tensor."""
    return torch.randn(values.shape, dtype=values.dtype, device=values.device, generator=generator)
