"""From a stack of frames to sparse tokens on any device; see `sparse_encoder`, which it follows.

Frames of a stack share size, star shape and noise. On a GPU the last digits of sums depend on the
order in which they are added, so that a token in many thousands may differ from run to run.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from astro_vq.models.sparse_atoms import LEVELS, STRIDE, StarShape
from astro_vq.models.sparse_books import BookMaker
from astro_vq.models.sparse_encoder import AGAIN, DRIFT, LOOK, STAGES, TOLERANCE, criteria_of
from astro_vq.models.sparse_gains import gain_values
from astro_vq.models.stack_latents import StackResidual
from astro_vq.models.stack_pursuit import Gains, Taken, pursue, refit
from astro_vq.models.stack_scales import RING, bordered

_STEPS = 5  # of refitting


class StackPursuit:
    """Tokens of a stack of frames, taken step by step.

    Parameters
    ----------
    pixels : Tensor of float32, shape (B, H, W)
        Sky subtracted, in sigma; 0 where missing. Work is done on its device.
    maker : BookMaker
        Of the model.
    star : StarShape
        Of the frames.
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise, in sigma squared.
    tokens : int
        Most tokens of a position.
    tolerance : float
        See `astro_vq.models.sparse_encoder.Quality`.
    """

    def __init__(
        self,
        pixels: Tensor,
        maker: BookMaker,
        star: StarShape,
        covariance: NDArray[np.float64],
        *,
        tokens: int,
        tolerance: float = TOLERANCE,
    ) -> None:
        device = pixels.device
        books = maker.books(star)
        basis = torch.from_numpy(maker.basis).to(device)
        criteria = criteria_of(books, maker, covariance)
        self._residual = StackResidual(pixels, basis, books, criteria)
        self._gains = Gains(torch.from_numpy(gain_values()).to(device))
        self._found = [(Taken.none(device), self._order(0, 0, device)) for _ in range(LEVELS)]
        shape = self._residual.levels[0].shape
        self._near = torch.zeros(shape, device=device)
        self._free = torch.full(shape, tokens, device=device)
        self._size = pixels.shape[1:]
        self._tolerance = tolerance
        self._taken = 0

    @staticmethod
    def _order(start: int, stop: int, device: torch.device) -> Tensor:
        return torch.arange(start, stop, device=device)

    @property
    def left(self) -> Tensor:
        """What is left of the pixels (B, H, W); it changes."""
        return self._residual.left[:, : self._size[0], : self._size[1]]

    def run(self, threshold: float, *, again: bool = False) -> None:
        """Take tokens until none is worth its bits; see `sparse_encoder.Pursuit.run`."""
        for factor in AGAIN if again else STAGES:
            self.stage(threshold * factor)

    def stage(self, threshold: float) -> None:
        """Take tokens of all levels, once, on what is left."""
        levels = self._residual.levels
        for n in range(LEVELS):
            self._residual.refresh(n, DRIFT * threshold, LOOK * threshold)
        allowed = _allowed([level.grid(level.strength) for level in levels])
        for n in reversed(range(LEVELS)):
            self._run_level(n, threshold, allowed[n] & ~self._beyond(n))

    def _run_level(self, n: int, threshold: float, allowed: Tensor) -> None:
        found, order = self._found[n]
        if not len(found.cells) and not bool(allowed.any()):
            return
        self._residual.refresh(n, DRIFT * threshold, LOOK * threshold)
        level, step = self._residual.levels[n], 1 << n
        near = bordered(_coarsen(self._near, step), RING)
        free = bordered(self._free[:, ::step, ::step], RING)
        taken = pursue(
            level,
            near.view(-1),
            bordered(allowed, RING).view(-1),
            free.view(-1),
            self._gains,
            threshold=threshold,
            tolerance=self._tolerance,
        )
        everything = found.joined(taken)
        if not len(everything.cells):
            return
        new = everything._replace(gains=refit(level, everything, self._gains, _STEPS))
        change = self._gains.values(new.gains)
        change[: len(found.cells)] -= self._gains.values(found.gains)
        moved = change != 0
        if bool(moved.any()):
            tokens = new.cells[moved], new.codes[moved], change[moved]
            self._residual.subtract(n, *tokens)
        gone = new.gains == 0
        free.view(-1).scatter_add_(0, new.cells[gone], torch.ones_like(new.cells[gone]))
        self._free[:, ::step, ::step] = level.grid(free.view(-1))
        device = self._near.device
        order = torch.cat([order, self._order(self._taken, self._taken + len(taken.cells), device)])
        self._taken += len(taken.cells)
        stays = (~gone).nonzero()[:, 0]
        self._found[n] = new.some(stays), order.index_select(0, stays)
        has_tokens = torch.zeros(len(near), device=device)
        has_tokens[level.places(everything.cells)[0]] = 1
        spread = level.grid(near.view(-1)) * has_tokens[:, None, None]
        wide = F.interpolate(spread[:, None], scale_factor=step)
        torch.maximum(self._near, wide[:, 0], out=self._near)

    def _beyond(self, n: int) -> Tensor:
        """Return which cells (h, w) of a level begin beyond the border."""
        _, *shape = self._residual.levels[n].shape
        device = self._near.device
        y, x = (self._order(0, k, device) << n for k in shape)
        inside = [-(-k // STRIDE) for k in self._size]
        return (y[:, None] >= inside[0]) | (x >= inside[1])

    def tokens(self) -> tuple[Tensor, Tensor]:
        """Return what was taken so far.

        Returns
        -------
        rows : Tensor of int64, shape (T, 6)
            Frame, level, row and column of the position, code, and gain with its sign: frame by
            frame, in the order taken.
        limits : Tensor, shape (T,)
            See `astro_vq.models.sparse_encoder.Tokens`.
        """
        rows, orders, limits = [], [], []
        for n, (found, order) in enumerate(self._found):
            frame, y, x = self._residual.levels[n].places(found.cells)
            level = torch.full_like(frame, n)
            rows.append(torch.stack([frame, level, y << n, x << n, found.codes, found.gains], 1))
            orders.append(order)
            limits.append(found.limits)
        every = torch.cat(rows)
        first = torch.argsort(every[:, 0] * (self._taken + 1) + torch.cat(orders))
        return every[first], torch.cat(limits)[first]


def _allowed(strength: list[Tensor]) -> list[Tensor]:
    """Return the cells of each level that explain more than every finer cell around them."""
    allowed = [torch.ones_like(strength[0], dtype=torch.bool)]
    finer = torch.zeros_like(strength[0])
    for own, coarse in pairwise(strength):
        finer = _coarsen(torch.maximum(finer, own), 2)
        allowed.append(coarse >= _largest_around(finer, 5))
    return allowed


def _coarsen(values: Tensor, step: int) -> Tensor:
    """Return the largest of each step x step values (B, h, w)."""
    return F.max_pool2d(values, step) if step > 1 else values.clone()


def _largest_around(values: Tensor, side: int) -> Tensor:
    """Return the largest of side x side values (B, h, w) around each; all are 0 or more."""
    return F.max_pool2d(values, side, 1, side // 2)
