"""Models: networks, likelihoods and quantisers put together."""

from astro_vq.config import ModelConfig
from astro_vq.models.autoencoder import Autoencoder
from astro_vq.models.base import LossTerms, Model, PixelBatch, PlainBatch
from astro_vq.models.vqvae import VQVAE

MODELS: dict[str, type[Model]] = {
    "autoencoder": Autoencoder,
    "vqvae": VQVAE,
}
"""Names of models."""


def build_model(config: ModelConfig, channels: int) -> Model:
    """Build an untrained model.

    Parameters
    ----------
    config : ModelConfig
        Which model, of which parts.
    channels : int
        Bands of the images.
    """
    return MODELS[config.model].from_config(config, channels)


__all__ = [
    "MODELS",
    "VQVAE",
    "Autoencoder",
    "LossTerms",
    "Model",
    "PixelBatch",
    "PlainBatch",
    "build_model",
]
