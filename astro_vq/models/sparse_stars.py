"""The shape of the stars of a frame: what draws its compact sources best."""

import numpy as np
from scipy import ndimage

from astro_vq.models.sparse_atoms import (
    BETAS,
    STRIDE,
    WIDTHS,
    FloatArray,
    StarShape,
    normalize,
    star_patches,
)
from astro_vq.models.sparse_scales import project


def fit_star(pixels: FloatArray, basis: FloatArray, *, most: int = 300) -> StarShape:
    """Return the shape of the stars of a frame.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W)
        Sky subtracted, in sigma; 0 where missing.
    basis : ndarray of float32, shape (D, 256)
        Of the model.
    most : int
        Sources that are looked at; those between 12 and 2000 sigma count.

    Returns
    -------
    StarShape
        With width 0 where fewer than four sources are there.
    """
    return shape_of(bright_sources(pixels, basis), basis, most=most)


def bright_sources(pixels: FloatArray, basis: FloatArray) -> FloatArray:
    """Return the latents (N, D) of sources of 12 to 2000 sigma in pixels (H, W) in sigma."""
    image = np.pad(np.asarray(pixels, np.float32), [(0, -n % STRIDE) for n in pixels.shape])
    latents = project(image, basis, 0)
    power = np.einsum("yxd,yxd->yx", latents, latents)
    top = ndimage.maximum_filter(power, 5, mode="constant")
    here = (power >= top) & (power > 12.0**2) & (power < 2000.0**2)
    return np.asarray(latents[here])


def shape_of(found: FloatArray, basis: FloatArray, *, most: int = 300) -> StarShape:
    """Return the shape of the stars among sources, given their latents (N, D); see `fit_star`."""
    if len(found) < 4:
        return StarShape()
    order = np.argsort(-np.square(found).sum(1), kind="stable")[:most]
    found = normalize(found[order])
    kept = max(len(found) * 6 // 10, 4)

    def value(shape: StarShape) -> float:
        codes = normalize(star_patches(shape, 0, ((1.0, 5, 0),)) @ basis.T)
        explained = np.square(np.maximum((found @ codes.T).max(1), 0))
        best = np.sort(explained)[::-1][:kept]
        return float(-np.log(1.0001 - best).mean())

    round_ones = [StarShape(w, 0, 0, b) for w in range(3, WIDTHS, 2) for b in range(len(BETAS))]
    shape = max(round_ones, key=value)
    near = [
        StarShape(w, e1, e2, shape.beta)
        for w in (shape.width - 1, shape.width, shape.width + 1)
        for e1 in (-4, -2, 0, 2, 4)
        for e2 in (-4, -2, 0, 2, 4)
    ]
    return max(near, key=value)
