"""Tokens that set fluxes right, of a stack of frames on any device; see `sparse_polish`."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from astro_vq.models.sparse_atoms import STAR_CODES, STRIDE, StarShape
from astro_vq.models.sparse_books import BookMaker
from astro_vq.models.sparse_gains import gain_values
from astro_vq.models.sparse_peaks import height_of, kernel_of
from astro_vq.models.sparse_polish import (
    AROUND,
    LEAST,
    OWN,
    PLACES,
    RADIUS,
    SHARE,
    STAYS,
    aperture_noise,
    level_of,
    peak_noise,
    seen_at,
    shares,
)
from astro_vq.models.stack_pursuit import Gains
from astro_vq.models.stack_scales import draw

_APERTURE = 11  # pixels on a side of what is looked at


def polish_stack(
    maker: BookMaker,
    star: StarShape,
    *,
    pixels: Tensor,
    left: Tensor,
    covariance: NDArray[np.float64],
    threshold: float,
) -> Tensor:
    """Return tokens (T, 6) that leave little flux in the apertures around sources.

    Parameters
    ----------
    maker, star, covariance, threshold
        See `astro_vq.models.sparse_polish.polish`.
    pixels, left : Tensor, shape (B, H, W)
        Pixels, and what is left of them, in sigma, 0 where missing, contiguous; `left` is changed.

    Returns
    -------
    Tensor of int64, shape (T, 6)
        Frame, level, row and column of the position, code, and gain with its sign.
    """
    level = level_of(star)
    if level is None:
        return torch.zeros((0, 6), dtype=torch.int64, device=left.device)
    device = left.device
    noise = aperture_noise(covariance)
    stars = maker.patches(level, star)[-STAR_CODES:]
    patches = torch.from_numpy(stars).to(device)
    seen = seen_at(threshold)
    least = max(LEAST, seen) * peak_noise(covariance, star)
    frames, y, x = _find_peaks(pixels, star, least)
    light = _sums(pixels, frames, y, x) - _sums(_means_around(pixels), frames, y, x)
    stays = torch.full_like(light, STAYS * seen * noise)
    limit = torch.hypot(stays, SHARE * threshold * seen * light)
    limit = torch.where(light > OWN * noise, limit, max(LEAST, threshold) * noise)
    cell = STRIDE << level
    rows, columns = (torch.floor(v / cell).long() for v in (y, x))
    row, column = (
        ((v / cell - n) * PLACES).long().clamp(0, PLACES - 1) for v, n in ((y, rows), (x, columns))
    )
    codes = row * PLACES + column
    share = torch.from_numpy(shares(stars, level)).to(y)[codes]
    gains = Gains(torch.from_numpy(gain_values()).to(device))
    kept = [torch.zeros((0, 6), dtype=torch.int64, device=device)]
    later = _has_brighter(pixels, frames, y, x, light)
    for these in (~later, later, torch.ones_like(later)):
        flux = _sums(left, frames, y, x)
        index = gains.indices(flux / share)
        take = (these & (flux.abs() > limit) & (index != 0)).nonzero()[:, 0]
        if not len(take):
            continue
        place = frames[take], rows[take], columns[take]
        values = patches[codes[take]] * -gains.values(index[take])[:, None]
        draw(values, place, (left.shape[1], left.shape[2]), level).add_to(left)
        ones = torch.full_like(take, level)
        code = codes[take] + len(maker.learnt(level))
        kept.append(
            torch.stack(
                [place[0], ones, place[1] << level, place[2] << level, code, index[take]], 1
            )
        )
    return torch.cat(kept)


def _has_brighter(pixels: Tensor, frames: Tensor, y: Tensor, x: Tensor, light: Tensor) -> Tensor:
    """Return which sources (T,) have a brighter one whose aperture may overlap with theirs."""
    place = (frames * pixels.shape[1] + y.long()) * pixels.shape[2] + x.long()
    brightest = torch.full_like(pixels, -torch.inf)
    brightest.view(-1).scatter_reduce_(0, place, light, "amax")
    reach = int(2 * RADIUS)
    rows = F.max_pool2d(brightest, (2 * reach + 1, 1), 1, (reach, 0))
    around = F.max_pool2d(rows, (1, 2 * reach + 1), 1, (0, reach))
    return around.take(place) > light


def _find_peaks(pixels: Tensor, star: StarShape, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return frame and place of sources; see `sparse_peaks.find_peaks`."""
    half = torch.from_numpy(kernel_of(star)).to(pixels)
    kernel = torch.cat([half[1:].flip(0), half])
    smooth = _along_both(pixels, kernel)
    height, width = pixels.shape[1:]
    top = F.max_pool2d(smooth, 5, 1, 2)
    inside = torch.zeros_like(smooth, dtype=torch.bool)
    inside[:, 1:-1, 1:-1] = True
    peaks = inside & (smooth > height_of(star, least)) & (smooth == top)
    frames, y, x = peaks.nonzero().T
    place = (frames * height + y) * width + x
    value = smooth.take(place)

    def vertex(step: int) -> Tensor:
        before, after = smooth.take(place - step), smooth.take(place + step)
        bend = (2 * value - before - after).clamp(min=1e-6)
        return ((after - before) / (2 * bend)).clamp(-0.5, 0.5)

    return frames, y + 0.5 + vertex(width), x + 0.5 + vertex(1)


def _along_both(frames: Tensor, kernel: Tensor) -> Tensor:
    """Return frames (B, H, W) filtered along either axis, zero beyond."""
    count, reach = len(frames), len(kernel) // 2
    tall = kernel.view(-1, 1).expand(count, 1, -1, 1)
    with torch.backends.cudnn.flags(enabled=False):
        rows = F.conv2d(frames[None], tall, padding=(reach, 0), groups=count)
        return F.conv2d(rows, tall.mT, padding=(0, reach), groups=count)[0]


def _means_around(frames: Tensor) -> Tensor:
    """Return the means of the pixels around each, zero beyond."""
    half = AROUND // 2
    rows = F.avg_pool2d(frames, (AROUND, 1), 1, (half, 0))
    return F.avg_pool2d(rows, (1, AROUND), 1, (0, half))


def _sums(images: Tensor, frames: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the sums over apertures around places; pixels at the rim count in part."""
    _, height, width = images.shape
    axis = torch.arange(_APERTURE, device=images.device) - _APERTURE // 2
    rows, columns = (v.long()[:, None] + axis for v in (y, x))
    away = torch.hypot(
        ((rows + 0.5) - y[:, None])[:, :, None].expand(-1, -1, _APERTURE),
        ((columns + 0.5) - x[:, None])[:, None].expand(-1, _APERTURE, -1),
    )
    weights = (RADIUS + 0.5 - away).clamp(0, 1)
    weights *= ((rows >= 0) & (rows < height))[:, :, None]
    weights *= ((columns >= 0) & (columns < width))[:, None]
    first = (frames[:, None] * height + rows.clamp(0, height - 1)) * width
    places = first[:, :, None] + columns.clamp(0, width - 1)[:, None]
    return (images.take(places) * weights).sum((1, 2))
