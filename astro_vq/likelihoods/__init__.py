"""Likelihoods of pixels given the raw output of a decoder."""

from collections.abc import Callable
from typing import Any

from astro_vq.config import ModelConfig
from astro_vq.likelihoods.base import Likelihood, PixelLikelihood, sum_except_batch
from astro_vq.likelihoods.normal import Normal, NormalParameters

LIKELIHOODS: dict[str, Callable[[ModelConfig], Likelihood[Any]]] = {
    "normal": lambda config: Normal(config.likelihood_scale, floor=config.likelihood_floor),
}
"""Names of likelihoods and how to build them from a configuration."""

__all__ = [
    "LIKELIHOODS",
    "Likelihood",
    "Normal",
    "NormalParameters",
    "PixelLikelihood",
    "sum_except_batch",
]
