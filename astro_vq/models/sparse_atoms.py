"""What codes of sparse tokens look like: patches at several scales, and stars of a frame.

Level ``l`` draws a patch of 16 x 16 at 2**l times its size, over cells of 4 * 2**l pixels
(`astro_vq.models.sparse_scales`).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

PATCH, STRIDE, OFFSET = 16, 4, 6
"""Side of a patch and of a cell, and how far a patch begins before its cell, in pixels."""

LEVELS = 6

BETAS = (2.5, 4.0, math.inf)
"""Exponents of Moffat profiles; infinity is a Gaussian."""

SMALLEST_WIDTH, WIDTH_RATIO, WIDTHS = 1.0, 1.05, 60
ELLIPTICITY_STEP = 0.05

FAMILIES = ((1.0, 10, 0), (1.7, 5, 0), (2.6, 3, 0), (1.0, 5, 1), (1.0, 5, 2))
"""Codes of stars: width over that of the star, places along each side of a cell, and what is
drawn: the profile, or with 1 and 2 its derivative along y and x."""

STAR_CODES = sum(n * n for _, n, _ in FAMILIES)
"""Codes that are made from the width and shape of a frame's stars."""


class StarShape(NamedTuple):
    """Shape of the stars of a frame, as four small integers that a file holds.

    Attributes
    ----------
    width : int
        The full width at half maximum is ``1.05 ** (width - 1)`` pixels; 0 for unknown.
    e1, e2 : int
        Ellipticity in steps of 0.05.
    beta : int
        Place in `BETAS`.
    """

    width: int = 0
    e1: int = 0
    e2: int = 0
    beta: int = 0

    @property
    def fwhm(self) -> float:
        """Full width at half maximum, pixels."""
        return float(SMALLEST_WIDTH * WIDTH_RATIO ** (self.width - 1))


def star_patches(
    shape: StarShape,
    level: int,
    families: tuple[tuple[float, int, int], ...] = FAMILIES,
) -> FloatArray:
    """Return the patches (STAR_CODES, 256) of a frame's stars; zeros where they do not fit a level.

    Parameters
    ----------
    shape : StarShape
        Of the frame.
    level : int
        Patches are made where a star is 1.1 to 8 pixels wide at that level.
    families : tuple
        See `FAMILIES`.
    """
    width = shape.fwhm / 2**level
    if shape.width == 0 or not 1.1 <= width <= 8:
        number = sum(places**2 for _, places, _ in families)
        return np.zeros((number, PATCH**2), np.float32)
    images = []
    for factor, places, derivative in families:
        along = (np.arange(places) + 0.5) / places * STRIDE - STRIDE / 2
        dy, dx = np.repeat(along, places), np.tile(along, places)
        if derivative == 0:
            images.append(profiles(shape, width * factor, dy, dx))
            continue
        ey, ex = (0.3, 0.0) if derivative == 1 else (0.0, 0.3)
        after = profiles(shape, width, dy + ey, dx + ex)
        images.append(after - profiles(shape, width, dy - ey, dx - ex))
    return normalize(np.concatenate(images).reshape(-1, PATCH**2).astype(np.float32))


def profiles(
    shape: StarShape, fwhm: float, dy: NDArray[np.float64], dx: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Moffat or Gaussian profiles (N, 16, 16) around places from the middle of a cell."""
    axis = np.arange(PATCH) - (OFFSET + STRIDE / 2 - 0.5)
    y = axis[:, None] - dy[:, None, None]
    x = axis[None, :] - dx[:, None, None]
    e1, e2 = shape.e1 * ELLIPTICITY_STEP, shape.e2 * ELLIPTICITY_STEP
    square = (x**2 * (1 - e1) + y**2 * (1 + e1) - 2 * e2 * x * y) / math.sqrt(1 - e1**2 - e2**2)
    beta = BETAS[shape.beta]
    if math.isinf(beta):
        return np.asarray(np.exp(-4 * math.log(2) * square / fwhm**2))
    scale = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    return np.asarray((1 + square / scale) ** -beta)


def normalize(vectors: FloatArray) -> FloatArray:
    """Return rows of unit norm; those that are zero stay so."""
    norm = np.sqrt(np.square(vectors, dtype=np.float64).sum(1, keepdims=True))
    return np.asarray(vectors / np.maximum(norm, 1e-12), np.float32)
