"""Independent normal pixels; the scale is one, given, learnt, or learnt within bounds."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from astro_vq.likelihoods.base import PixelLikelihood, standard_normal_like

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)

SMALLEST_SCALE = 1e-3
"""Floor of a learnt scale where none is chosen: a thousandth of the noise, as pixels are in
units of it; without a floor one pixel that is predicted exactly gives any likelihood."""

TANH_FLOOR = math.exp(-0.5)
"""Floor of the plain tanh bound: the variance lies between exp(-1) and exp(1)."""

GIVEN_FLOOR = 0.3
"""Floor, network units, of scales from weight maps where none is chosen: in bright sources, where
network units are logarithmic, three tenths of the brightness. No decoder is right to the noise
there, and a few pixels would be all that the loss sees."""

SCALES = ("one", "given", "learnt", "bounded")


class NormalParameters(NamedTuple):
    """Parameters of `Normal`.

    Attributes
    ----------
    mean : Tensor (B, C, H, W)
        Mean, network units.
    log_scale : Tensor, broadcasts to (B, C, H, W)
        Natural logarithm of the standard deviation.
    """

    mean: Tensor
    log_scale: Tensor


class Normal(PixelLikelihood[NormalParameters]):
    """Normal pixels, independent of each other.

    Parameters
    ----------
    scale : {'one', 'given', 'learnt', 'bounded'}
        'one' fixes the standard deviation to one; 'given' takes it from the caller (weight map
        or noise), or `sigma` where the caller gives none; 'learnt' and 'bounded' read it from
        the decoder, as softplus above the floor, and as ``log variance = bound * tanh(raw)``.
    floor : float
        Smallest standard deviation. For 'learnt', 0 means `SMALLEST_SCALE`. For 'bounded' it
        is below one, the largest is its inverse, and 0 means exp(-1/2), where
        ``log variance = tanh(raw)``. For 'given', smaller scales are raised to it, and 0 leaves
        all as they are.
    sigma : float
        Standard deviation for 'given' where the caller gives none.

    Notes
    -----
    Noise is taken to be white within the image; `MultivariateNormal` is for noise that is not.
    """

    def __init__(self, scale: str = "one", *, floor: float = 0.0, sigma: float = 1.0) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {scale!r}")
        if floor < 0 or (scale == "bounded" and floor >= 1):
            raise ValueError(f"floor must be at least 0 (and below 1 if bounded), got {floor}")
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.scale = scale
        self.sigma = sigma
        least = {"bounded": TANH_FLOOR, "given": 0.0}.get(scale, SMALLEST_SCALE)
        self.floor = floor or least

    def raw_channels(self, channels: int) -> int:
        """Return C, or 2 C where the scale is learnt: means, then scales."""
        return 2 * channels if self.scale in ("learnt", "bounded") else channels

    def forward(self, raw: Tensor, scale: Tensor | None = None) -> NormalParameters:
        """Turn (B, C or 2 C, H, W) into mean and log scale; see `Likelihood.forward`."""
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        if self.scale == "one":
            return NormalParameters(raw, raw.new_zeros(()))
        if self.scale == "given":
            given = raw.new_tensor(self.sigma) if scale is None else scale.to(raw)
            return NormalParameters(raw, given.clamp_min(self.floor).log())
        mean, width = raw.chunk(2, dim=1)
        if self.scale == "bounded":
            return NormalParameters(mean, -math.log(self.floor) * torch.tanh(width))
        return NormalParameters(mean, (F.softplus(width) + self.floor).log())

    def pixel_log_prob(self, x: Tensor, parameters: NormalParameters) -> Tensor:
        """Return the log density (B, C, H, W) of each pixel, nats."""
        residual = (x - parameters.mean) * torch.exp(-parameters.log_scale)
        return -0.5 * residual.square() - parameters.log_scale - HALF_LOG_TWO_PI

    def mean(self, parameters: NormalParameters) -> Tensor:
        """Return the mean (B, C, H, W)."""
        return parameters.mean

    def sample(
        self, parameters: NormalParameters, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images (B, C, H, W)."""
        noise = standard_normal_like(parameters.mean, generator)
        return parameters.mean + parameters.log_scale.exp() * noise
