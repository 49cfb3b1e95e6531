"""Fluxes, positions and shapes of sources, with fixed weights: an aperture and a Gaussian.

Missing pixels are NaN; sources whose surroundings hold any are marked not usable.

References
----------
Bertin & Arnouts 1996, A&AS 117, 393 (windowed positions); Bernstein & Jarvis 2002, AJ 123, 583
(weighted moments).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photutils.aperture import CircularAperture

from astro_vq.metrics.source_types import FWHM_PER_SIGMA, Field, FloatArray, Measurements

_ITERATIONS = 12  # of the windowed position; it gains a factor of two or more in each
_CHUNK = 1000  # sources measured at a time


def measure_sources(
    image: NDArray[Any], field: Field, x: FloatArray, y: FloatArray
) -> Measurements:
    """Measure sources near given positions.

    Fluxes are taken at the given positions; the windowed position starts from them.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Physical values; sources with a missing pixel or the border within reach give NaN.
    field : Field
        Background, aperture, and width of the weights.
    x, y : ndarray, shape (N,)
        Positions in pixels.

    Returns
    -------
    Measurements
    """
    if x.size == 0:
        return Measurements(*(np.empty(0) for _ in Measurements._fields))
    values = np.asarray(image, dtype=np.float64) - field.background
    values[~np.isfinite(values)] = np.nan
    filled = np.nan_to_num(values)
    padded = np.pad(values, stamp_reach(field), constant_values=np.nan)
    pieces = [
        _measure_some(filled, padded, field, x[start : start + _CHUNK], y[start : start + _CHUNK])
        for start in range(0, x.size, _CHUNK)
    ]
    return Measurements(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _measure_some(
    filled: FloatArray, padded: FloatArray, field: Field, x: FloatArray, y: FloatArray
) -> Measurements:
    """Measure sources on an image with 0 where missing, and the same with NaN and a border."""
    aperture = CircularAperture(np.column_stack([x, y]), r=field.radius)
    flux = np.atleast_1d(np.asarray(aperture.do_photometry(filled)[0], np.float64))
    stamps, grid_x, grid_y = _cut_stamps(padded, field, x, y)
    usable = np.asarray(np.isfinite(stamps).all((1, 2)), dtype=bool)
    stamps = np.where(usable[:, None, None], stamps, 0.0)
    width = field.fwhm / FWHM_PER_SIGMA

    def weights_at(at_x: FloatArray, at_y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        dx = grid_x - at_x[:, None, None]
        dy = grid_y - at_y[:, None, None]
        return np.exp(-(dx**2 + dy**2) / (2 * width**2)), dx, dy

    weight, dx, dy = weights_at(x, y)
    norm = 2 * math.pi * width**2
    psf_flux = (weight * stamps).sum((1, 2)) / (weight**2).sum((1, 2)) * norm
    near = dx**2 + dy**2 <= max(field.fwhm, 1.5) ** 2
    peak = np.where(near, stamps, -np.inf).max((1, 2))
    at_x, at_y = x.copy(), y.copy()
    good = usable.copy()
    for _ in range(_ITERATIONS):
        weight, dx, dy = weights_at(at_x, at_y)
        total = (weight * stamps).sum((1, 2))
        good &= total > 0
        safe = np.where(good, total, 1.0)
        at_x = np.where(good, at_x + 2 * (weight * stamps * dx).sum((1, 2)) / safe, at_x)
        at_y = np.where(good, at_y + 2 * (weight * stamps * dy).sum((1, 2)) / safe, at_y)
        good &= np.hypot(at_x - x, at_y - y) <= max(field.fwhm, 2.0)  # left for another source
        at_x, at_y = np.where(good, at_x, x), np.where(good, at_y, y)
    weight, dx, dy = weights_at(x, y)
    total = np.where(good, (weight * stamps).sum((1, 2)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        qxx = (weight * stamps * dx**2).sum((1, 2)) / total
        qyy = (weight * stamps * dy**2).sum((1, 2)) / total
        qxy = (weight * stamps * dx * dy).sum((1, 2)) / total
        trace = np.where(qxx + qyy > 0, qxx + qyy, np.nan)
    return Measurements(
        flux=np.where(usable, flux, np.nan),
        psf_flux=np.where(usable, psf_flux, np.nan),
        peak=np.where(usable, peak, np.nan),
        x=np.where(good, at_x, np.nan),
        y=np.where(good, at_y, np.nan),
        size=np.sqrt(trace / 2),
        e1=(qxx - qyy) / trace,
        e2=2 * qxy / trace,
    )


def stamp_reach(field: Field) -> int:
    """Return half the side of a stamp: four sigma of the weight, and the aperture."""
    return math.ceil(max(4 * field.fwhm / FWHM_PER_SIGMA, field.radius + 1))


def _cut_stamps(
    padded: FloatArray, field: Field, x: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return stamps (N, S, S) around positions, NaN beyond the borders, and pixel coordinates."""
    reach = stamp_reach(field)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    steps = np.arange(-reach, reach + 1)
    rows = row[:, None, None] + steps[None, :, None]
    columns = column[:, None, None] + steps[None, None, :]
    return padded[rows + reach, columns + reach], columns.astype(float), rows.astype(float)
