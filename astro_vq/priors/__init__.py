"""Priors: what token maps are likely, to draw new ones and to say how many bits they take."""

from astro_vq.priors.pixelcnn import PixelCNN
from astro_vq.priors.storage import LoadedPrior, load_prior, save_prior
from astro_vq.priors.token_prior import TokenPrior, build_prior

__all__ = [
    "LoadedPrior",
    "PixelCNN",
    "TokenPrior",
    "build_prior",
    "load_prior",
    "save_prior",
]
