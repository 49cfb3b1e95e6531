"""What codes of sparse tokens look like: patches at several scales, and stars of a frame.

Level ``l`` draws a patch of 16 x 16 at 2**l times its size, over cells of 4 * 2**l pixels. Images
go up a level by repeating pixels and a smoothing that makes them continuous; the way down is
the adjoint, so that products with enlarged patches are products with patches.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

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


def smooth(image: Tensor, size: int) -> Tensor:
    """Smooth (B, 1, H, W) over `size` + 1 pixels along each axis, half weight at the ends."""
    kernel = torch.full((size + 1,), 1.0 / size, dtype=image.dtype, device=image.device)
    kernel[0] = kernel[-1] = 0.5 / size
    half = size // 2
    image = F.conv2d(image, kernel.view(1, 1, 1, -1), padding=(0, half))
    return F.conv2d(image, kernel.view(1, 1, -1, 1), padding=(half, 0))


def enlarge(image: Tensor, level: int) -> Tensor:
    """Return an image (B, 1, h, w) of a level in pixels (B, 1, h * 2**level, w * 2**level)."""
    if level == 0:
        return image
    size = 2**level
    return smooth(image.repeat_interleave(size, 2).repeat_interleave(size, 3) / size, size)


def reduce(image: Tensor, level: int) -> Tensor:
    """Return the adjoint of `enlarge` of pixels (B, 1, H, W)."""
    if level == 0:
        return image
    size = 2**level
    pooled: Tensor = F.avg_pool2d(smooth(image, size), size) * size
    return pooled


def project(image: Tensor, basis: Tensor, level: int) -> Tensor:
    """Return the latents (h, w, D) of pixels (1, 1, H, W) at a level.

    Parameters
    ----------
    image : Tensor (1, 1, H, W)
        Sides are multiples of ``4 * 2**level``.
    basis : Tensor (D, 256)
        Rows are patches, orthonormal.
    level : int
        Which.
    """
    padded = F.pad(reduce(image, level), (OFFSET, PATCH - STRIDE - OFFSET) * 2)
    # a convolution of stride 4 is one of stride 1 over cells: much faster on processors
    kernel = F.pixel_unshuffle(basis.view(-1, 1, PATCH, PATCH), STRIDE)
    latents = F.conv2d(F.pixel_unshuffle(padded, STRIDE), kernel)
    return latents[0].permute(1, 2, 0).contiguous()


def render(
    coefficients: Tensor,
    rows: Tensor,
    columns: Tensor,
    basis: Tensor,
    size: tuple[int, int],
    level: int,
) -> Tensor:
    """Return pixels (1, 1, H, W) of patches at cells of a level.

    Parameters
    ----------
    coefficients : Tensor (T, D)
        Of each patch.
    rows, columns : Tensor (T,) int64
        Their cells.
    basis : Tensor (D, 256)
        Of the model.
    size : (int, int)
        Cells of the level.
    level : int
        Which.
    """
    margin = PATCH - STRIDE
    height, width = size[0] * STRIDE + margin, size[1] * STRIDE + margin
    axis = torch.arange(PATCH, device=basis.device)
    inner = (axis[:, None] * width + axis[None, :]).flatten()
    places = (rows * STRIDE * width + columns * STRIDE)[:, None] + inner[None]
    flat = torch.zeros(height * width, dtype=basis.dtype, device=basis.device)
    flat = flat.index_add(0, places.flatten(), (coefficients @ basis).flatten())
    image = flat.view(1, 1, height, width)
    inside = image[:, :, OFFSET : height - margin + OFFSET, OFFSET : width - margin + OFFSET]
    return enlarge(inside, level)


def star_codes(
    shape: StarShape,
    basis: Tensor,
    level: int,
    families: tuple[tuple[float, int, int], ...] = FAMILIES,
) -> Tensor:
    """Return the codes (STAR_CODES, D), unit norm, of a frame; zeros where they do not fit a level.

    Parameters
    ----------
    shape : StarShape
        Of the frame.
    basis : Tensor (D, 256)
        Of the model.
    level : int
        Codes are made where a star is 1.1 to 8 pixels wide at that level.
    families : tuple
        See `FAMILIES`.
    """
    width = shape.fwhm / 2**level
    if shape.width == 0 or not 1.1 <= width <= 8:
        number = sum(places**2 for _, places, _ in families)
        return torch.zeros(number, basis.shape[0], dtype=basis.dtype, device=basis.device)
    images = []
    for factor, places, derivative in families:
        along = (torch.arange(places, dtype=torch.float64) + 0.5) / places * STRIDE - STRIDE / 2
        dy, dx = along.repeat_interleave(places), along.repeat(places)
        if derivative == 0:
            images.append(profiles(shape, width * factor, dy, dx))
            continue
        ey, ex = (0.3, 0.0) if derivative == 1 else (0.0, 0.3)
        after = profiles(shape, width, dy + ey, dx + ex)
        images.append(after - profiles(shape, width, dy - ey, dx - ex))
    drawn = torch.cat(images).flatten(1).to(basis)
    return F.normalize(drawn @ basis.T, dim=1)


def profiles(shape: StarShape, fwhm: float, dy: Tensor, dx: Tensor) -> Tensor:
    """Return Moffat or Gaussian profiles (N, 16, 16) around places from the middle of a cell."""
    axis = torch.arange(PATCH, dtype=torch.float64) - (OFFSET + STRIDE / 2 - 0.5)
    y = axis[:, None] - dy[:, None, None]
    x = axis[None, :] - dx[:, None, None]
    e1, e2 = shape.e1 * ELLIPTICITY_STEP, shape.e2 * ELLIPTICITY_STEP
    square = (x**2 * (1 - e1) + y**2 * (1 + e1) - 2 * e2 * x * y) / math.sqrt(1 - e1**2 - e2**2)
    beta = BETAS[shape.beta]
    if math.isinf(beta):
        return torch.exp(-4 * math.log(2) * square / fwhm**2)
    scale = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    return (1 + square / scale) ** -beta
