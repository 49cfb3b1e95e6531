"""Likelihoods of pixels given the raw output of a decoder."""

from collections.abc import Callable
from typing import Any

from astro_vq.config import ModelConfig
from astro_vq.likelihoods.base import Likelihood, PixelLikelihood, sum_except_batch
from astro_vq.likelihoods.bernoulli import Bernoulli, BernoulliParameters
from astro_vq.likelihoods.discretized_logistic import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    LogisticParameters,
)
from astro_vq.likelihoods.multivariate_normal import (
    MultivariateNormal,
    MultivariateNormalParameters,
)
from astro_vq.likelihoods.normal import GIVEN_FLOOR, Normal, NormalParameters
from astro_vq.likelihoods.stationary import StationaryNoise


def _floor(config: ModelConfig) -> float:
    is_given = config.likelihood_scale == "given"
    return config.likelihood_floor or (GIVEN_FLOOR if is_given else 0.0)


LIKELIHOODS: dict[str, Callable[[ModelConfig], Likelihood[Any]]] = {
    "normal": lambda config: Normal(config.likelihood_scale, floor=_floor(config)),
    "multivariate-normal": lambda config: MultivariateNormal(
        config.likelihood_covariance,
        rank=config.likelihood_rank,
        scale=config.likelihood_scale,
        floor=_floor(config),
    ),
    "discretized-logistic": lambda config: DiscretizedLogistic(
        bin_width=config.bin_width,
        lowest=config.lowest,
        highest=config.highest,
        autoregressive=config.autoregressive,
    ),
    "discretized-logistic-mixture": lambda config: DiscretizedLogisticMixture(
        config.components,
        bin_width=config.bin_width,
        lowest=config.lowest,
        highest=config.highest,
        autoregressive=config.autoregressive,
    ),
    "bernoulli": lambda config: Bernoulli(),
}
"""Names of likelihoods and how to build them from a configuration."""

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "BernoulliParameters",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Likelihood",
    "LogisticParameters",
    "MultivariateNormal",
    "MultivariateNormalParameters",
    "Normal",
    "NormalParameters",
    "PixelLikelihood",
    "StationaryNoise",
    "sum_except_batch",
]
