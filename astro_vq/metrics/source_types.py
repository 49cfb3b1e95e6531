"""What sources stand on, where they are, and what was measured of them.

Pixel (0, 0) is the middle of the first pixel, x along a row.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian over its standard deviation."""

STATISTICS_SAMPLES = 400_000
"""Pixels that sky and noise are measured on."""


class Field(NamedTuple):
    """What sources stand on: measured once, on the original, and used for both images.

    Attributes
    ----------
    background : ndarray, shape (H, W)
        Smooth background, in the image's unit.
    covariance : ndarray, shape (2 L + 1, 2 L + 1)
        Autocovariance of the sky noise.
    sigma : float
        Standard deviation of single sky pixels.
    fwhm : float
        Full width at half maximum of point sources, in pixels.
    radius : float
        Radius of the aperture, in pixels.
    is_counts : bool
        Whether values are photon counts, whose noise follows from their number.
    """

    background: FloatArray
    covariance: FloatArray
    sigma: float
    fwhm: float
    radius: float
    is_counts: bool = False


class Detections(NamedTuple):
    """Positions (pixels) and significance of sources, the most significant first; shapes (N,)."""

    x: FloatArray
    y: FloatArray
    snr: FloatArray


class Measurements(NamedTuple):
    """What was measured of N sources; every entry has shape (N,), NaN where it cannot be had.

    Attributes
    ----------
    flux : ndarray
        Sum within the aperture, background subtracted.
    psf_flux : ndarray
        Flux of the Gaussian of the field's width that fits best at the given position.
    peak : ndarray
        Largest value within one FWHM, background subtracted.
    x, y : ndarray
        Windowed position, pixels.
    size : ndarray
        Root of the mean of the weighted second moments, pixels.
    e1, e2 : ndarray
        Ellipticity (Qxx - Qyy, 2 Qxy) / (Qxx + Qyy) of the weighted moments.
    """

    flux: FloatArray
    psf_flux: FloatArray
    peak: FloatArray
    x: FloatArray
    y: FloatArray
    size: FloatArray
    e1: FloatArray
    e2: FloatArray
