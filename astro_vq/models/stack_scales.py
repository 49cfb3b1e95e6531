"""The scales of sparse tokens for a stack of frames on any device; see `sparse_scales`.

A *stack* is a tensor (B, H, W) of frames of one size. Images of a level have a border of zeros
around each frame, `BORDER` values wide, so that patches of all its cells lie within.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from astro_vq.models.sparse_atoms import OFFSET, PATCH, STRIDE

RING = 4
"""Cells around a frame that hold nothing: as far as patches of a level change latents."""

BORDER = RING * STRIDE
"""Values around a frame that are zero."""

_TOGETHER = 1 << 17  # rows of patches at once


def bordered(frames: Tensor, border: int) -> Tensor:
    """Return frames (B, h, w) with zeros around each."""
    return F.pad(frames, (border,) * 4)


def halve(frames: Tensor) -> Tensor:
    """Return images (B, H / 2, W / 2) of level 1 of pixels (B, H, W)."""
    return _filtered(frames, _TENT, 1) / 2


def corner_sums(frames: Tensor) -> Tensor:
    """Return pixels (B, H, W) weighted by tents two wide around corners (B, H / 2 + 1, W / 2 + 1).

    Every other corner, weighted by `coarser_corners`, gives tents of twice the width, and those
    between them the values of the next level: a tent is the sum of three of half its width.
    """
    return _filtered(frames, _TENT, 2)


def coarser_corners(corners: Tensor) -> Tensor:
    """Return the sums around every other corner, with tents of twice the width."""
    return _filtered(corners, _REFINED, 1)


def image_of(corners: Tensor, level: int) -> Tensor:
    """Return the image of a level, of sums with tents of half its width."""
    return _filtered(corners, _REFINED, 0) / (1 << level)


_TENT, _REFINED = (0.25, 0.75, 0.75, 0.25), (0.5, 1.0, 0.5)


def _filtered(frames: Tensor, weights: tuple[float, ...], pad: int) -> Tensor:
    """Return frames (B, h, w) filtered along either axis, every other value."""
    along = torch.tensor(weights, device=frames.device)
    kernel = (along[:, None] * along).expand(len(frames), 1, -1, -1)
    with torch.backends.cudnn.flags(enabled=False):
        return F.conv2d(frames[None], kernel, stride=2, padding=pad, groups=len(frames))[0]


class Drawn(NamedTuple):
    """Patches as they are drawn.

    Attributes
    ----------
    values : Tensor, shape (T, S, S)
        Pixels.
    frames, tops, lefts : Tensor of int64, shape (T,)
        Where each begins, which may be beyond the border.
    """

    values: Tensor
    frames: Tensor
    tops: Tensor
    lefts: Tensor

    def add_to(self, *images: Tensor, border: int = 0) -> None:
        """Add what lies inside to images (B, H, W) of one size, contiguous and with a border."""
        _, high, wide = images[0].shape
        axis = torch.arange(border, border + self.values.shape[1], device=self.values.device)
        y, x = self.tops[:, None] + axis, self.lefts[:, None] + axis
        rows = torch.where((y >= border) & (y < high - border), self.frames[:, None] * high + y, -1)
        is_inside = (rows >= 0)[:, :, None] & ((x >= border) & (x < wide - border))[:, None]
        places = rows[:, :, None] * wide + x[:, None]
        # what lies outside adds nothing, anywhere: many sums at one place would wait for each other
        anywhere = torch.arange(places.numel(), device=places.device) % images[0].numel()
        places = torch.where(is_inside, places, anywhere.view(places.shape)).flatten()
        values = torch.where(is_inside, self.values, 0).flatten()
        for image in images:
            image.view(-1).scatter_add_(0, places, values)

    def halved(self) -> "Drawn":
        """Return what is drawn in images of level 1; see `halve`."""
        return self._filtered(1, 0.5)

    def corner_sums(self) -> "Drawn":
        """Return what is drawn in sums around corners; see `corner_sums`."""
        return self._filtered(2, 1.0)

    def _filtered(self, pad: int, factor: float) -> "Drawn":
        """Return every other value, filtered; those begin ``pad`` pixels before an even one."""
        before = 3 - (int(self.tops[0]) - 3 + pad) % 2
        values = _filtered(F.pad(self.values, (before, 3, before, 3)), _TENT, 0) * factor
        tops, lefts = ((v - before + pad) // 2 for v in (self.tops, self.lefts))
        return Drawn(values, self.frames, tops, lefts)

    def norms(self) -> "Drawn":
        """Return the norms of what is drawn in each of the finest cells."""
        before = int(self.tops[0]) % STRIDE
        after = -(before + self.values.shape[1]) % STRIDE
        wide = F.pad(self.values, (before, after, before, after))
        norms = F.avg_pool2d(wide.square(), STRIDE).sqrt_() * STRIDE
        tops, lefts = ((v - before) // STRIDE for v in (self.tops, self.lefts))
        return Drawn(norms, self.frames, tops, lefts)


def draw(
    patches: Tensor, place: tuple[Tensor, Tensor, Tensor], size: tuple[int, int], level: int
) -> Drawn:
    """Return what patches (T, 256) of a level draw.

    Parameters
    ----------
    patches : Tensor, shape (T, 256)
        Of the level.
    place : (Tensor, Tensor, Tensor)
        Frame, row and column of the cell of each.
    size : (int, int)
        Of the frames, pixels: what patches have beyond their border counts for nothing.
    level : int
        Which.
    """
    frames, rows, columns = place
    axis = torch.arange(PATCH, device=patches.device)
    y, x = (v[:, None] * STRIDE - OFFSET + axis for v in (rows, columns))
    height, width = (n >> level for n in size)
    tops, lefts = (v * STRIDE - OFFSET for v in (rows, columns))
    values = patches.view(-1, PATCH, PATCH) * ((y >= 0) & (y < height))[:, :, None]
    values = values * ((x >= 0) & (x < width))[:, None]
    if level == 0:
        return Drawn(values, frames, tops, lefts)
    scale = 1 << level
    half = scale // 2
    wide = F.pad(values / scale, (1,) * 4)[:, None]
    drawn = F.interpolate(wide, scale_factor=scale, mode="bilinear", align_corners=False)[:, 0]
    tops, lefts = tops * scale - half, lefts * scale - half
    axis = torch.arange(drawn.shape[1] - scale, device=patches.device)
    y, x = (v[:, None] + axis for v in (tops, lefts))
    values = drawn[:, half:-half, half:-half] * ((y >= 0) & (y < size[0]))[:, :, None]
    return Drawn(values * ((x >= 0) & (x < size[1]))[:, None], frames, tops, lefts)


def inside(values: Tensor, border: int) -> Tensor:
    """Return values (B, h + 2 border, w + 2 border) without their border."""
    return values[:, border:-border, border:-border]


def corners(cells: Tensor, width: int) -> Tensor:
    """Return where patches of cells begin in images with their border, flat.

    Parameters
    ----------
    cells : Tensor of int64
        Numbered row by row and frame by frame, with the ring around each.
    width : int
        Of the images, without border.
    """
    columns = width // STRIDE + 2 * RING
    rows = torch.div(cells, columns, rounding_mode="floor")
    wide = width + 2 * BORDER
    return rows * (STRIDE * wide) + (cells - rows * columns) * STRIDE - OFFSET * (wide + 1)


def project(images: Tensor, cells: Tensor, basis: Tensor, out: Tensor) -> None:
    """Write the products of patches of cells with a basis.

    Parameters
    ----------
    images : Tensor, shape (B, h + 2 BORDER, w + 2 BORDER)
        Of a level, contiguous.
    cells : Tensor of int64, shape (n,)
        See `corners`.
    basis : Tensor, shape (256, D)
        In columns.
    out : Tensor, shape (N, D)
        By cell.
    """
    wide = images.shape[2]
    # patches begin two values after a multiple of four
    flat = images.view(-1)[2:]
    count = (len(flat) - (PATCH - 1) * (wide + 1) - 1) // STRIDE + 1
    patches = flat.as_strided((count, PATCH, PATCH), (STRIDE, wide, 1))
    first = torch.div(corners(cells, wide - 2 * BORDER), STRIDE, rounding_mode="floor")
    for start in range(0, len(cells), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        products = patches.index_select(0, first[part]).flatten(1) @ basis
        out.index_copy_(0, cells[part], products)
