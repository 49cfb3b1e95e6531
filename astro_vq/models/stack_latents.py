"""What is left of a stack of frames, and its latents; see `sparse_latents`.

Cells of all frames are numbered in one row, each frame with a ring of cells around that hold
nothing, so that neighbours of a cell are at fixed distances.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from astro_vq.models.sparse_atoms import LEVELS, PATCH, STRIDE, FloatArray
from astro_vq.models.sparse_books import MEASURED, Book
from astro_vq.models.sparse_looks import Criterion
from astro_vq.models.stack_scales import (
    BORDER,
    RING,
    bordered,
    coarser_corners,
    corner_sums,
    draw,
    halve,
    image_of,
    inside,
    project,
)

_UNMEASURED = 0.02  # error of overlaps of levels whose overlaps are taken to be like others'
_TOGETHER = 1 << 17  # cells that are looked at at once
_DRAWN = 1 << 25  # pixels that are drawn at once


class StackLevel:
    """Latents of a level and what is known of them; all flat, by cell.

    Attributes
    ----------
    codes, first, patches, overlaps, sizes, aims, norms, edges : Tensor
        See `astro_vq.models.sparse_books.Book`.
    weights, cost : Tensor
        See `Criterion`.
    weighted : Tensor, shape (N, D)
        Codes times their weights.
    z : Tensor, shape (N, D)
        Latents.
    strength, looked, drift, unscored : Tensor, shape (N,)
        See `astro_vq.models.sparse_latents.Level`.
    is_inside : Tensor of bool, shape (N,)
        Whether cells are of a frame, not of a ring.
    hopeless : Tensor, shape (N,)
        Threshold, times what brightness nearby does to it, from which on no code is worth its bits.
    steepest : float
        How much what is looked for may change when latents change by one, at most.
    """

    def __init__(
        self, book: Book, criterion: Criterion, cells: tuple[int, int, int], device: torch.device
    ) -> None:
        def on_device(values: FloatArray) -> Tensor:
            return torch.from_numpy(values).to(device)

        self.codes, self.first, self.patches = map(on_device, book[:3])
        self.overlaps, self.sizes, self.aims = map(on_device, book[3:6])
        self.norms, self.edges = map(on_device, book[6:])
        self.weights, first_weights, self.cost = map(on_device, criterion)
        self._weighted = self.first * first_weights[:, None]
        self.weighted = self.codes * self.weights[:, None]
        self.shape = cells
        self.wide = cells[2] + 2 * RING
        number = cells[0] * (cells[1] + 2 * RING) * self.wide
        self.z = torch.zeros(number, self.codes.shape[1], device=device)
        self.strength, self.looked, self.drift, self.unscored = torch.zeros(
            4, number, device=device
        )
        self.grid(self.drift).fill_(torch.inf)
        self.hopeless = torch.full_like(self.drift, torch.inf)
        self.dearest = max(float(self.cost.max()), 0.0)
        self.is_inside = torch.zeros_like(self.drift, dtype=torch.bool)
        self.grid(self.is_inside).fill_(True)
        self.steepest = float(self._weighted.norm(dim=1).max())

    def grid(self, values: Tensor) -> Tensor:
        """Return values of cells as (B, h, w), without the ring."""
        return inside(values.view(self.shape[0], -1, self.wide), RING)

    def places(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return frame, row and column of cells."""
        rows = torch.div(cells, self.wide, rounding_mode="floor")
        high = self.shape[1] + 2 * RING
        frames = torch.div(rows, high, rounding_mode="floor")
        return frames, rows - frames * high - RING, cells - rows * self.wide - RING

    def around(self, reach: int, device: torch.device) -> Tensor:
        """Return the distances of the cells around one, row by row."""
        axis = torch.arange(-reach, reach + 1, device=device)
        return (axis[:, None] * self.wide + axis).flatten()

    def look(self, cells: Tensor) -> None:
        """Write the first look at cells."""
        for start in range(0, len(cells), _TOGETHER):
            part = cells[start : start + _TOGETHER]
            z = self.z.index_select(0, part).T
            for out, codes in ((self.strength, self.first), (self.looked, self._weighted)):
                out.index_copy_(0, part, torch.linalg.vector_norm(codes @ z, torch.inf, 0))
        self.unscored.index_fill_(0, cells, 0)


class StackResidual:
    """What is left of frames, with its latents.

    Parameters
    ----------
    pixels : Tensor, shape (B, H, W)
        Sky subtracted, in sigma; 0 where missing.
    basis : Tensor, shape (D, 256)
        Of the model.
    books, criteria : list
        Of all levels.

    Attributes
    ----------
    left : Tensor, shape (B, H', W')
        Pixels, with zeros up to whole cells of the coarsest level.
    levels : list of StackLevel
        Latents.
    """

    def __init__(
        self, pixels: Tensor, basis: Tensor, books: list[Book], criteria: list[Criterion]
    ) -> None:
        frames, *size = pixels.shape
        unit = STRIDE << LEVELS - 1
        height, width = (-(-n // unit) * unit for n in size)
        whole = torch.zeros(frames, height + 2 * BORDER, width + 2 * BORDER, device=pixels.device)
        whole[:, BORDER : BORDER + size[0], BORDER : BORDER + size[1]] = pixels
        self._whole = whole
        self.left = inside(whole, BORDER)
        pixels = self.left.contiguous()
        self._half = bordered(halve(pixels), BORDER)
        # sums around corners, with tents of 2, 4, 8 ... pixels
        self._corners: list[Tensor | None] = [corner_sums(pixels)] + [None] * (LEVELS - 3)
        self._basis = basis.T.contiguous()
        self.levels = [
            StackLevel(book, criterion, (frames, height // cell, width // cell), pixels.device)
            for cell, book, criterion in zip(
                (STRIDE << n for n in range(LEVELS)), books, criteria, strict=True
            )
        ]
        cells = self.levels[0].shape
        # norms of what changed in each finest cell since each level knew of it
        self._changes = [torch.zeros(cells, device=pixels.device) for _ in range(LEVELS)]
        self._has_changed = [False] * LEVELS

    def _image(self, n: int) -> Tensor:
        """Return the image of a level, with its border."""
        if n < 2:
            return self._half if n else self._whole
        return bordered(image_of(self._sums_around_corners(n - 2), n), BORDER)

    def _sums_around_corners(self, n: int) -> Tensor:
        sums = self._corners[n]
        if sums is None:
            sums = self._corners[n] = coarser_corners(self._sums_around_corners(n - 1))
        return sums

    def refresh(self, n: int, tolerance: float, least: float) -> None:
        """Make latents and scores of a level anew; see `sparse_latents.Residual.refresh`."""
        self._raise_drift(n)
        level = self.levels[n]
        away = level.drift + level.unscored
        stale = (
            level.is_inside & (away > tolerance) & (level.looked + away * level.steepest >= least)
        )
        scored = stale.nonzero()[:, 0]
        if len(scored):
            moved = scored[level.drift.index_select(0, scored) > tolerance]
            if len(moved):
                project(self._image(n), moved, self._basis, level.z)
                level.drift.index_fill_(0, moved, 0)
            level.look(scored)
            level.hopeless.index_fill_(0, scored, torch.inf)

    def subtract(self, n: int, cells: Tensor, codes: Tensor, gains: Tensor) -> None:
        """Take tokens out of the pixels; the latents of their level lack them already."""
        level = self.levels[n]
        frames, rows, columns = level.places(cells)
        height, width = self.left.shape[1:]
        together = max(_DRAWN // (PATCH << n) ** 2, 1)
        for start in range(0, len(cells), together):
            part = slice(start, start + together)
            patches = level.patches[codes[part]] * -gains[part, None]
            place = frames[part], rows[part], columns[part]
            drawn = draw(patches, place, (height, width), n)
            drawn.add_to(self._whole, border=BORDER)
            drawn.halved().add_to(self._half, border=BORDER)
            drawn.corner_sums().add_to(self._sums_around_corners(0))
            changes = [c for m, c in enumerate(self._changes) if m != n]
            drawn.norms().add_to(*changes)
        self._corners[1:] = [None] * (LEVELS - 3)
        for m in range(LEVELS):
            self._has_changed[m] |= m != n
        sizes = gains.abs()
        bounds = sizes * (level.edges[codes] + (_UNMEASURED if n >= MEASURED else 0))
        if n:
            self._raise(level, cells, bounds, 9)
        at_border = _at_border(level, rows, columns)
        self._raise(level, cells, sizes * level.norms[codes] * at_border, 7)

    def _raise_drift(self, n: int) -> None:
        """Add to the drift of a level what pixels changed since it was last done."""
        if not self._has_changed[n]:
            return
        level = self.levels[n]
        energy = F.avg_pool2d(self._changes[n].square(), 1 << n) * (1 << 2 * n)
        level.grid(level.drift).add_(_sum_around(energy, 5).sqrt_())
        self._changes[n].zero_()
        self._has_changed[n] = False

    def _raise(self, level: StackLevel, cells: Tensor, bounds: Tensor, side: int) -> None:
        """Add bounds to the drift of so many cells around some."""
        around = (cells[:, None] + level.around(side // 2, cells.device)).flatten()
        level.drift.scatter_add_(0, around, bounds.repeat_interleave(side**2))


def _at_border(level: StackLevel, y: Tensor, x: Tensor) -> Tensor:
    """Return whether patches reach over the border, where overlaps do not hold."""
    _, height, width = level.shape
    return (y < 2) | (y >= height - 3) | (x < 2) | (x >= width - 3)


def _sum_around(values: Tensor, side: int) -> Tensor:
    """Return sums of side x side values (B, h, w) around each; none below zero."""
    return (F.avg_pool2d(values, side, 1, side // 2) * side**2).clamp_(min=0)
