"""What a model leaves of images, and whether it is the noise that its likelihood says."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from astro_vq.likelihoods import Likelihood, MultivariateNormal, Normal
from astro_vq.likelihoods.multivariate_normal import MultivariateNormalParameters


class Whiteness(NamedTuple):
    """Residuals at sky pixels; correlations are means of both axes.

    Attributes
    ----------
    pixels : int
        Sky pixels.
    sigma : float
        Standard deviation of pixels less mean image, network units.
    lag_one : float
        Correlation of neighbours in them: that of the noise, if the model explains the rest.
    whitened_lag_one : float or None
        The same of residuals whitened by the likelihood: 0 where its covariance is right. None
        for likelihoods that are not normal.
    whitened_square : float or None
        Mean square of whitened residuals: 1 where the covariance is right.
    """

    pixels: int
    sigma: float
    lag_one: float
    whitened_lag_one: float | None
    whitened_square: float | None


class _Moments:
    """Sums for variance and correlation of neighbours over chosen pixels of many images."""

    def __init__(self) -> None:
        self.count = self.total = self.squares = self.pairs = self.products = 0.0

    def add(self, values: Tensor, chosen: Tensor) -> None:
        """Add images (B, C, H, W), those of their pixels that are chosen."""
        values = torch.where(chosen, values.double(), 0.0)
        self.count += float(chosen.sum())
        self.total += float(values.sum())
        self.squares += float(values.square().sum())
        for axis in (2, 3):
            size = values.shape[axis] - 1
            one, other = (values.narrow(axis, start, size) for start in (0, 1))
            self.products += float((one * other).sum())
            both = chosen.narrow(axis, 0, size) & chosen.narrow(axis, 1, size)
            self.pairs += float(both.sum())

    @property
    def mean(self) -> float:
        """Mean of the pixels."""
        return self.total / max(self.count, 1.0)

    @property
    def variance(self) -> float:
        """Variance of the pixels."""
        return max(self.squares / max(self.count, 1.0) - self.mean**2, 0.0)

    @property
    def lag_one(self) -> float:
        """Correlation of neighbours."""
        if not self.pairs or not self.variance:
            return 0.0
        return (self.products / self.pairs - self.mean**2) / self.variance


class WhitenessSums:
    """Collects what `Whiteness` is made of, batch by batch."""

    def __init__(self) -> None:
        self._plain, self._white = _Moments(), _Moments()

    def add(self, residual: Tensor, white: Tensor | None, sky: Tensor) -> None:
        """Add residuals (B, C, H, W) and whitened ones, if any, at sky pixels."""
        self._plain.add(residual, sky)
        if white is not None:
            self._white.add(white, sky)

    def result(self) -> Whiteness | None:
        """Return the figures; None where no pixel is sky."""
        if not self._plain.count:
            return None
        has_white = self._white.count > 0
        return Whiteness(
            pixels=int(self._plain.count),
            sigma=self._plain.variance**0.5,
            lag_one=self._plain.lag_one,
            whitened_lag_one=self._white.lag_one if has_white else None,
            whitened_square=self._white.squares / self._white.count if has_white else None,
        )


def whiten(
    likelihood: Likelihood[Any], pixels: Tensor, parameters: tuple[Tensor, ...], mask: Tensor
) -> Tensor | None:
    """Return residuals that are white with variance one if a normal likelihood is right.

    Parameters
    ----------
    likelihood : Likelihood
        Any; those that are not normal give None.
    pixels : Tensor (B, C, H, W)
        Network units.
    parameters : NamedTuple of Tensor
        Of the likelihood.
    mask : Tensor of bool (B, C, H, W)
        True where a pixel counts; others are taken to be at their mean, which touches whitened
        residuals within the correlation length of them.
    """
    if not isinstance(likelihood, (Normal, MultivariateNormal)):
        return None
    filled = torch.where(mask, pixels, parameters[0])  # the mean comes first in either
    if isinstance(likelihood, MultivariateNormal):
        known = MultivariateNormalParameters(*parameters)
        if likelihood.kind == "low-rank":
            return _whiten_low_rank(filled, known)
        return likelihood.whiten(filled, known)
    return (filled - parameters[0]) * torch.exp(-parameters[1])


def _whiten_low_rank(pixels: Tensor, parameters: MultivariateNormalParameters) -> Tensor:
    """Multiply by ``(1 + U U^T)^(-1/2)``, U the columns in units of the independent part."""
    scaled = torch.exp(-parameters.log_scale)
    residual = ((pixels - parameters.mean) * scaled).flatten(1)  # (B, N)
    columns = (parameters.factor * scaled[:, None]).flatten(2)  # (B, R, N)
    power, turn = torch.linalg.eigh(columns @ columns.mT)
    power = power.clamp_min(torch.finfo(power.dtype).tiny)
    unit: Tensor = turn.mT @ columns * power.rsqrt()[:, :, None]  # orthonormal rows (B, R, N)
    along: Tensor = (unit @ residual[:, :, None])[:, :, 0] * (1 - (1 + power).rsqrt())
    return (residual - (along[:, None] @ unit)[:, 0]).view_as(pixels)


def chi_squared(
    likelihood: Likelihood[Any], pixels: Tensor, parameters: tuple[Tensor, ...], mask: Tensor
) -> float:
    """Return the sum of squared residuals in units of the covariance of a normal likelihood.

    Over valid pixels, the others marginalised exactly: twice the log density lost between the
    mean image and the pixels.
    """
    mean = likelihood.mean(parameters)
    best = likelihood.log_prob(mean, parameters, mask)
    return float(2 * (best.double() - likelihood.log_prob(pixels, parameters, mask)).sum())
