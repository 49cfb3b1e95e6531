"""Quantisers: from latent vectors to code indices and back."""

from collections.abc import Callable

from astro_vq.config import ModelConfig
from astro_vq.quantizers.base import Quantizer, QuantizerOutput
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


QUANTIZERS: dict[str, Callable[[ModelConfig], Quantizer]] = {
    "ema": lambda config: _vector(config, "ema"),
    "vector": lambda config: _vector(config, "gradient"),
}
"""Names of quantisers and how to build them from a configuration."""

__all__ = [
    "QUANTIZERS",
    "CodeUsage",
    "Quantizer",
    "QuantizerOutput",
    "VectorQuantizer",
    "measure_usage",
    "usage_of_counts",
]
