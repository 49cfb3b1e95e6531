"""Quantisers: from latent vectors to code indices and back."""

from collections.abc import Callable

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.quantizers.base import Quantizer, QuantizerOutput
from astro_vq.quantizers.finite_scalar import FiniteScalarQuantizer
from astro_vq.quantizers.residual import ResidualVectorQuantizer
from astro_vq.quantizers.usage import CodeUsage, measure_usage, usage_of_counts
from astro_vq.quantizers.vector import VectorQuantizer


def _vector(config: ModelConfig, update: str) -> Quantizer:
    return VectorQuantizer(
        config.codes,
        config.latent_channels,
        update=update,
        decay=config.decay,
        restart=config.restart,
        cosine=config.cosine,
        gradient=config.gradient,
    )


def _residual(config: ModelConfig) -> Quantizer:
    if config.cosine:
        raise ConfigError("quantizer 'residual' has no cosine option: residuals have lengths")
    return ResidualVectorQuantizer(
        config.codes,
        config.latent_channels,
        depth=config.depth,
        stop=config.stop,
        decay=config.decay,
        restart=config.restart,
        gradient=config.gradient,
    )


def _finite_scalar(config: ModelConfig) -> Quantizer:
    if len(config.levels) != config.latent_channels:
        raise ConfigError(
            f"quantizer 'finite-scalar' needs one number of levels per latent channel: "
            f"{config.latent_channels} latent channels, levels {list(config.levels)}"
        )
    if config.gradient != "straight-through":
        raise ConfigError("quantizer 'finite-scalar' has the straight-through gradient only")
    return FiniteScalarQuantizer(config.levels)


QUANTIZERS: dict[str, Callable[[ModelConfig], Quantizer]] = {
    "ema": lambda config: _vector(config, "ema"),
    "vector": lambda config: _vector(config, "gradient"),
    "residual": _residual,
    "finite-scalar": _finite_scalar,
}
"""Names of quantisers and how to build them from a configuration."""

__all__ = [
    "QUANTIZERS",
    "CodeUsage",
    "FiniteScalarQuantizer",
    "Quantizer",
    "QuantizerOutput",
    "ResidualVectorQuantizer",
    "VectorQuantizer",
    "measure_usage",
    "usage_of_counts",
]
