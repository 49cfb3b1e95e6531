"""New images: drawn from the prior of latents, or from the prior of tokens."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from astro_vq.errors import ModelMismatchError
from astro_vq.models import VAE, Model
from astro_vq.priors.token_prior import TokenPrior


class Drawing(NamedTuple):
    """Images that a model has drawn.

    Attributes
    ----------
    pixels : Tensor (N, C, H, W)
        Means, without the noise of pixels; network units.
    indices : Tensor (N, K, h, w) int64 or None
        The tokens; None for models without.
    """

    pixels: Tensor
    indices: Tensor | None = None


@torch.no_grad()
def draw_images(
    model: Model,
    number: int,
    size: tuple[int, int],
    *,
    prior: TokenPrior | None = None,
    temperature: float = 1.0,
    seed: int = 0,
) -> Drawing:
    """Draw images from a model.

    Parameters
    ----------
    model : Model
        Variational models draw their latents from their own prior; models with tokens need one.
    number : int
        Images.
    size : (int, int)
        Height and width in pixels, multiples of the model's stride.
    prior : TokenPrior, optional
        Of the model's tokens, on the same device.
    temperature : float
        Of the tokens, or of the standard deviation of latents (of the top layer, where there are
        several): below 1 likelier images, 1 the distribution itself.
    seed : int
        Of everything random; the same draws on the same kind of device.

    Raises
    ------
    ModelMismatchError
        The model has no prior at all, or has tokens and `prior` is not given.
    ValueError
        The size is no multiple of the stride.
    """
    if number < 1:
        raise ValueError(f"the number of images must be positive, got {number}")
    if any(side % model.stride or side < 1 for side in size):
        nearest = [max(round(side / model.stride), 1) * model.stride for side in size]
        raise ValueError(
            f"sides must be multiples of {model.stride} pixels, got {size[0]} x {size[1]}; try "
            f"{nearest[0]} x {nearest[1]}"
        )
    if isinstance(model, VAE):
        device = next(model.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)
        latents = model.draw_prior(number, size, generator, temperature=temperature)
        return Drawing(model.likelihood.mean(model.decode(latents)))
    decode: Any = getattr(model, "decode_indices", None)
    if decode is None:
        raise ModelMismatchError(
            f"a {type(model).__name__} has no prior to draw from; take a VAE, or a VQ-VAE with a "
            "prior of its tokens"
        )
    if prior is None:
        raise ModelMismatchError(
            "the prior of the model's tokens is needed; train one: astro-vq train --prior MODEL"
        )
    tokens = (size[0] // model.stride, size[1] // model.stride)
    drawn = prior.sample(
        number,
        tokens,
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
    )
    return Drawing(decode(drawn), drawn)
