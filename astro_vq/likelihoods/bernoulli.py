"""Pixels that are zero or one."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from astro_vq.likelihoods.base import PixelLikelihood


class BernoulliParameters(NamedTuple):
    """Parameters of `Bernoulli`.

    Attributes
    ----------
    logits : Tensor (B, C, H, W)
        Log odds of a one.
    """

    logits: Tensor


class Bernoulli(PixelLikelihood[BernoulliParameters]):
    """Independent pixels that are zero or one.

    Numbers between zero and one count as the expectation over their binarisations.
    """

    is_discrete = True

    def raw_channels(self, channels: int) -> int:
        """Return C: the log odds."""
        return channels

    def forward(self, raw: Tensor, scale: Tensor | None = None) -> BernoulliParameters:
        """Turn (B, C, H, W) into log odds; there is no scale to take."""
        _no_scale(scale)
        return BernoulliParameters(raw.to(torch.promote_types(raw.dtype, torch.float32)))

    def pixel_log_prob(self, x: Tensor, parameters: BernoulliParameters) -> Tensor:
        """Return the log mass (B, C, H, W) of each pixel, nats."""
        return x * parameters.logits - F.softplus(parameters.logits)

    def bin_mass(self, parameters: BernoulliParameters) -> Tensor:
        """Return the mass (B, C, H, W, 2) of zero and of one."""
        return torch.stack(
            [torch.sigmoid(-parameters.logits), torch.sigmoid(parameters.logits)], -1
        )

    def bin_values(self) -> Tensor:
        """Return the pixel value (2,) of each bin."""
        return torch.tensor([0.0, 1.0])

    def mean(self, parameters: BernoulliParameters) -> Tensor:
        """Return the probability (B, C, H, W) of a one."""
        return torch.sigmoid(parameters.logits)

    def sample(
        self, parameters: BernoulliParameters, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images (B, C, H, W) of zeros and ones."""
        return torch.bernoulli(self.mean(parameters), generator=generator)


def _no_scale(scale: Tensor | None) -> None:
    if scale is not None:
        raise ValueError("this likelihood takes no scale of the pixels")
