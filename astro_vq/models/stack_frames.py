"""Tokens of many frames of one size at once, and what they draw, on any device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_vq.models.sparse_atoms import LEVELS, STRIDE, StarShape
from astro_vq.models.sparse_books import BookMaker
from astro_vq.models.sparse_encoder import Quality
from astro_vq.models.sparse_gains import gain_values
from astro_vq.models.stack_encoder import StackPursuit
from astro_vq.models.stack_polish import polish_stack
from astro_vq.models.stack_pursuit import Gains
from astro_vq.models.stack_scales import draw

_PIXELS = 1 << 28  # whose fluxes are set right at once
_TOKENS = 1 << 17  # of the finest level that are drawn at once


def encode_stack(
    pixels: Tensor,
    maker: BookMaker,
    star: StarShape,
    covariance: NDArray[np.float64],
    *,
    tokens: int,
    quality: Quality,
) -> Tensor:
    """Return the tokens of a stack of frames, on the device of its pixels.

    Parameters
    ----------
    pixels : Tensor of float32, shape (B, H, W)
        Sky subtracted, in sigma; 0 where missing.
    maker : BookMaker
        Of the model.
    star : StarShape
        Of all frames.
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise, in sigma squared.
    tokens : int
        Most tokens of a position.
    quality : Quality
        When a token is worth its bits.

    Returns
    -------
    Tensor of int64, shape (T, 6)
        Frame, and what `astro_vq.models.sparse_encoder.Tokens` has; frame by frame.
    """
    pursuit = StackPursuit(
        pixels, maker, star, covariance, tokens=tokens, tolerance=quality.tolerance
    )
    pursuit.run(quality.threshold)
    pursuit.run(quality.threshold, again=True)
    rows = [pursuit.tokens()[0]]
    step = max(_PIXELS // pixels[0].numel(), 1)
    for part in (slice(first, first + step) for first in range(0, len(pixels), step)):
        more = polish_stack(
            maker,
            star,
            pixels=pixels[part],
            left=pursuit.left[part].contiguous(),
            covariance=covariance,
            threshold=quality.threshold,
        )
        more[:, 0] += part.start
        rows.append(more)
    every = torch.cat(rows)
    every = every[torch.argsort(every[:, 0], stable=True)]
    return every[number_at_place(every) < tokens]


def number_at_place(rows: Tensor) -> Tensor:
    """Return the number (T,) of each token (T, 6) among those of its position, from 0 on."""
    place = (rows[:, 0] << 40) + (rows[:, 2] << 20) + rows[:, 3]
    order = torch.argsort(place, stable=True)
    in_order = place[order]
    number = torch.empty_like(order)
    first = torch.searchsorted(in_order, in_order)
    number[order] = torch.arange(len(rows), device=rows.device) - first
    return number


def draw_stack(
    rows: Tensor, maker: BookMaker, star: StarShape, size: tuple[int, int, int]
) -> Tensor:
    """Return what tokens (T, 6), see `encode_stack`, draw: frames (B, H, W) in sigma.

    Sums are in the order of the device: equal to what a file decodes to but for rounding.
    """
    frames, *sides = size
    unit = STRIDE << LEVELS - 1
    height, width = (-(-n // unit) * unit for n in sides)
    gains = Gains(torch.from_numpy(gain_values()).to(rows.device))
    out = torch.zeros(frames, height, width, device=rows.device)
    for n in range(LEVELS):
        here = rows[rows[:, 1] == n]
        if not len(here):
            continue
        patches = torch.from_numpy(maker.patches(n, star)).to(rows.device)
        together = max(_TOKENS >> 2 * n, 1)
        for start in range(0, len(here), together):
            frame, _, y, x, code, gain = here[start : start + together].T
            values = patches[code] * gains.values(gain)[:, None]
            draw(values, (frame, y >> n, x >> n), (height, width), n).add_to(out)
    return out[:, : sides[0], : sides[1]]
