"""What is left of a frame, and its products with the basis at every level, as fresh as needed.

Taking tokens changes pixels, and with them the *latents* of all levels around. A bound of how far
each latent may have moved since it was made is kept (*drift*), and only those are made again that
may have moved by more than the caller cares for, and to where a token may be worth its bits. What
tokens do to latents of their own level is known without that: the pursuit subtracts it, and only
the scores of such cells are made again.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.threads import in_bands, in_threads
from astro_vq.models.sparse_atoms import LEVELS, STRIDE, FloatArray
from astro_vq.models.sparse_books import MEASURED, Book
from astro_vq.models.sparse_bounds import (
    add_energy,
    energy_of_image,
    energy_of_patches,
    raise_drifts,
)
from astro_vq.models.sparse_looks import Criterion, look, make_latents
from astro_vq.models.sparse_products import pack, pack_weights
from astro_vq.models.sparse_scales import (
    add_enlarged,
    clear,
    fill,
    nothing_filled,
    parts_of,
    place,
    reduce_into,
)
from astro_vq.models.sparse_search import pack_cost

IntArray = NDArray[np.int64]

_UNMEASURED = 0.02  # error of overlaps of levels whose overlaps are taken to be like others'


class Level:
    """Latents of a level and what is known of them.

    Attributes
    ----------
    book, criterion : Book, Criterion
        Codes, and when they are worth their bits.
    codes, first : ndarray of float32
        Those of the book, packed for `astro_vq.models.sparse_products`.
    packed : Criterion
        Packed, too.
    z : ndarray of float32, shape (h, w, D)
        Latents.
    strength : ndarray of float32, shape (h, w)
        Largest gain of the first look.
    looked : ndarray of float32, shape (h, w)
        Largest gain of the first look, weighted.
    drift : ndarray of float32, shape (h, w)
        How far latents may be from what is left.
    unscored : ndarray of float32, shape (h, w)
        How far latents may have moved since they were looked at.
    hopeless : ndarray of float32, shape (2, h, w)
        See `astro_vq.models.sparse_pursuit.pursue`.
    steepest : float
        How much what is looked for may change when latents change by one, at most.
    """

    def __init__(
        self, book: Book, criterion: Criterion, basis: FloatArray, size: tuple[int, int]
    ) -> None:
        self.book, self.criterion = book, criterion
        self.codes, self.first = pack(book.codes.T), pack(book.first.T)
        self.packed = Criterion(
            pack_weights(criterion.weights),
            pack_weights(criterion.first_weights),
            pack_cost(criterion.cost),
        )
        self.z = np.zeros((*size, len(basis)), np.float32)
        self.strength = np.zeros(size, np.float32)
        self.looked = np.zeros(size, np.float32)
        self.drift = np.full(size, np.inf, np.float32)
        self.unscored = np.zeros(size, np.float32)
        self.hopeless = np.full((2, *size), np.inf, np.float32)
        norms = np.sqrt(np.square(book.first).sum(1))
        self.steepest = float((norms * criterion.first_weights).max())
        scores = self.strength.reshape(-1), self.looked.reshape(-1)
        self._latents = self.z.reshape(-1, len(basis))
        self._looks = self.first, self.packed.first_weights, *scores

    def look(self, cells: IntArray) -> None:
        """Look at cells, numbered row by row."""
        in_threads(lambda part: look(self._latents, part, *self._looks), parts_of(cells))

    def make(self, image: FloatArray, cells: IntArray, matrix: FloatArray) -> None:
        """Make latents of cells of an image of the level anew, and look at them.

        The basis comes packed.
        """

        def work(part: IntArray) -> None:
            make_latents(image, part, matrix, self._latents, *self._looks)

        in_threads(work, parts_of(cells))


class Residual:
    """What is left of a frame, with its latents.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W)
        Sky subtracted, in sigma; 0 where missing.
    basis : ndarray of float32, shape (D, 256)
        Of the model.
    books : list of Book
        Of all levels.
    criteria : list of Criterion
        Of all levels.

    Attributes
    ----------
    left : ndarray of float32, shape (H, W)
        Pixels, with zeros up to whole cells of the coarsest level.
    levels : list of Level
        Latents.
    """

    def __init__(
        self,
        pixels: FloatArray,
        basis: FloatArray,
        books: list[Book],
        criteria: list[Criterion],
    ) -> None:
        unit = STRIDE << LEVELS - 1
        shape = [-(-n // unit) * unit for n in pixels.shape]
        self.left = np.zeros(shape, np.float32)
        self.left[: pixels.shape[0], : pixels.shape[1]] = pixels
        self._images = [self.left] + [
            np.zeros([n >> m for n in shape], np.float32) for m in range(1, LEVELS)
        ]
        self._scratch = [np.zeros_like(image) for image in self._images[1:]]
        self._basis = pack(basis.T)
        self.levels = [
            Level(book, criterion, basis, (shape[0] // (STRIDE << m), shape[1] // (STRIDE << m)))
            for m, (book, criterion) in enumerate(zip(books, criteria, strict=True))
        ]

    def refresh(self, n: int, tolerance: float, least: float) -> None:
        """Make latents and scores of a level anew where they are not good enough.

        Parameters
        ----------
        n : int
            The level.
        tolerance : float
            By how much latents may be off.
        least : float
            Cells that cannot have a weighted gain as large as this are left as they are.
        """
        level = self.levels[n]
        fields = level.drift, level.unscored, level.looked, level.hopeless
        limits = tolerance, least, level.steepest
        found = in_bands(partial(_stale, *fields, *limits), level.drift.shape)
        moved, others = (np.concatenate(cells) for cells in zip(*found, strict=True))
        if len(moved):
            if n > 0:
                wanted = np.zeros(level.drift.shape, np.bool_)
                _around(moved, wanted)
                reduce_into(self._images[n], self.left, n, wanted)
            level.make(self._images[n], moved, self._basis)
        if len(others):
            level.look(others)

    def subtract(self, n: int, cells: IntArray, gains: FloatArray, *, known: bool = True) -> None:
        """Take tokens out of the pixels.

        Parameters
        ----------
        n : int
            Their level.
        cells : ndarray of int64, shape (T, 3)
            Row, column and code.
        gains : ndarray of float32, shape (T,)
            With their signs.
        known : bool
            Whether the latents of the level lack them already.
        """
        rows, columns, codes = (np.ascontiguousarray(column) for column in cells.T)
        book = self.levels[n].book
        tokens = rows, columns, codes, -gains, book.patches
        if n == 0:
            place(self.left, *tokens)
            energy = energy_of_patches(self.levels[0].drift.shape, *tokens)
        else:
            image = self._scratch[n - 1]
            place(image, *tokens)
            filled = nothing_filled(image.shape)
            fill(filled, rows, columns, image.shape[1])
            add_enlarged(self.left, image, n, filled)
            energy = energy_of_image(image, n, filled)
            clear(image, filled)
        raise_drifts([level.drift for level in self.levels], energy, but=n if known else None)
        if not known:
            return
        bounds = np.abs(gains) * (book.edges[codes] + (_UNMEASURED if n >= MEASURED else 0))
        own = self.levels[n].drift
        _mark_border(own, rows, columns, np.abs(gains) * book.norms[codes])
        if bounds.any():
            _mark(own, rows, columns, bounds.astype(np.float32))

    def take_out(self, parts: Iterable[tuple[int, int, FloatArray]]) -> None:
        """Take images that do not overlap out of the pixels; each begins at a row and column.

        These are of whole cells.
        """
        energy = np.zeros(self.levels[0].drift.shape, np.float32)

        def work(part: tuple[int, int, FloatArray]) -> None:
            y, x, values = part
            self.left[y : y + values.shape[0], x : x + values.shape[1]] -= values
            add_energy(energy[y // STRIDE :, x // STRIDE :], values)

        in_threads(work, list(parts))
        raise_drifts([level.drift for level in self.levels], energy)


@compiled
def _stale(
    drift: FloatArray,
    unscored: FloatArray,
    looked: FloatArray,
    hopeless: FloatArray,
    tolerance: float,
    least: float,
    steepest: float,
    first: int,
    stop: int,
) -> tuple[IntArray, IntArray]:
    """Return the cells of some rows to make again, and others to look at again; forget the rest."""
    w = drift.shape[1]
    moved, others = np.empty((2, (stop - first) * w), np.int64)
    m, n = 0, 0
    for i in range(first, stop):
        for j in range(w):
            away = drift[i, j] + unscored[i, j]
            if away <= tolerance or looked[i, j] + away * steepest < least:
                continue
            if drift[i, j] > tolerance:
                moved[m] = i * w + j
                m += 1
                drift[i, j] = 0
            else:
                others[n] = i * w + j
                n += 1
            unscored[i, j] = 0
            hopeless[0, i, j] = hopeless[1, i, j] = np.inf
    return moved[:m], others[:n]


@compiled
def _around(cells: IntArray, out: NDArray[np.bool_]) -> None:
    """Mark what patches of cells, in their order, cover, in cells: runs of them at once."""
    h, w = out.shape
    k = 0
    while k < cells.shape[0]:
        begin = last = cells[k]
        k += 1
        while k < cells.shape[0] and cells[k] <= last + 5 and cells[k] // w == begin // w:
            last = cells[k]
            k += 1
        y = begin // w
        for a in range(max(y - 2, 0), min(y + 3, h)):
            out[a, max(begin - y * w - 2, 0) : min(last - y * w + 3, w)] = True


@compiled
def _mark(drift: FloatArray, rows: IntArray, columns: IntArray, bounds: FloatArray) -> None:
    """Add bounds to cells whose patches overlap with those of some cells."""
    h, w = drift.shape
    for t in range(rows.shape[0]):
        for y in range(max(rows[t] - 4, 0), min(rows[t] + 5, h)):
            for x in range(max(columns[t] - 4, 0), min(columns[t] + 5, w)):
                drift[y, x] += bounds[t]


@compiled
def _mark_border(drift: FloatArray, rows: IntArray, columns: IntArray, bounds: FloatArray) -> None:
    """Add bounds around patches that reach over the border, where overlaps do not hold."""
    h, w = drift.shape
    for t in range(rows.shape[0]):
        y, x = rows[t], columns[t]
        if 2 <= y < h - 3 and 2 <= x < w - 3:
            continue
        for a in range(max(y - 3, 0), min(y + 4, h)):
            for b in range(max(x - 3, 0), min(x + 4, w)):
                drift[a, b] += bounds[t]
