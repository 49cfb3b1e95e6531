"""From a frame to sparse tokens: levels from coarse to fine, several rounds, on what is left.

What is left of the frame is kept in pixels, its products with the basis at every level as
*latents*. Only latents near something that was taken since are made again.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import in_bands, in_threads
from astro_vq.models.sparse_atoms import LEVELS, STAR_CODES, STRIDE, FloatArray, StarShape
from astro_vq.models.sparse_books import MEASURED, Book, BookMaker, latent_noise
from astro_vq.models.sparse_gains import gain_values, signed_values
from astro_vq.models.sparse_latents import Residual
from astro_vq.models.sparse_looks import Criterion
from astro_vq.models.sparse_pursuit import pursue
from astro_vq.models.sparse_refit import refit

IntArray = NDArray[np.int64]

STAGES = (64.0, 16.0, 4.0, 2.0, 1.0)  # thresholds, in that which is asked for
AGAIN = (1.4, 1.0)  # where tokens were before
_SWEEPS = 3
TOLERANCE = 0.001
_TOKEN_BITS = 18.0  # of a usual token; a code that is dearer must explain more
LOOK = 0.75
_MOST = 2**20
DRIFT = 0.5  # thresholds by which latents may be off before they are made again


@dataclass(frozen=True)
class Quality:
    """When a token is worth its bits.

    Parameters
    ----------
    threshold : float
        Significance, in sigma under its own matched filter, at which a source is coded, and what
        is left of it, bright ones to a share of their flux.
    tolerance : float
        That share, at a threshold of one sigma, grows with the square of it: some percent at a
        threshold of five where this is one in a thousand.
    """

    threshold: float = 5.0
    tolerance: float = TOLERANCE


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


class _Found(NamedTuple):
    """Tokens of a level: row, column, code and gain; place in the order taken; see `Tokens`."""

    rows: IntArray
    order: IntArray
    limits: FloatArray

    @classmethod
    def none(cls) -> "_Found":
        return cls(np.zeros((0, 4), np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


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
    tolerance : float
        See `Quality`.
    """

    def __init__(
        self,
        pixels: FloatArray,
        maker: BookMaker,
        star: StarShape,
        covariance: NDArray[np.float64],
        *,
        tokens: int,
        tolerance: float = TOLERANCE,
    ) -> None:
        books = maker.books(star)
        self._residual = Residual(pixels, maker.basis, books, criteria_of(books, maker, covariance))
        self._found = [_Found.none() for _ in range(LEVELS)]
        sizes = [level.drift.shape for level in self._residual.levels]
        self._near = np.zeros(sizes[0], np.float32)
        self._free = np.full(sizes[0], tokens, np.int64)
        self._size = pixels.shape
        self._tolerance = tolerance
        self._taken = 0

    def look_at(self, near: FloatArray, changed: NDArray[np.bool_]) -> None:
        """Take tokens only where something changed, before any are taken.

        Parameters
        ----------
        near : ndarray of float32, shape (h, w)
            Brightness that is drawn already around each cell of the finest level, in sigma.
        changed : ndarray of bool, shape (h, w)
            Cells that may have something.
        """
        h, w = near.shape
        self._near[:h, :w] = near
        here = np.zeros(self._near.shape, np.float32)
        here[:h, :w] = changed
        for n, level in enumerate(self._residual.levels):
            level.drift[ndimage.maximum_filter(_coarsen(here, 1 << n), 5) == 0] = 0

    @property
    def left(self) -> FloatArray:
        """What is left of the pixels (H, W); it changes."""
        return self._residual.left[: self._size[0], : self._size[1]]

    def give_back(self, rows: IntArray) -> None:
        """Forget tokens (see `Tokens.rows`) that were taken."""
        for n in range(LEVELS):
            here = rows[rows[:, 0] == n]
            if len(here):
                cells = np.column_stack([here[:, 1:3] >> n, here[:, 3]])
                self._residual.subtract(n, cells, -signed_values(here[:, 4]), known=False)
        np.add.at(self._free, (rows[:, 1], rows[:, 2]), 1)

    def take_out(self, parts: Iterable[tuple[int, int, FloatArray]]) -> None:
        """Take images, each with its place (row, column, in whole cells), out of the pixels."""
        self._residual.take_out(parts)

    def go_on(self, near: FloatArray) -> None:
        """Begin anew with what is left: tokens that were taken so far count no more.

        Parameters
        ----------
        near : ndarray of float32, shape (h, w)
            Brightness that is drawn already around each cell of the finest level, in sigma.
        """
        self._near[: near.shape[0], : near.shape[1]] = near
        self._found = [_Found.none() for _ in range(LEVELS)]

    def run(self, threshold: float, *, again: bool = False) -> None:
        """Take tokens until none is worth its bits, the brightest sources first: by stages.

        Parameters
        ----------
        threshold : float
            In sigma.
        again : bool
            What is bright was taken before.
        """
        for factor in AGAIN if again else STAGES:
            self.stage(threshold * factor)

    def stage(self, threshold: float) -> None:
        """Take tokens of all levels, once, on what is left."""
        for n in range(LEVELS):
            self._residual.refresh(n, DRIFT * threshold, LOOK * threshold)
        allowed = _allowed([level.strength for level in self._residual.levels])
        for n in reversed(range(LEVELS)):
            self._run_level(n, threshold, allowed[n])

    def _run_level(self, n: int, threshold: float, allowed: NDArray[np.bool_]) -> None:
        found = self._found[n]
        self._forbid_beyond(n, allowed)
        if not allowed.any() and not len(found.rows):
            return
        self._residual.refresh(n, DRIFT * threshold, LOOK * threshold)
        level = self._residual.levels[n]
        step = 1 << n
        around = _coarsen(self._near, step) if n else self._near
        free = np.ascontiguousarray(self._free[::step, ::step])
        book = level.book
        rows, limits = pursue(
            level.z,
            book.overlaps,
            book.sizes,
            level.codes,
            level.first,
            level.packed,
            threshold,
            self._tolerance,
            level.looked,
            around,
            allowed,
            free,
            level.unscored,
            level.hopeless,
            gain_values(),
            LOOK,
            level.steepest,
            _MOST,
        )
        self._free[::step, ::step] = free
        everything = np.concatenate([found.rows, rows])
        if not len(everything):
            return
        self._refit(n, everything)
        order = np.arange(self._taken, self._taken + len(rows))
        self._taken += len(rows)
        both = np.concatenate([found.order, order]), np.concatenate([found.limits, limits])
        self._replace(n, _Found(everything, *both))
        if n:
            in_bands(partial(_spread, self._near, around, step), self._near.shape)

    def _refit(self, n: int, rows: IntArray) -> None:
        level = self._residual.levels[n]
        book = level.book
        refit(
            level.z,
            book.overlaps,
            book.sizes,
            book.aims,
            rows,
            level.unscored,
            gain_values(),
            _SWEEPS,
        )

    def _replace(self, n: int, new: "_Found") -> None:
        """Put tokens, the first of which are there already, in the place of those of a level."""
        old = self._found[n].rows
        change = signed_values(new.rows[:, 3])
        change[: len(old)] -= signed_values(old[:, 3])
        moved = change != 0
        if moved.any():
            self._residual.subtract(n, new.rows[moved, :3], change[moved])
        gone = new.rows[:, 3] == 0
        step = 1 << n
        np.add.at(self._free, (new.rows[gone, 0] * step, new.rows[gone, 1] * step), 1)
        self._found[n] = _Found(*(values[~gone] for values in new))

    def _forbid_beyond(self, n: int, allowed: NDArray[np.bool_]) -> None:
        """Forbid the cells of a level that begin beyond the border."""
        rows, columns = (-(-k // (STRIDE << n)) for k in self._size)
        allowed[rows:] = False
        allowed[:, columns:] = False

    def tokens(self) -> Tokens:
        """Return what was taken so far."""
        rows = [
            np.column_stack([np.full(len(r), n), r[:, :2] << n, r[:, 2:]])
            for n, r in enumerate(found.rows for found in self._found)
        ]
        order = np.argsort(np.concatenate([found.order for found in self._found]), kind="stable")
        limits = np.concatenate([found.limits for found in self._found])
        return Tokens(np.concatenate(rows)[order], limits[order])


def _allowed(strength: list[FloatArray]) -> list[NDArray[np.bool_]]:
    """Return the cells of each level that explain more than every finer cell around them."""
    allowed = [np.ones(strength[0].shape, np.bool_)]
    finer = np.zeros_like(strength[0])
    for own, coarse in pairwise(strength):
        finer = _coarsen(np.maximum(finer, own), 2)
        allowed.append(np.empty(coarse.shape, np.bool_))
        in_bands(partial(_compare_around, coarse, finer, allowed[-1]), coarse.shape)
    return allowed


@compiled_in_any_order
def _compare_around(
    values: FloatArray, others: FloatArray, out: NDArray[np.bool_], first: int, stop: int
) -> None:
    """Write which values are at least as large as the others of the 5 x 5 places around."""
    h, w = values.shape
    tall = np.zeros(w + 4, np.float32)
    inside = tall[2 : w + 2]
    for i in range(first, stop):
        inside[:] = 0
        for a in range(max(i - 2, 0), min(i + 3, h)):
            row = others[a]
            for j in range(w):
                inside[j] = row[j] if row[j] > inside[j] else inside[j]
        for j in range(w):
            most = max(max(tall[j], tall[j + 1]), max(tall[j + 2], tall[j + 3]))
            out[i, j] = values[i, j] >= max(most, tall[j + 4])


def _coarsen(values: FloatArray, step: int) -> FloatArray:
    """Return the largest of each step x step values."""
    out = np.zeros((values.shape[0] // step, values.shape[1] // step), np.float32)
    in_bands(partial(_largest, values, step, out), values.shape, step)
    return out


@compiled
def _largest(values: FloatArray, step: int, out: FloatArray, first: int, stop: int) -> None:
    for i in range(first, stop):
        for j in range(out.shape[1]):
            most = out[i // step, j]
            for k in range(step):
                most = max(most, values[i, j * step + k])
            out[i // step, j] = most


@compiled
def _spread(values: FloatArray, coarse: FloatArray, step: int, first: int, stop: int) -> None:
    """Raise some rows of values to those of the coarse cells that they lie in."""
    for i in range(first, stop):
        for j in range(coarse.shape[1]):
            least = coarse[i // step, j]
            for k in range(step):
                values[i, j * step + k] = max(values[i, j * step + k], least)


def criteria_of(
    books: list[Book], maker: BookMaker, covariance: NDArray[np.float64]
) -> list[Criterion]:
    """Return when codes of all levels are worth their bits, given the noise of pixels."""
    measured = in_threads(lambda n: latent_noise(maker.basis, n, covariance), range(MEASURED))
    noises = [measured[min(n, MEASURED - 1)] for n in range(LEVELS)]
    return [
        _criterion(book, noise, maker.number) for book, noise in zip(books, noises, strict=True)
    ]


def _criterion(book: Book, noise: NDArray[np.float64], learnt: int) -> Criterion:

    def weigh(codes: FloatArray) -> FloatArray:
        double = codes.astype(np.float64)
        sigma = np.sqrt(np.maximum(((double @ noise) * double).sum(1), 1e-4))
        return np.asarray(1 / sigma, np.float32)

    bits = np.full(len(book.codes), math.log2(max(learnt, 2)) + 1.0, np.float32)
    bits[learnt:] = math.log2(STAR_CODES) + 1.0
    cost = ((bits + 10) / _TOKEN_BITS - 1).astype(np.float32)
    return Criterion(weigh(book.codes), weigh(book.first), cost)
