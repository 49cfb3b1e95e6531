"""Models: networks, likelihoods and quantisers put together."""

from astro_vq.config import ModelConfig
from astro_vq.models.autoencoder import Autoencoder
from astro_vq.models.base import LossTerms, Model, PixelBatch, PlainBatch
from astro_vq.models.hierarchical import HierarchicalVAE
from astro_vq.models.iwae import IWAE
from astro_vq.models.sparse import SparseVQ
from astro_vq.models.vae import VAE
from astro_vq.models.vqvae import VQVAE
from astro_vq.models.vqvae2 import VQVAE2

MODELS: dict[str, type[Model]] = {
    "autoencoder": Autoencoder,
    "vae": VAE,
    "iwae": IWAE,
    "hierarchical-vae": HierarchicalVAE,
    "vqvae": VQVAE,
    "vqvae2": VQVAE2,
    "sparse": SparseVQ,
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
    model = MODELS[config.model].from_config(config, channels)
    model.flux_weight = config.flux_weight
    model.spectrum_weight = config.spectrum_weight
    return model


__all__ = [
    "IWAE",
    "MODELS",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "Autoencoder",
    "HierarchicalVAE",
    "LossTerms",
    "Model",
    "PixelBatch",
    "PlainBatch",
    "SparseVQ",
    "build_model",
]
