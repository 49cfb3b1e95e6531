"""From a frame to sparse tokens: levels from coarse to fine, several rounds, on what is left.

What is left of the frame is kept in pixels, its products with the basis at every level as
*latents*. Only latents near something that was taken since are made again.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.models.sparse_atoms import LEVELS, STAR_CODES, STRIDE, FloatArray, StarShape
from astro_vq.models.sparse_books import MEASURED, Book, BookMaker, latent_noise
from astro_vq.models.sparse_gains import GAINS, gain_values, signed_values
from astro_vq.models.sparse_pursuit import Criterion, pursue, refit
from astro_vq.models.sparse_scales import Patches, draw

IntArray = NDArray[np.int64]

_STAGES = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.4)  # thresholds before the one that is asked for
_SWEEPS = 3
_FOLLOWING = 0.4  # threshold near tokens, in that of new sources, for what an aperture sees
_TOLERANCE = 0.001  # share of a bright source that may stay, at a threshold of one sigma
_TOKEN_BITS = 18.0  # of a usual token; a code that is dearer must explain more
_LOOK = 0.75
_MOST = 2**20
_CHUNK = 4096


@dataclass(frozen=True)
class Quality:
    """When a token is worth its bits.

    Parameters
    ----------
    threshold : float
        Significance, in sigma under its own matched filter, at which a new source is coded. What
        is left of it is followed to two fifths of that, as an aperture sees it, and bright
        sources to a share of their flux (one percent at a threshold of five).
    """

    threshold: float = 5.0


class Tokens(NamedTuple):
    """Tokens of a frame, in the order taken.

    Attributes
    ----------
    rows : ndarray of int64, shape (T, 5)
        Level, row and column of the position (of the finest level), code, and gain with its sign.
    limits : ndarray of float32, shape (T,)
        The threshold at which each would just have been taken.
    """

    rows: IntArray
    limits: FloatArray


class _Level:
    """Working arrays of a level."""

    def __init__(
        self, book: Book, noise: NDArray[np.float64], basis: FloatArray, size: tuple[int, int]
    ) -> None:
        self.book = book
        self.criterion = _criterion(book, noise)
        self.columns = np.ascontiguousarray(book.codes.T)
        self.first_columns = np.ascontiguousarray(book.first.T)
        self.drawn = book.patches
        self.z = np.zeros((*size, len(basis)), np.float32)
        self.strength, self.looked = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.stale = np.ones(size, np.bool_)
        self.rows = np.zeros((0, 4), np.int64)
        self.order = np.zeros(0, np.int64)
        self.limits = np.zeros(0, np.float32)


class Pursuit:
    """Tokens of a frame, taken step by step.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W)
        Sky subtracted, in sigma; 0 where missing.
    maker : BookMaker
        Of the model.
    star : StarShape
        Of the frame.
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise, in sigma squared.
    tokens : int
        Most tokens of a position.
    """

    def __init__(
        self,
        pixels: FloatArray,
        maker: BookMaker,
        star: StarShape,
        covariance: NDArray[np.float64],
        *,
        tokens: int,
    ) -> None:
        unit = STRIDE * 2 ** (LEVELS - 1)
        padding = [(0, -n % unit) for n in pixels.shape]
        self._left = np.pad(np.asarray(pixels, np.float32), padding)
        self._basis = maker.basis
        sizes = [
            (self._left.shape[0] // (STRIDE << n), self._left.shape[1] // (STRIDE << n))
            for n in range(LEVELS)
        ]
        noises = [latent_noise(self._basis, n, covariance) for n in range(MEASURED)]
        self._levels = [
            _Level(book, noises[min(n, MEASURED - 1)], self._basis, sizes[n])
            for n, book in enumerate(maker.books(star))
        ]
        self._near = np.zeros(sizes[0], np.float32)
        self._free = np.full(sizes[0], tokens, np.int64)
        self._inside = tuple(-(-n // STRIDE) for n in pixels.shape)
        self._taken = 0
        self.pixels = int(np.prod(pixels.shape))

    @property
    def count(self) -> int:
        """How many tokens were taken."""
        return sum(len(level.rows) for level in self._levels)

    def run(self, threshold: float) -> None:
        """Take tokens until none is worth its bits, the brightest sources first: by stages."""
        for factor in _STAGES:
            self.stage(threshold * factor)
        self.stage(threshold)
        self.stage(threshold)

    def stage(self, threshold: float) -> None:
        """Take tokens of all levels, once, on what is left."""
        for n in range(LEVELS):
            self._refresh(n)
        allowed = _allowed([level.strength for level in self._levels])
        for n in reversed(range(LEVELS)):
            self._run_level(n, threshold, allowed[n])

    def keep(self, limit: float) -> None:
        """Leave out tokens that would not be taken at a threshold, and choose gains again."""
        for n, level in enumerate(self._levels):
            rows = level.rows.copy()
            rows[level.limits < limit, 3] = 0
            self._replace(n, rows, level.order, level.limits)
        for n in reversed(range(LEVELS)):
            level = self._levels[n]
            if len(level.rows):
                self._refresh(n)
                rows = level.rows.copy()
                refit(level.z, level.book.overlaps, level.book.aims, rows, gain_values(), _SWEEPS)
                self._replace(n, rows, level.order, level.limits)

    def _run_level(self, n: int, threshold: float, allowed: NDArray[np.bool_]) -> None:
        level = self._levels[n]
        allowed[self._beyond(n)] = False
        if not allowed.any() and not len(level.rows):
            return
        self._refresh(n)
        step = 1 << n
        around = _coarsen(self._near, n)
        free = np.ascontiguousarray(self._free[::step, ::step])
        book, criterion = level.book, level.criterion
        rows, limits = pursue(
            level.z,
            book.overlaps,
            book.sizes,
            level.columns,
            level.first_columns,
            criterion.far,
            criterion.near,
            criterion.first_far,
            criterion.first_near,
            criterion.cost,
            threshold,
            _TOLERANCE,
            level.looked,
            around,
            allowed,
            free,
            gain_values(),
            _LOOK,
            _MOST,
        )
        self._free[::step, ::step] = free
        everything = np.concatenate([level.rows, rows])
        if not len(everything):
            return
        refit(level.z, book.overlaps, book.aims, everything, gain_values(), _SWEEPS)
        order = np.arange(self._taken, self._taken + len(rows))
        self._taken += len(rows)
        self._replace(
            n,
            everything,
            np.concatenate([level.order, order]),
            np.concatenate([level.limits, limits]),
        )
        wide = np.repeat(np.repeat(around, step, 0), step, 1)
        np.maximum(self._near, wide, out=self._near)

    def _replace(self, n: int, rows: IntArray, order: IntArray, limits: FloatArray) -> None:
        """Put rows, the first of which are there already, in the place of those of a level."""
        level = self._levels[n]
        change = signed_values(rows[:, 3])
        change[: len(level.rows)] -= signed_values(level.rows[:, 3])
        moved = change != 0
        if moved.any():
            _draw(self._left, rows[moved, :3], -change[moved], level.drawn, n)
            for m in range(LEVELS):
                _mark(self._levels[m].stale, rows[moved, :2], n, m)
        gone = rows[:, 3] == 0
        step = 1 << n
        np.add.at(self._free, (rows[gone, 0] * step, rows[gone, 1] * step), 1)
        level.rows, level.order, level.limits = rows[~gone], order[~gone], limits[~gone]

    def _beyond(self, n: int) -> NDArray[np.bool_]:
        """Return which cells of a level begin beyond the border."""
        rows, columns = (np.arange(k) << n for k in self._levels[n].stale.shape)
        outside = rows[:, None] >= self._inside[0], columns[None] >= self._inside[1]
        return np.asarray(outside[0] | outside[1])

    def _refresh(self, n: int) -> None:
        """Make the latents of a level anew where something changed."""
        level = self._levels[n]
        cells = np.flatnonzero(level.stale)
        if not len(cells):
            return
        patches = Patches(self._left, n, cells)
        z = level.z.reshape(-1, len(self._basis))
        strength, looked = level.strength.reshape(-1), level.looked.reshape(-1)
        for start in range(0, len(cells), _CHUNK):
            part = cells[start : start + _CHUNK]
            z[part] = fresh = patches.project(part, self._basis)
            gains = np.abs(fresh @ level.first_columns)
            strength[part] = gains.max(1)
            gains *= level.criterion.first_far
            looked[part] = gains.max(1)
        level.stale[:] = False

    def tokens(self) -> Tokens:
        """Return what was taken so far."""
        rows = [
            np.column_stack([np.full(len(r), n), r[:, :2] << n, r[:, 2:]])
            for n, r in enumerate(level.rows for level in self._levels)
        ]
        order = np.argsort(np.concatenate([level.order for level in self._levels]), kind="stable")
        limits = np.concatenate([level.limits for level in self._levels])
        return Tokens(np.concatenate(rows)[order], limits[order])


def fill_map(out: NDArray[np.integer], rows: IntArray, per_level: int) -> None:
    """Write tokens (see `Tokens.rows`) as indices (2 K, h, w), in their order at each position."""
    out[:] = 0
    _fill_map(out, rows, per_level, GAINS)


@compiled
def _fill_map(out: NDArray[np.integer], rows: IntArray, per_level: int, zero: int) -> None:
    filled = np.zeros(out.shape[1:], np.uint8)
    for t in range(rows.shape[0]):
        y, x = rows[t, 1], rows[t, 2]
        k = filled[y, x]
        out[2 * k, y, x] = 1 + rows[t, 0] * per_level + rows[t, 3]
        out[2 * k + 1, y, x] = zero + rows[t, 4]
        filled[y, x] = k + 1


def _allowed(strength: list[FloatArray]) -> list[NDArray[np.bool_]]:
    """Return the cells of each level that explain more than every finer cell around them."""
    allowed = [np.ones(strength[0].shape, np.bool_)]
    finer = np.zeros_like(strength[0])
    for n in range(1, len(strength)):
        below = np.maximum(finer, strength[n - 1])
        h, w = strength[n].shape
        finer = below.reshape(h, 2, w, 2).max((1, 3))
        allowed.append(strength[n] >= _widest(finer))
    return allowed


def _widest(image: FloatArray) -> FloatArray:
    """Return the maximum over 5 x 5 places."""
    for axis in (0, 1):
        padded = np.pad(image, [(2, 2) if k == axis else (0, 0) for k in (0, 1)])
        n = image.shape[axis]
        parts = [np.take(padded, range(k, k + n), axis) for k in range(5)]
        image = np.maximum.reduce(parts)
    return image


def _coarsen(near: FloatArray, level: int) -> FloatArray:
    size = 1 << level
    h, w = near.shape
    return np.ascontiguousarray(near.reshape(h // size, size, w // size, size).max((1, 3)))


def _draw(
    left: FloatArray, cells: IntArray, gains: FloatArray, drawn: FloatArray, level: int
) -> None:
    rows, columns, codes = (np.ascontiguousarray(column) for column in cells.T)
    draw(left, rows, columns, codes, gains, drawn, level)


@compiled
def _mark(stale: NDArray[np.bool_], cells: IntArray, level: int, other: int) -> None:
    """Mark the cells of a level that overlap with patches of another one."""
    h, w = stale.shape
    size, own = 1 << level, 1 << other
    margin = size // 2 + own // 2
    for t in range(cells.shape[0]):
        top, left = (4 * cells[t, 0] - 6) * size - margin, (4 * cells[t, 1] - 6) * size - margin
        reach = 16 * size + 2 * margin
        # a cell c draws from (4 c - 6) * own to (4 c + 10) * own
        y0, x0 = (top // own - 10) // 4 + 1, (left // own - 10) // 4 + 1
        y1, x1 = ((top + reach) // own + 6) // 4 + 1, ((left + reach) // own + 6) // 4 + 1
        for y in range(max(y0, 0), min(y1, h)):
            for x in range(max(x0, 0), min(x1, w)):
                stale[y, x] = True


def _criterion(book: Book, noise: NDArray[np.float64]) -> Criterion:

    def weigh(codes: FloatArray, seen: FloatArray) -> tuple[FloatArray, FloatArray]:
        double = codes.astype(np.float64)
        sigma = np.sqrt(np.maximum(((double @ noise) * double).sum(1), 1e-4))
        near = np.maximum(1.0, seen / _FOLLOWING) / sigma
        return (1 / sigma).astype(np.float32), near.astype(np.float32)

    far, near = weigh(book.codes, book.seen)
    first_far, first_near = weigh(book.first, book.first_seen)
    learnt = len(book.codes) - STAR_CODES
    bits = np.full(len(book.codes), math.log2(max(learnt, 2)) + 1.0, np.float32)
    bits[learnt:] = math.log2(STAR_CODES) + 1.0
    cost = ((bits + 10) / _TOKEN_BITS - 1).astype(np.float32)
    return Criterion(far, near, first_far, first_near, cost)
