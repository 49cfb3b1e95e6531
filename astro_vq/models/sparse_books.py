"""What the encoder of sparse tokens works with at a level: codes, overlaps, what apertures see."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import (
    LEVELS,
    PATCH,
    STRIDE,
    FloatArray,
    StarShape,
    normalize,
    star_patches,
)
from astro_vq.models.sparse_bounds import edges_of
from astro_vq.models.sparse_scales import add_enlarged

REACH = 3
"""Cells around one that its codes overlap with."""

MEASURED = 3
"""Level from which on overlaps and noise are taken to be those of the level before."""

_FIRST = 64  # learnt codes that a cell is looked through with before a full search
_FLUX_WEIGHT = 2.0  # of what an aperture sees, in that of all pixels together
_LEAST_SHARE = 0.5  # of a star that the basis sees, for it to be looked for
_LEAST_SPECTRUM = 0.02  # of the noise, in that of white noise


class Book(NamedTuple):
    """What the encoder works with at one level, for one star shape.

    Attributes
    ----------
    codes, first : ndarray of float32, shape (N, D), (M, D)
        Products of latents with them are gains of patches of unit norm as images: those of the
        model, then those of stars if they fit the level; and a few that stand for all.
    patches : ndarray of float32, shape (N, 256)
        What each code draws; a little more than what the basis sees of it for those of stars.
    overlaps : ndarray of float32, shape (N, 49, D)
        What each code adds to the latents of the 7 x 7 cells around its own.
    sizes : ndarray of float32, shape (N, 49)
        Their norms.
    aims : ndarray of float32, shape (N, D)
        Of the codes; see `aims_of`.
    norms : ndarray of float32, shape (N,)
        Of patches.
    edges : ndarray of float32, shape (N,)
        Norm of what each adds to the latents of cells of its level beyond the 7 x 7, at most.
    """

    codes: FloatArray
    first: FloatArray
    patches: FloatArray
    overlaps: FloatArray
    sizes: FloatArray
    aims: FloatArray
    norms: FloatArray
    edges: FloatArray


def enlarge_patches(patches: FloatArray, level: int, pad: int) -> FloatArray:
    """Return what patches (N, 16, 16), padded by zeros, draw at a level."""
    padded = np.pad(patches, ((0, 0), (pad, pad), (pad, pad)))
    if level == 0:
        return padded
    side = padded.shape[1] << level
    out = np.zeros((len(padded), side, side), np.float32)
    for image, patch in zip(out, padded, strict=True):
        add_enlarged(image, patch, level)
    return out


def overlaps_of(patches: FloatArray, basis: FloatArray, level: int) -> FloatArray:
    """Return what patches (N, 256) add to the latents (N, 7, 7, D) around them at a level."""
    level = min(level, MEASURED - 1)
    size = 1 << level
    # a value and its neighbour as they are drawn: products of tents sampled at pixels
    tent = 1 - np.abs(np.arange(2 * size) - size + 0.5) / size if level else np.ones(1)
    own = float(tent @ tent) / size
    next_to = float(tent[size:] @ tent[:size]) / size if level else 0.0
    spread = np.pad(patches.reshape(-1, PATCH, PATCH).astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    for axis in (1, 2):
        spread = own * spread + next_to * (np.roll(spread, 1, axis) + np.roll(spread, -1, axis))
    reach = REACH * STRIDE
    wide = np.pad(spread, ((0, 0), (reach, reach), (reach, reach))).astype(np.float32)
    out = np.empty((len(patches), 2 * REACH + 1, 2 * REACH + 1, len(basis)), np.float32)
    for i in range(2 * REACH + 1):
        for j in range(2 * REACH + 1):
            y, x = 1 + i * STRIDE, 1 + j * STRIDE
            part = wide[:, y : y + PATCH, x : x + PATCH].reshape(len(patches), -1)
            out[:, i, j] = part @ basis.T
    return out


def view_of_aperture(basis: FloatArray, level: int) -> FloatArray:
    """Return what apertures of four pixels around see of a basis (D, P), in units of their noise.

    Beyond level 2 it is that of level 2.
    """
    level = min(level, MEASURED - 1)
    images = enlarge_patches(basis.reshape(-1, PATCH, PATCH), level, 4)
    axis = np.arange(-4, 5)
    disc = (axis[:, None] ** 2 + axis[None, :] ** 2 <= 16.5).astype(np.float64)
    disc /= math.sqrt(disc.sum())
    side = images.shape[1] + len(axis) - 1
    product = np.fft.rfft2(images, (side, side)) * np.fft.rfft2(disc, (side, side))
    step = max(1 << level >> 1, 1)
    smooth = np.fft.irfft2(product, (side, side))[:, ::step, ::step]
    return smooth.reshape(len(basis), -1).astype(np.float32)


def aims_of(codes: FloatArray, view: FloatArray, level: int) -> FloatArray:
    """Return what makes up a code's gain, by all pixels and by the best placed aperture.

    Parameters
    ----------
    codes : ndarray of float32, shape (N, D)
        Of unit norm.
    view : ndarray of float32, shape (D, P)
        See `view_of_aperture`.
    level : int
        Apertures count up to level 2.

    Returns
    -------
    ndarray of float32, shape (N, D)
        Products of latents with them are gains that leave little in pixels and in the aperture.
    """
    responses = codes @ view
    best = np.abs(responses).argmax(1)
    seen = responses[np.arange(len(codes)), best]
    weight = _FLUX_WEIGHT if level < MEASURED else 0.0
    aims = (codes + weight * seen[:, None] * view.T[best]) / (1 + weight * seen[:, None] ** 2)
    return np.asarray(aims, np.float32)


def unit_codes(codes: FloatArray, middle: FloatArray) -> FloatArray:
    """Return codes of unit norm as images, given the overlaps (D, D) at their own cell."""
    norm = np.sqrt(np.maximum(((codes @ middle) * codes).sum(1), 0))[:, None]
    return np.asarray(np.where(norm > 0, codes / np.maximum(norm, 1e-12), codes), np.float32)


def representatives(codes: FloatArray) -> FloatArray:
    """Return a few directions that stand for codes (N, D), by k-means of either sign."""
    codes = normalize(codes)
    number = min(_FIRST, len(codes))
    first = codes[np.random.default_rng(0).permutation(len(codes))[:number]]
    for _ in range(10):
        product = codes @ first.T
        nearest = np.abs(product).argmax(1)
        signs = np.sign(product[np.arange(len(codes)), nearest])
        sums = np.zeros_like(first)
        np.add.at(sums, nearest, codes * signs[:, None])
        kept = np.linalg.norm(sums, axis=1, keepdims=True) > 1e-6
        first = np.where(kept, normalize(sums), first)
    return first


class BookMaker:
    """Makes the books of a model, level by level, for any shape of stars.

    Parameters
    ----------
    basis, codes : ndarray of float32, shape (D, 256), (N, D)
        Of the model.
    """

    def __init__(self, basis: FloatArray, codes: FloatArray) -> None:
        self.basis = basis
        self._codes = codes
        self._views: list[FloatArray] = []
        self._learnt: list[Book] | None = None
        self._last: tuple[StarShape, list[Book]] | None = None
        self._drawn: dict[int, tuple[StarShape, FloatArray]] = {}
        self._middles = [
            overlaps_of(basis, basis, n)[:, REACH, REACH].T.copy() for n in range(MEASURED)
        ]

    @property
    def number(self) -> int:
        """How many codes the model has, without those of stars."""
        return len(self._codes)

    def middle(self, level: int) -> FloatArray:
        """Return overlaps (D, D) of the basis with itself at one cell."""
        return self._middles[min(level, MEASURED - 1)]

    def learnt(self, level: int) -> FloatArray:
        """Return the codes (N, D) of the model, of unit norm as images of a level."""
        return unit_codes(self._codes, self.middle(level))

    def patches(self, level: int, star: StarShape) -> FloatArray:
        """Return what codes draw (N, 256) at a level: those of the model, and those of stars."""
        kept = self._drawn.get(level)
        if kept is None or kept[0] != star:
            drawn = np.concatenate([self.learnt(level) @ self.basis, self._stars(level, star)])
            kept = self._drawn[level] = star, drawn
        return kept[1]

    def _stars(self, level: int, star: StarShape) -> FloatArray:
        patches = star_patches(star, level)
        if level == 0 or not patches.any():
            return patches
        # their norm as images: they are smooth enough for what the basis knows of them
        codes = patches @ self.basis.T
        norm = np.sqrt(np.maximum(((codes @ self.middle(level)) * codes).sum(1), 0.25))
        return np.asarray(patches / norm[:, None], np.float32)

    def books(self, star: StarShape) -> list[Book]:
        """Return the books of all levels; those of the last star shape are kept."""
        if self._learnt is None:
            first = representatives(self._codes)
            self._views = [view_of_aperture(self.basis, n) for n in range(MEASURED)]
            self._learnt = in_threads(partial(self._learn, first), range(LEVELS))
        if self._last is None or self._last[0] != star:
            learnt = self._learnt
            books = in_threads(lambda n: self._add(learnt[n], n, star), range(LEVELS))
            self._last = star, books
        return self._last[1]

    def _learn(self, first: FloatArray, level: int) -> Book:
        codes, first = self.learnt(level), unit_codes(first, self.middle(level))
        patches = codes @ self.basis
        return self._make(codes, patches, first, level, overlaps_of(patches, self.basis, level))

    def _make(
        self,
        codes: FloatArray,
        patches: FloatArray,
        first: FloatArray,
        level: int,
        added: FloatArray,
    ) -> Book:
        added = added.reshape(len(codes), (2 * REACH + 1) ** 2, -1)
        sizes = np.sqrt(np.square(added).sum(2))
        view = self._views[min(level, MEASURED - 1)]
        aims = aims_of(codes, view, level)
        norms, edges = np.sqrt(np.square(patches).sum(1)), edges_of(patches, level)
        return Book(codes, first, patches, added, sizes, aims, norms, edges)

    def _add(self, book: Book, level: int, star: StarShape) -> Book:
        """Return a book with the codes of stars, or as it is where they do not fit the level."""
        patches = self._stars(level, star)
        if not patches.any():
            return book
        codes = patches @ self.basis.T
        # gains are such that what is drawn explains what the basis sees of it
        added = overlaps_of(patches, self.basis, level)
        share = (codes * added[:, REACH, REACH]).sum(1)
        codes = np.where(share[:, None] > _LEAST_SHARE, codes / np.maximum(share, 0.1)[:, None], 0)
        if not codes.any():
            return book
        codes = codes.astype(np.float32)
        extra = self._make(codes, patches, codes[::7], level, added)
        pairs = zip(book, extra, strict=True)
        return Book(*(np.concatenate([learnt, added]) for learnt, added in pairs))


def latent_noise(
    basis: FloatArray, level: int, covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the covariance (D, D) that noise gives latents of a level.

    Parameters
    ----------
    basis : ndarray of float32, shape (D, 256)
        Of the model.
    level : int
        Those from 2 on are taken to be like 2: correlations are shorter than their cells.
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise of pixels.
    """
    level = min(level, MEASURED - 1)
    images = enlarge_patches(basis.reshape(-1, PATCH, PATCH), level, 1)
    lag = covariance.shape[0] // 2
    side = images.shape[1] + 2 * lag
    kernel = np.zeros((side, side))
    lags = np.arange(-lag, lag + 1) % side
    kernel[np.ix_(lags, lags)] = covariance
    spectrum = np.maximum(np.fft.rfft2(kernel).real, _LEAST_SPECTRUM)
    filtered = np.fft.irfft2(np.fft.rfft2(images, (side, side)) * spectrum, (side, side))
    inside = filtered[:, : images.shape[1], : images.shape[2]].reshape(len(basis), -1)
    return np.asarray(images.reshape(len(basis), -1).astype(np.float64) @ inside.T)
