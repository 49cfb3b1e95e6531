"""Pixels on a grid of bins: the mass that a logistic density puts into each.

The mass of a bin from a to b (in units of the scale s, from the mean) is written without a
difference of nearly equal numbers::

    sigmoid(b) - sigmoid(a) = sigmoid(b) * sigmoid(-a) * (1 - exp(-(b - a)))

so that it stays right for scales far below and far above one bin, and far out in the tails.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from astro_vq.likelihoods.base import Likelihood, sum_except_batch

SMALLEST_LOG_SCALE = -7.0
"""Floor of log(scale / bin width): a thousandth of a bin is as sharp as certainty."""

LARGEST_LOG_SCALE = 7.0
"""Ceiling of log(scale / range): a thousand times the range leaves nothing but the outer bins."""


class LogisticParameters(NamedTuple):
    """Parameters of a mixture of K discretised logistics.

    Attributes
    ----------
    log_weight : Tensor (B, K, C, H, W)
        Normalised logarithm of the weight of each component.
    location : Tensor (B, K, C, H, W)
        Centre, network units, before what the channels before it add.
    log_scale : Tensor (B, K, C, H, W)
        Natural logarithm of the logistic scale, network units; the standard deviation is
        pi / sqrt(3) times the scale.
    coefficient : Tensor (B, K, C, C, H, W)
        What channel c (first C) adds to its centre per unit of channel j < c (second C); of shape
        (B, K, 0, 0, H, W) where channels are independent.
    """

    log_weight: Tensor
    location: Tensor
    log_scale: Tensor
    coefficient: Tensor


class DiscretizedLogisticMixture(Likelihood[LogisticParameters]):
    """Mixture of logistic densities over bins of equal width.

    Bins have their centres at ``lowest, lowest + bin_width, ..., highest``; a pixel belongs to
    the bin whose centre is nearest. The outer bins take the tails, so that the mass sums to one.
    Pixels are independent; with `autoregressive` the centres of channel c also depend linearly on
    the channels before it (masked ones enter by their means).

    Parameters
    ----------
    components : int
        Components K of the mixture.
    bin_width : float
        Distance of the centres, network units.
    lowest, highest : float
        Centres of the outer bins, network units.
    autoregressive : bool
        Condition channels on those before them.

    References
    ----------
    Salimans et al. 2017, arXiv:1701.05517, section 2.
    """

    is_discrete = True

    def __init__(
        self,
        components: int = 5,
        *,
        bin_width: float = 0.0625,
        lowest: float = -8.0,
        highest: float = 16.0,
        autoregressive: bool = False,
    ) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"a mixture needs at least one component, got {components}")
        if not bin_width > 0 or not highest > lowest:
            raise ValueError(
                "bin width must be positive and highest above lowest, got "
                f"{bin_width}, {lowest}, {highest}"
            )
        self.components = components
        self.bin_width = bin_width
        self.lowest = lowest
        self.bins = round((highest - lowest) / bin_width) + 1
        self.autoregressive = autoregressive

    def raw_channels(self, channels: int) -> int:
        """Return the channels for weights (if K > 1), locations, scales and coefficients."""
        per_component = 2 * channels + (channels if self.components > 1 else 0)
        if self.autoregressive:
            per_component += channels * (channels - 1) // 2
        return self.components * per_component

    def _channels(self, raw: Tensor) -> int:
        channels = 1
        while self.raw_channels(channels) < raw.shape[1]:
            channels += 1
        if self.raw_channels(channels) != raw.shape[1]:
            raise ValueError(f"{raw.shape[1]} raw channels fit no number of bands")
        return channels

    def forward(self, raw: Tensor, scale: Tensor | None = None) -> LogisticParameters:
        """Turn (B, raw_channels, H, W) into parameters; there is no scale to take."""
        if scale is not None:
            raise ValueError("this likelihood takes no scale of the pixels")
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        batch, _, height, width = raw.shape
        components, channels = self.components, self._channels(raw)
        size = components * channels
        shape = (batch, components, channels, height, width)
        location = raw[:, :size].reshape(shape)
        floor = math.log(self.bin_width) + SMALLEST_LOG_SCALE
        ceiling = math.log(self.bin_width * self.bins) + LARGEST_LOG_SCALE
        log_scale = floor + F.softplus(raw[:, size : 2 * size].reshape(shape) - floor)
        log_scale = ceiling - F.softplus(ceiling - log_scale)
        at = 2 * size
        if components > 1:
            log_weight = raw[:, at : at + size].reshape(shape).log_softmax(1)
            at += size
        else:
            log_weight = torch.zeros_like(location)
        if not self.autoregressive:
            empty = raw.new_zeros(batch, components, 0, 0, height, width)
            return LogisticParameters(log_weight, location, log_scale, empty)
        row, column = torch.tril_indices(channels, channels, -1, device=raw.device)
        values = raw[:, at:].reshape(batch, components, len(row), height, width)
        coefficient = raw.new_zeros(batch, components, channels, channels, height, width)
        coefficient[:, :, row, column] = torch.tanh(values)
        return LogisticParameters(log_weight, location, log_scale, coefficient)

    def bin_values(self) -> Tensor:
        """Return the centre (bins,) of each bin, network units, float64."""
        return self.lowest + self.bin_width * torch.arange(self.bins, dtype=torch.float64)

    def to_bins(self, x: Tensor) -> Tensor:
        """Return the index of the bin, in ``[0, bins)``, that each pixel belongs to."""
        position = ((x - self.lowest) / self.bin_width).round()
        return position.clamp(0, self.bins - 1).long()

    def _centres(self, x: Tensor | None, parameters: LogisticParameters) -> Tensor:
        """Return the centre (B, K, C, H, W) of each component given the channels before."""
        if not self.autoregressive:
            return parameters.location
        if x is None:
            raise ValueError("channels depend on those before them: the pixels are needed")
        added = torch.einsum("bkcjhw,bjhw->bkchw", parameters.coefficient, x)
        return parameters.location + added

    def _log_mass(self, index: Tensor, centres: Tensor, parameters: LogisticParameters) -> Tensor:
        """Return the log mass (..., of the mixture) of bins; `index` has one axis less, at 1."""
        sharpness = torch.exp(-parameters.log_scale) * self.bin_width  # bins per scale
        position = (centres - self.lowest) / self.bin_width  # centres in bins
        place = index.unsqueeze(1).to(position)
        upper = (place + 0.5 - position) * sharpness
        lower = (place - 0.5 - position) * sharpness
        below = F.logsigmoid(upper)  # mass below the upper edge
        above = F.logsigmoid(-lower)  # mass above the lower edge
        inner = below + above + _log1mexp(sharpness)
        log_mass = torch.where(place <= 0, below, torch.where(place >= self.bins - 1, above, inner))
        return torch.logsumexp(parameters.log_weight + log_mass, 1)

    def pixel_log_prob(self, x: Tensor, parameters: LogisticParameters) -> Tensor:
        """Return the log mass (B, C, H, W), nats, of the bin of each pixel."""
        return self._log_mass(self.to_bins(x), self._centres(x, parameters), parameters)

    def _log_prob(self, x: Tensor, parameters: LogisticParameters, mask: Tensor | None) -> Tensor:
        if mask is None:
            return sum_except_batch(self.pixel_log_prob(x, parameters))
        if self.autoregressive:
            x = torch.where(mask, x, self.mean(parameters))
        values = self.pixel_log_prob(x, parameters)
        return sum_except_batch(torch.where(mask, values, torch.zeros((), dtype=values.dtype)))

    def bin_mass(
        self, parameters: LogisticParameters, x: Tensor | None = None, bins: Tensor | None = None
    ) -> Tensor:
        """Return the mass of bins, given the channels before where they count.

        Parameters
        ----------
        parameters : LogisticParameters
            What `forward` gave.
        x : Tensor (B, C, H, W), optional
            Pixels that channels are conditioned on; needed if `autoregressive`.
        bins : Tensor of int64 (n,), optional
            Bins to look at; all of them when left out.

        Returns
        -------
        Tensor (B, C, H, W, n)
        """
        centres = self._centres(x, parameters)
        chosen = torch.arange(self.bins, device=centres.device) if bins is None else bins
        shape = (len(centres), *centres.shape[2:])
        logs = [self._log_mass(k.expand(shape), centres, parameters) for k in chosen]
        return torch.stack(logs, -1).exp()

    def mean(self, parameters: LogisticParameters) -> Tensor:
        """Return the mean (B, C, H, W) of the density before it is binned, network units."""
        weight = parameters.log_weight.exp()
        plain = (weight * parameters.location).sum(1)
        if not self.autoregressive:
            return plain
        slope = (weight[:, :, :, None] * parameters.coefficient).sum(1)  # (B, C, C, H, W)
        means: list[Tensor] = []
        for c in range(plain.shape[1]):
            added = [slope[:, c, j] * mean for j, mean in enumerate(means)]
            means.append(torch.stack([plain[:, c], *added]).sum(0))
        return torch.stack(means, 1)

    def sample(
        self, parameters: LogisticParameters, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images (B, C, H, W), each pixel at the centre of a bin."""
        location = parameters.location

        def uniform() -> Tensor:
            drawn = torch.rand(
                location.shape, dtype=location.dtype, device=location.device, generator=generator
            )
            return drawn.clamp(1e-7, 1 - 1e-7)

        gumbel = -(-uniform().log()).log()
        chosen = (parameters.log_weight + gumbel).argmax(1, keepdim=True)
        noise = torch.logit(uniform()) * parameters.log_scale.exp()
        x = torch.zeros_like(location[:, 0])
        for c in range(location.shape[2] if self.autoregressive else 1):
            centres = self._centres(x, parameters)
            drawn = (centres + noise).gather(1, chosen)[:, 0]
            binned = self.lowest + self.bin_width * self.to_bins(drawn).to(drawn)
            if not self.autoregressive:
                return binned
            x = torch.cat([x[:, :c], binned[:, c : c + 1], x[:, c + 1 :]], 1)
        return x


class DiscretizedLogistic(DiscretizedLogisticMixture):
    """One logistic density over bins of equal width: a mixture of one component.

    Parameters
    ----------
    bin_width, lowest, highest, autoregressive
        See `DiscretizedLogisticMixture`.
    """

    def __init__(
        self,
        *,
        bin_width: float = 0.0625,
        lowest: float = -8.0,
        highest: float = 16.0,
        autoregressive: bool = False,
    ) -> None:
        super().__init__(
            1, bin_width=bin_width, lowest=lowest, highest=highest, autoregressive=autoregressive
        )


def _log1mexp(x: Tensor) -> Tensor:
    """Return log(1 - exp(-x)) for x > 0 without loss at either end."""
    small = x < 0.6931471805599453
    near = torch.log(-torch.expm1(-torch.where(small, x, torch.ones_like(x))))
    far = torch.log1p(-torch.exp(-torch.where(small, torch.ones_like(x), x)))
    return torch.where(small, near, far)
