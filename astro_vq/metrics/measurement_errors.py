"""Standard errors of measured sources, from the covariance of the sky noise."""

import math

import numpy as np
from photutils.aperture import CircularAperture
from scipy import fft

from astro_vq.metrics.measurement import stamp_reach
from astro_vq.metrics.source_types import FWHM_PER_SIGMA, Field, FloatArray, Measurements


def measurement_errors(field: Field, measured: Measurements) -> Measurements:
    """Return the standard errors that the sky noise gives each measurement of the original.

    Noise of the sources' own photons is left out (counts excepted): it depends on the gain, and
    without it the errors are the smallest that they can be, the strictest unit to judge by.

    Parameters
    ----------
    field : Field
        Noise covariance and weights.
    measured : Measurements
        Of the original.

    Returns
    -------
    Measurements
        Of errors, in the units of `measured`; NaN where that is NaN.
    """
    width = field.fwhm / FWHM_PER_SIGMA
    reach = stamp_reach(field)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    weight = np.exp(-(dx**2 + dy**2) / (2 * width**2))
    disc = (
        CircularAperture((reach, reach), r=field.radius)
        .to_mask(method="exact")
        .to_image(weight.shape)
    )
    circle = np.asarray(disc, dtype=np.float64)
    norm = 2 * math.pi * width**2
    level = np.zeros(measured.flux.shape)
    if field.is_counts:
        level = np.maximum(np.nan_to_num(measured.flux), 0.0)
    flux = np.sqrt(noise_of_weights(circle, field) ** 2 + level)
    psf = noise_of_weights(weight / (weight**2).sum() * norm, field)
    psf_flux = np.sqrt(psf**2 + 2 * level)
    single = math.sqrt(
        max(float(field.covariance[tuple(n // 2 for n in field.covariance.shape)]), 0)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        # (weighted sum of a Gaussian of this flux) = flux / 2; a wider source has less
        total = np.where(
            measured.psf_flux > 0, measured.psf_flux * (weight**2).sum() / norm, np.nan
        )
        share = np.sqrt(1 + level / np.maximum(noise_of_weights(circle, field), 1e-300) ** 2)
        place = 2 * noise_of_weights(weight * dx, field) / total * share
        square = noise_of_weights(weight * (dx**2 + dy**2 - 2 * measured_square(width)), field)
        size = square / total / (4 * np.maximum(measured.size, 1e-3)) * share
        shape = noise_of_weights(weight * (dx**2 - dy**2), field) / total * share
        ellipticity = shape / (2 * measured.size**2)
    return Measurements(
        flux=np.where(np.isfinite(measured.flux), flux, np.nan),
        psf_flux=np.where(np.isfinite(measured.psf_flux), psf_flux, np.nan),
        peak=np.where(np.isfinite(measured.peak), single, np.nan),
        x=np.where(np.isfinite(measured.x), place, np.nan),
        y=np.where(np.isfinite(measured.y), place, np.nan),
        size=size,
        e1=ellipticity,
        e2=ellipticity,
    )


def measured_square(width: float) -> float:
    """Return the weighted second moment of a Gaussian of this width under the same weight."""
    return width**2 / 2


def noise_of_weights(weights: FloatArray, field: Field) -> float:
    """Return the standard deviation of a weighted sum of sky pixels, correlations included.

    Parameters
    ----------
    weights : ndarray, shape (h, w)
        Weight of each pixel.
    field : Field
        Whose covariance holds; lags beyond it count as uncorrelated.
    """
    if weights.ndim != 2:
        raise ValueError(f"weights must be two-dimensional, got shape {weights.shape}")
    lag = field.covariance.shape[0] // 2
    size = (weights.shape[0] + lag, weights.shape[1] + lag)
    products = fft.irfft2(np.abs(fft.rfft2(weights, size)) ** 2, size)  # sums of pairs by lag
    pairs = np.roll(products, lag, (0, 1))[: 2 * lag + 1, : 2 * lag + 1]
    variance = float(np.sum(pairs * field.covariance))
    white = float(np.sum(weights**2)) * float(field.covariance[lag, lag])
    return math.sqrt(max(variance, 0.01 * white))  # a measured covariance may be indefinite
