"""Matching pursuit over the latents of a stack of frames, many cells at a time.

As `sparse_pursuit` does it, but every cell that stands out among those its overlaps reach takes a
code in the same step, and gains are refitted in the same way: first those that change most.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from astro_vq.models.sparse_books import REACH
from astro_vq.models.stack_latents import StackLevel

_LEAST = 0.75  # weighted gain of the first look, in thresholds, from which on all codes are tried
_SLIGHT = 0.1  # sigma: changes of latents that matter to no score
_STEPS = 200  # at most
_MANY = 1 << 14  # cells from which on only some of those that wait are tried
_TOGETHER = 1 << 14  # cells that are tried with all codes at once


class Taken(NamedTuple):
    """Tokens of a level, one after the other.

    Attributes
    ----------
    cells, codes, gains : Tensor of int64, shape (T,)
        Cell, code, and index of the gain with its sign.
    limits : Tensor, shape (T,)
        The threshold at which each would just have been taken.
    """

    cells: Tensor
    codes: Tensor
    gains: Tensor
    limits: Tensor

    @classmethod
    def none(cls, device: torch.device) -> "Taken":
        """Return no tokens."""
        empty = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(empty, empty, empty, torch.zeros(0, device=device))

    def some(self, some: Tensor) -> "Taken":
        """Return those with some numbers."""
        return Taken(*(values.index_select(0, some) for values in self))

    def joined(self, other: "Taken") -> "Taken":
        """Return these and others."""
        return Taken(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


class Gains:
    """The values of gains on a device; see `sparse_gains`."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._halfway = (values[1:] + values[:-1]) / 2

    def indices(self, sizes: Tensor) -> Tensor:
        """Return the index of the nearest to each, with its sign; 0 for what is too small."""
        return torch.bucketize(sizes.abs(), self._halfway) * sizes.sign().long()

    def values(self, indices: Tensor) -> Tensor:
        """Return the values of indices with their signs."""
        return self._values[indices.abs()] * indices.sign()


def pursue(
    level: StackLevel,
    near: Tensor,
    allowed: Tensor,
    free: Tensor,
    gains: Gains,
    *,
    threshold: float,
    tolerance: float,
) -> Taken:
    """Take codes, the most significant around first, until none is worth its bits.

    Parameters
    ----------
    level : StackLevel
        Changed in place.
    near : Tensor, shape (N,)
        Largest gain taken around each cell; updated.
    allowed : Tensor of bool, shape (N,)
        Cells that may take codes.
    free : Tensor of int64, shape (N,)
        How many more codes each may take; updated.
    gains : Gains
        Values of gains.
    threshold, tolerance : float
        See `astro_vq.models.sparse_pursuit.pursue`.
    """
    share = tolerance * threshold
    reach, close, next_to = (level.around(k, near.device) for k in (REACH, 2, 1))
    height = _heights(near, threshold, share)
    score = torch.where(allowed & (height < level.hopeless), level.looked / height, 0)
    taken, nearby = [Taken.none(near.device)], [near[:0]]
    for _ in range(_STEPS):
        waiting = (score > _LEAST).nonzero()[:, 0]
        if not len(waiting):
            break
        tried = waiting
        if len(waiting) > _MANY:
            tried = waiting.index_select(0, _tops(score, waiting, next_to))
        heights = height.index_select(0, tried)
        found, worth = _choose(level, tried, heights, gains)
        is_good = (worth > 1) & (found.gains != 0) & (free.index_select(0, tried) > 0)
        _note_hopeless(level, tried, heights, worth)
        values = score.index_select(0, tried)
        score.index_copy_(0, tried, torch.where(is_good, values, values.clamp(max=_LEAST)))
        good = is_good.nonzero()[:, 0]
        if not len(good):
            continue
        best = torch.zeros_like(score).index_copy_(0, tried, torch.where(is_good, values, 0))
        good = good.index_select(0, _tops(best, tried.index_select(0, good), reach))
        found = found.some(good)
        cells, codes = found.cells, found.codes
        taken.append(found)
        nearby.append(near.index_select(0, cells))
        sizes = gains.values(found.gains)
        free.scatter_add_(0, cells, torch.full_like(cells, -1))
        around = (cells[:, None] + close).flatten()
        brightness = sizes.abs().repeat_interleave(len(close))
        near.scatter_reduce_(0, around, brightness, "amax")
        height.index_copy_(0, around, _heights(near.index_select(0, around), threshold, share))
        moved = _subtract(level, cells, codes, sizes, reach)
        changed = torch.zeros_like(score).scatter_add_(
            0, (cells[:, None] + reach).flatten(), (moved > _SLIGHT).to(score).flatten()
        )
        again = ((changed > 0) & allowed).nonzero()[:, 0]
        level.look(again)
        level.hopeless.index_fill_(0, again, torch.inf)
        values = level.looked.index_select(0, again) / height.index_select(0, again)
        score.index_copy_(0, again, values)
    every = Taken(*(torch.cat(values) for values in zip(*taken, strict=True)))
    bend = tolerance * torch.cat(nearby)
    return every._replace(limits=_limits(level, every.codes, every.limits, bend))


def _heights(near: Tensor, threshold: float, share: float) -> Tensor:
    """Return thresholds next to brightness, a share of which may stay."""
    return threshold * torch.sqrt(1 + (share * near).square())


def _tops(score: Tensor, cells: Tensor, around: Tensor) -> Tensor:
    """Return which of some cells have the largest score around; of equal ones the first, flat."""
    own = score.index_select(0, cells)[:, None]
    others = score.take(cells[:, None] + around)
    beaten = (others > own) | ((others == own) & (around < 0))
    return (~beaten.any(1)).nonzero()[:, 0]


def _choose(
    level: StackLevel, cells: Tensor, heights: Tensor, gains: Gains
) -> tuple[Taken, Tensor]:
    """Return the codes most worth their bits, with gains as limits, and what is to exceed 1."""
    sizes, every, worths = [], [], []
    for start in range(0, len(cells), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        squares = heights[part].square()
        products = level.weighted @ level.z.index_select(0, cells[part]).T
        worth = torch.addr(products.square(), level.cost, squares, alpha=-1)
        best, codes = worth.max(0)
        size = products.gather(0, codes[None])[0] / level.weights.index_select(0, codes)
        sizes.append(size)
        every.append(codes)
        worths.append(best / squares)
    size = torch.cat(sizes)
    return Taken(cells, torch.cat(every), gains.indices(size), size), torch.cat(worths)


def _note_hopeless(level: StackLevel, cells: Tensor, heights: Tensor, worth: Tensor) -> None:
    """Note from which heights on no code of cells is worth its bits: see `sparse_pursuit`."""
    ratio = (worth + level.dearest).clamp_(min=0) / (1 + level.dearest)
    least = torch.where(worth > 1, torch.inf, ratio.sqrt_() * heights)
    level.hopeless.index_copy_(0, cells, least)


def _limits(level: StackLevel, codes: Tensor, sizes: Tensor, near: Tensor) -> Tensor:
    """Return the thresholds at which codes of such gains would just be taken."""
    significance = (sizes * level.weights[codes]).square()
    square = significance / (1 + level.cost[codes])
    bend = 2 * near.square()
    root = (torch.sqrt(1 + 2 * bend * square) - 1) / bend
    return torch.where(bend > 0, root, square).sqrt_()


def _subtract(
    level: StackLevel, cells: Tensor, codes: Tensor, gains: Tensor, reach: Tensor
) -> Tensor:
    """Take codes out of the latents around cells; return by how much each moves, (T, 49)."""
    places = (cells[:, None] + reach).flatten()
    change = level.overlaps.index_select(0, codes) * -gains[:, None, None]
    level.z.index_add_(0, places, change.flatten(0, 1))
    moved = level.sizes.index_select(0, codes) * gains.abs()[:, None]
    level.unscored.scatter_add_(0, places, moved.flatten())
    return moved


def refit(level: StackLevel, taken: Taken, gains: Gains, steps: int) -> Tensor:
    """Choose gains of codes again, for the least left: at each step those that change most around.

    Parameters
    ----------
    level : StackLevel
        Its latents change.
    taken : Taken
        Tokens of the level.
    gains : Gains
        Values of gains.
    steps : int
        How many.

    Returns
    -------
    Tensor of int64, shape (T,)
        New gains; 0 where a code is not needed any more.
    """
    cells, codes = taken.cells, taken.codes
    index = taken.gains.clone()
    if not len(cells):
        return index
    reach = level.around(REACH, cells.device)
    aims = level.aims[codes]
    for _ in range(steps):
        value = gains.values(index)
        new = gains.indices(value + (level.z.index_select(0, cells) * aims).sum(1))
        change = gains.values(new) - value
        moves = (new != index) & (index != 0)
        some = moves.nonzero()[:, 0]
        if not len(some):
            break
        # of all that would change, one stands out among those around: the largest, then the first
        places, sizes = cells.index_select(0, some), change.index_select(0, some).abs()
        largest = torch.zeros_like(level.drift).scatter_reduce_(0, places, sizes, "amax")
        kept = (largest.take(places[:, None] + reach).amax(1) == sizes).nonzero()[:, 0]
        some, places = some.index_select(0, kept), places.index_select(0, kept)
        first = torch.full_like(level.drift, torch.inf)
        first.scatter_reduce_(0, places, some.to(first), "amin")
        kept = (first.take(places[:, None] + reach).amin(1) == some).nonzero()[:, 0]
        some = some.index_select(0, kept)
        moved = codes.index_select(0, some), change.index_select(0, some)
        _subtract(level, cells.index_select(0, some), *moved, reach)
        index.index_copy_(0, some, new.index_select(0, some))
    return index
