"""Tokens that set fluxes right: one for each source whose aperture flux is off.

Matching pursuit stops where nothing significant is left, but in a known place much less matters: a
source is measured there. Sources are the peaks of the pixels; the flux that is left in an aperture
around each is drawn as a star there. Peaks of what was drawn would miss sources that are hardly
drawn, in crowded fields and beside bright stars: those whose flux is wrong most.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import (
    FAMILIES,
    LEVELS,
    PATCH,
    STAR_CODES,
    STRIDE,
    FloatArray,
    StarShape,
    star_patches,
)
from astro_vq.models.sparse_books import BookMaker
from astro_vq.models.sparse_gains import gain_values
from astro_vq.models.sparse_peaks import find_peaks
from astro_vq.models.sparse_scales import draw

IntArray = NDArray[np.int64]

RADIUS = 4.0
"""Of the aperture, pixels."""

PLACES = FAMILIES[0][1]  # along each side of a cell
LEAST, _SEEN = 4.5, 0.5  # significance of peaks that are sources: in sigma, in thresholds
_COARSE, _POWER = 2.5, 0.4  # or this times a power of the threshold, which is less from 15 on
OWN = 2.0  # light above what is around, of the noise of an aperture; other peaks are dim
STAYS, SHARE = 0.2, 6e-5  # of that significance, as flux; of bright sources
AROUND = 17  # pixels on a side of what a source stands out from
_PART = 256  # sources that a thread measures at once


def aperture_noise(covariance: NDArray[np.float64]) -> float:
    """Return the standard deviation of the sum over an aperture, in that of a pixel.

    Parameters
    ----------
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise.
    """
    disc = _disc()
    lag = covariance.shape[0] // 2
    overlap = ndimage.correlate(np.pad(disc, lag + len(disc)), disc, mode="constant")
    middle = overlap.shape[0] // 2
    part = overlap[middle - lag : middle + lag + 1, middle - lag : middle + lag + 1]
    return math.sqrt(max(float((part * covariance).sum()), 1.0))


def peak_noise(covariance: NDArray[np.float64], star: StarShape) -> float:
    """Return how much noise a matched filter for a star sees, in that of white noise.

    Parameters
    ----------
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise, in sigma squared.
    star : StarShape
        Of the frame.
    """
    lag = covariance.shape[0] // 2
    square = (np.arange(-lag, lag + 1) / (star.fwhm / 2.3548)) ** 2
    overlap = np.exp(-0.25 * (square[:, None] + square))  # of the filter with itself
    return math.sqrt(max(float((overlap * covariance).sum()), 1.0))


def level_of(star: StarShape) -> int | None:
    """Return the finest level that has codes of stars of a shape; None where none has."""
    return next((n for n in range(LEVELS) if star_patches(star, n).any()), None)


def seen_at(threshold: float) -> float:
    """Return the significance of peaks that are sources, in sigma."""
    return float(min(_SEEN * threshold, _COARSE * threshold**_POWER))


def polish(
    maker: BookMaker,
    star: StarShape,
    *,
    pixels: FloatArray,
    left: FloatArray,
    covariance: NDArray[np.float64],
    threshold: float,
) -> IntArray:
    """Return tokens (T, 5) that leave little flux in the apertures around sources.

    Parameters
    ----------
    maker : BookMaker
        Of the model.
    star : StarShape
        Of the frame; without one there are no tokens.
    pixels, left : ndarray of float32, shape (H, W)
        Pixels, and what is left of them, in sigma, 0 where missing. Sides are multiples of the
        coarsest cell; `left` is changed.
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise, in sigma squared.
    threshold : float
        In sigma. Sources are peaks of half of it under a matched filter (above 15 that grows with
        its power 0.4), and of at least 4.5. A fifth of that may stay of a flux, in units of its
        error; of a bright source a share that grows with the square of the threshold, 0.075 % at
        five; of a peak that does not stand out from light around (a halo, a nebula) all of it.
    """
    level = level_of(star)
    if level is None:
        return np.zeros((0, 5), np.int64)
    noise = aperture_noise(covariance)
    patches = maker.patches(level, star)[-STAR_CODES:]
    learnt = len(maker.learnt(level))
    seen = seen_at(threshold)
    least = max(LEAST, seen)
    y, x = find_peaks(pixels, star, least * peak_noise(covariance, star))
    parts = [slice(k, k + _PART) for k in range(0, len(y), _PART)]
    compact = np.concatenate(
        [np.zeros(0), *in_threads(lambda part: _light(pixels, y[part], x[part]), parts)]
    )
    limit = np.hypot(STAYS * seen * noise, SHARE * threshold * seen * compact)
    limit[compact <= OWN * noise] = max(LEAST, threshold) * noise
    cell = STRIDE << level
    rows, columns = np.floor(y / cell).astype(int), np.floor(x / cell).astype(int)
    places = [
        np.clip(((v / cell - n) * PLACES).astype(int), 0, PLACES - 1)
        for v, n in ((y, rows), (x, columns))
    ]
    codes = places[0] * PLACES + places[1]
    share = shares(patches, level)[codes]
    values = gain_values()
    halfway = (values[1:] + values[:-1]) / 2
    kept: list[IntArray] = []
    for these in _turns(y, x, compact):
        flux = _sums(left, y, x)
        wanted = flux / share
        size = np.searchsorted(halfway, np.abs(wanted))
        take = these & (np.abs(flux) > limit) & (size > 0)
        if not take.any():
            continue
        gains = (np.sign(wanted) * size).astype(np.int64)[take]
        draw(
            left,
            rows[take],
            columns[take],
            codes[take],
            -(values[np.abs(gains)] * np.sign(gains)).astype(np.float32),
            patches,
            level,
        )
        ones = np.full(len(gains), level)
        place = rows[take] << level, columns[take] << level
        kept.append(np.column_stack([ones, *place, learnt + codes[take], gains]))
    return np.concatenate(kept) if kept else np.zeros((0, 5), np.int64)


def _turns(
    y: NDArray[np.float64], x: NDArray[np.float64], light: NDArray[np.float64]
) -> list[NDArray[np.bool_]]:
    """Return which sources take turns: those whose neighbours are fainter, the others, all.

    Light in two apertures is drawn once so.
    """
    places = np.column_stack([y, x])
    pairs = KDTree(places).query_pairs(2 * RADIUS, output_type="ndarray")
    first, second = pairs.T
    later = np.zeros(len(y), np.bool_)
    later[np.where(light[first] < light[second], first, second)] = True
    return [~later, later, np.ones_like(later)]


@compiled
def _sums(image: FloatArray, y: NDArray[np.float64], x: NDArray[np.float64]) -> FloatArray:
    """Return the sums over apertures around places; pixels at the rim count in part."""
    h, w = image.shape
    out = np.zeros(y.shape[0], np.float32)
    for k in range(y.shape[0]):
        top, left = int(y[k]) - 5, int(x[k]) - 5
        total = 0.0
        for a in range(max(top, 0), min(top + 11, h)):
            for b in range(max(left, 0), min(left + 11, w)):
                away = math.sqrt((a + 0.5 - y[k]) ** 2 + (b + 0.5 - x[k]) ** 2)
                total += image[a, b] * min(max(RADIUS + 0.5 - away, 0.0), 1.0)
        out[k] = total
    return out


@compiled
def _light(
    image: FloatArray, y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what apertures have above the means of 17 x 17 pixels around each of theirs."""
    h, w = image.shape
    out = np.zeros(y.shape[0], np.float64)
    side, half = AROUND, AROUND // 2
    own = np.zeros((11 + side, 11 + side), np.float64)  # weights of the aperture, in its middle
    wide = np.zeros((11 + side, 11 + side), np.float64)  # their sums over runs of 17 columns
    tall = np.zeros(11 + side, np.float64)
    for k in range(y.shape[0]):
        top, first = int(y[k]) - 5 - half, int(x[k]) - 5 - half
        for a in range(half, half + 11):
            for b in range(half, half + 11):
                away = math.sqrt((top + a + 0.5 - y[k]) ** 2 + (first + b + 0.5 - x[k]) ** 2)
                own[a, b] = min(max(RADIUS + 0.5 - away, 0.0), 1.0)
            running = 0.0
            for b in range(10 + side):
                running += own[a, b + half] if b < 11 else 0.0
                wide[a, b] = running
                running -= own[a, b - side + 1 + half] if b >= side - 1 else 0.0
        tall[:] = 0
        total = 0.0
        for a in range(10 + side):
            for b in range(10 + side):
                tall[b] += wide[a + half, b] if a < 11 else 0.0
            row = top + a
            if 0 <= row < h:
                for b in range(max(-first, 0), min(w - first, 10 + side)):
                    total += image[row, first + b] * (own[a, b] - tall[b] / side**2)
            for b in range(10 + side):
                tall[b] -= wide[a - side + 1 + half, b] if a >= side - 1 else 0.0
        out[k] = total
    return out


def _disc() -> FloatArray:
    """Return the aperture around the middle of a pixel, (11, 11)."""
    axis = np.arange(-5, 6)
    away = np.hypot(axis[:, None], axis)
    return np.asarray(np.clip(RADIUS + 0.5 - away, 0, 1), np.float32)


def shares(patches: FloatArray, level: int) -> NDArray[np.float64]:
    """Return the flux that a code of one gain has within an aperture around its place."""
    out = np.ones(STAR_CODES)
    side = PATCH << level
    for code in range(PLACES**2):
        image = np.zeros((3 * side, 3 * side), np.float32)
        cell = np.array([side // (STRIDE << level)])
        draw(image, cell, cell, np.array([code]), np.ones(1, np.float32), patches, level)
        place = (np.array(divmod(code, PLACES)) + 0.5) / PLACES * (STRIDE << level)
        y, x = side + place[:, None]
        out[code] = float(_sums(image, y, x)[0])
    return out
