"""Images drawn from a saved model, as an array with its origin and as a FITS file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_vq import __version__
from astro_vq.checkpoint import LoadedModel, load_model
from astro_vq.codec.windows import choose_device
from astro_vq.errors import ModelMismatchError
from astro_vq.io.atomic import atomic_writer
from astro_vq.models import VAE, zoo
from astro_vq.priors.generate import draw_images
from astro_vq.priors.storage import PRIOR_FILE, LoadedPrior, load_prior
from astro_vq.priors.token_prior import token_shape

SIZE = 64
"""Side of drawn images in pixels, where none is given and the model takes any."""


@dataclass(frozen=True)
class Samples:
    """Images that a model has drawn; nothing in them was observed.

    Attributes
    ----------
    images : ndarray of float32, shape (N, H, W) or (N, C, H, W)
        Means, without the noise of pixels, in units of the noise of the sky above its level.
    tokens : ndarray of int32, shape (N, K, h, w), or None
        Of models that have them.
    origin : dict
        ``model``, ``hash``, ``kind``, ``prior``, ``seed``, ``temperature``.
    """

    images: NDArray[np.float32]
    tokens: NDArray[np.int32] | None
    origin: dict[str, Any]

    def to_hdus(self) -> fits.HDUList:
        """Return the images as primary HDU, and the tokens, if any, as the HDU ``TOKENS``."""
        primary = fits.PrimaryHDU(self.images)
        header = primary.header
        header["OBJECT"] = ("generated", "drawn from a model, not observed")
        header["ORIGIN"] = f"astro-vq {__version__}"
        header["AVQMODEL"] = (self.origin["model"], "model that drew the images")
        header["AVQKIND"] = (self.origin["kind"], "kind of that model")
        header["AVQHASH"] = (self.origin["hash"], "its content hash")
        header["AVQPRIOR"] = (self.origin["prior"], "what latents were drawn from")
        header["AVQSEED"] = (self.origin["seed"], "seed of the random numbers")
        header["AVQTEMP"] = (self.origin["temperature"], "temperature; 1 is the prior itself")
        header["COMMENT"] = "Generated images: nothing here was observed."
        header["COMMENT"] = "Pixels are mean values above the sky in units of its noise."
        hdus = fits.HDUList([primary])
        if self.tokens is not None:
            hdus.append(fits.ImageHDU(self.tokens, name="TOKENS"))
        return hdus

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a FITS file.

        Raises
        ------
        FileExistsError
            It exists, and `overwrite` is false.
        """
        with atomic_writer(path, overwrite=overwrite) as file:
            self.to_hdus().writeto(file, checksum=True)


def sample(
    model: str | os.PathLike[str] | None = None,
    number: int = 16,
    *,
    size: int | tuple[int, int] | None = None,
    prior: str | os.PathLike[str] | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> Samples:
    """Draw images from a model.

    Variational models draw latents from their own prior. Models with tokens draw them from a
    PixelCNN that ``astro-vq train --prior`` has put beside the model.

    Parameters
    ----------
    model : str or path, optional
        Run folder or name of a shipped model; ``'default'`` when left out.
    number : int
        Images.
    size : int or (int, int), optional
        Side, or height and width, in pixels: multiples of the model's stride. 64 when left out,
        or the next multiple, or the only size that the model takes.
    prior : str or path, optional
        Folder of the prior of the tokens; the model's own when left out.
    temperature : float
        Below 1 likelier images; 1 the distribution itself.
    seed : int
        Of the random numbers.
    device : str
        Where the networks run.

    Returns
    -------
    Samples

    Raises
    ------
    ModelMismatchError
        There is no such model, or it has no prior; the message names the remedy.
    ValueError
        An impossible size or number.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    where = choose_device(device)
    loaded = load_model(None if model is None else str(model), device=where)
    known = None
    if hasattr(loaded.model, "decode_indices"):
        known = _find_prior(loaded, model, prior, where)
    drawn = draw_images(
        loaded.model,
        number,
        _settle_size(loaded, size),
        prior=None if known is None else known.prior,
        temperature=temperature,
        seed=seed,
    )
    with np.errstate(over="ignore"):
        images = np.sinh(drawn.pixels.double().cpu().numpy()).astype(np.float32)
    indices = drawn.indices
    return Samples(
        images=images[:, 0] if images.shape[1] == 1 else images,
        tokens=None if indices is None else indices.cpu().numpy().astype(np.int32),
        origin={
            "model": loaded.name,
            "hash": loaded.hash,
            "kind": loaded.config.model.model,
            "prior": "normal" if isinstance(loaded.model, VAE) else "pixelcnn",
            "seed": seed,
            "temperature": temperature,
        },
    )


def _settle_size(loaded: LoadedModel, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if isinstance(size, tuple):
        return size
    if size is None:
        stride = loaded.model.stride
        size = loaded.config.model.image_size or -(-SIZE // stride) * stride
    return size, size


def _find_prior(
    loaded: LoadedModel,
    model: str | os.PathLike[str] | None,
    prior: str | os.PathLike[str] | None,
    device: str,
) -> LoadedPrior:
    if prior is not None:
        return load_prior(Path(prior), model_hash=loaded.hash, device=device)
    label = zoo.DEFAULT if model is None else str(model)
    shipped = zoo.find(label)
    folder = shipped or Path(label)
    if folder.is_file():
        folder = folder.parent
    if (folder / PRIOR_FILE).is_file():
        return load_prior(folder, model_hash=loaded.hash, device=device)
    token_shape(loaded.model)  # says so where no prior can be had
    remedy = f"astro-vq train --prior {label}"
    if shipped is not None:
        remedy += " --fits-dir IMAGES -o DIR, then give --prior DIR"
    raise ModelMismatchError(
        f"model {loaded.name!r} has tokens, but no prior of them to draw from yet; train one: "
        + remedy
    )
