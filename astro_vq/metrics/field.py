"""What sources of an image stand on: background, noise, width of point sources, aperture."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.data.noise import autocovariance, sky_statistics
from astro_vq.errors import DataError
from astro_vq.metrics.background import background_map
from astro_vq.metrics.detection import detect_sources
from astro_vq.metrics.distortion import middle_part
from astro_vq.metrics.measurement import measure_sources
from astro_vq.metrics.source_types import FWHM_PER_SIGMA, STATISTICS_SAMPLES, Field

_COVARIANCE_SIDE = 768  # pixels on a side of the part that its covariance is measured on
_GUESS_FWHM = 2.5
_FWHM_LIMITS = (1.4, 12.0)


def prepare_field(
    image: NDArray[Any],
    *,
    fwhm: float | None = None,
    radius: float | None = None,
    is_counts: bool = False,
) -> Field:
    """Measure what is needed to detect and measure sources.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        The original, physical values.
    fwhm : float, optional
        Of point sources, pixels; measured on the brightest compact ones when not given.
    radius : float, optional
        Of the aperture, pixels; 1.35 times the FWHM but at least 2 when not given.
    is_counts : bool
        Take the noise of photon counts.

    Raises
    ------
    DataError
        When no pixel is finite.
    ValueError
        When `fwhm` or `radius` is not positive.
    """
    for name, value in (("fwhm", fwhm), ("radius", radius)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    background = background_map(image)
    flat = np.asarray(image, dtype=np.float64) - background
    sigma = sky_statistics(flat, max_samples=STATISTICS_SAMPLES).sigma
    field = Field(background, np.array([[sigma**2]]), sigma, fwhm or _GUESS_FWHM, 2.0, is_counts)
    if fwhm is None:
        field = field._replace(fwhm=_measure_fwhm(image, field))
    field = field._replace(radius=radius or max(2.0, 1.35 * field.fwhm))
    lag = min(2 * math.ceil(max(field.radius, field.fwhm)), 24)
    part = middle_part(flat, _COVARIANCE_SIDE)
    while lag > 0 and sigma > 0:
        try:
            covariance = autocovariance(part, lag)
        except DataError:  # too few sky pixels for so long a lag
            lag //= 2
        else:
            if covariance[lag, lag] > 0:
                field = field._replace(covariance=covariance)
            break
    return field


def _measure_fwhm(image: NDArray[Any], field: Field) -> float:
    """Return the FWHM of the compact sources of an image (median), or a guess without any."""
    found = detect_sources(image, field, threshold=15.0, max_sources=300)
    if found.x.size < 3:
        return field.fwhm
    width = 2.5 / FWHM_PER_SIGMA * 2
    window = field._replace(fwhm=width * FWHM_PER_SIGMA)
    measured = measure_sources(image, window, found.x, found.y)
    with np.errstate(divide="ignore", invalid="ignore"):
        intrinsic = (1 / measured.size**2 - 1 / width**2) ** -0.5
    intrinsic = intrinsic[np.isfinite(intrinsic) & (intrinsic > 0)]
    if intrinsic.size < 3:
        return field.fwhm
    fwhm = float(np.quantile(intrinsic, 0.4)) * FWHM_PER_SIGMA  # galaxies lie above the stars
    return min(max(fwhm, _FWHM_LIMITS[0]), _FWHM_LIMITS[1])
