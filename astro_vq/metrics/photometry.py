"""What compression did to sources: detected on the original, measured on both images.

Differences are given in units of the standard error of each measurement on the original, so that
0.1 means a tenth of what the noise does anyway.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.metrics.detection import (
    detect_sources,
    find_maxima,
    match_sources,
    smooth_image,
    smoothed_noise,
)
from astro_vq.metrics.field import prepare_field
from astro_vq.metrics.measurement import measure_sources
from astro_vq.metrics.measurement_errors import measurement_errors
from astro_vq.metrics.source_types import Detections, Field, FloatArray, Measurements

SNR_BINS = (5.0, 10.0, 30.0, 100.0, math.inf)
"""Edges of the ranges of significance that differences are also given for."""

_MOST_PEAKS = 200_000  # detections that are matched at most

QUANTITIES = ("flux", "psf_flux", "peak", "x", "y", "size", "e1", "e2")
"""What is compared, by the names of `Measurements`."""


class Spread(NamedTuple):
    """Differences of one quantity, in units of its error.

    Attributes
    ----------
    number : int
        Sources that have it in both images.
    bias : float
        Median of the differences decoded - original.
    median, percentile_90, largest : float
        Of the absolute differences.
    """

    number: int
    bias: float
    median: float
    percentile_90: float
    largest: float


class Catalogue(NamedTuple):
    """Sources of the original and how they are measured; made once for many decoded images.

    Attributes
    ----------
    field : Field
        Background, noise, width and aperture.
    noise : float
        Of the smoothed original: what thresholds refer to.
    threshold : float
        Of the detection.
    peaks : Detections
        On the original; positions are pixels.
    found : Detections
        The most significant of them, with windowed positions where these could be had.
    measured, errors : Measurements
        On the original, and their standard errors.
    """

    field: Field
    noise: float
    threshold: float
    peaks: Detections
    found: Detections
    measured: Measurements
    errors: Measurements


class PhotometryChange(NamedTuple):
    """Comparison of the sources of two images.

    Attributes
    ----------
    sources : int
        Detected on the original.
    usable : int
        Of those, measured: of the most significant ones those away from borders and missing
        pixels.
    detected : int
        Detected on the decoded image, at the same threshold.
    lost, invented : int
        Detections of the original without a partner in the decoded image, and the reverse.
        Some cross the threshold either way whenever values change at all.
    lost_snr, invented_snr : float
        Significance of the most significant of them; 0 without any.
    spreads : dict of str to Spread
        By the names of `QUANTITIES`, and ``position`` (the larger of x and y for each source).
    spreads_by_snr : list of tuple (low, high, Spread)
        Of the aperture flux, by significance of the source.
    position_pixels : float
        90th percentile of the distance between positions, pixels.
    differences : dict of str to ndarray, shape (N,)
        Of each quantity, in units of its error, NaN where not measured.
    snr : ndarray, shape (N,)
        Significance of each source on the original.
    """

    sources: int
    usable: int
    detected: int
    lost: int
    invented: int
    lost_snr: float
    invented_snr: float
    spreads: dict[str, Spread]
    spreads_by_snr: list[tuple[float, float, Spread]]
    position_pixels: float
    differences: dict[str, FloatArray]
    snr: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single sources as JSON values."""
        return {
            "sources": self.sources,
            "usable": self.usable,
            "detected": self.detected,
            "lost": self.lost,
            "invented": self.invented,
            "lost_snr": self.lost_snr,
            "invented_snr": self.invented_snr,
            "position_pixels": self.position_pixels,
            "differences_in_errors": {k: v._asdict() for k, v in self.spreads.items()},
            "flux_differences_by_snr": [
                {"low": low, "high": None if math.isinf(high) else high, **spread._asdict()}
                for low, high, spread in self.spreads_by_snr
            ],
        }


def make_catalogue(
    image: NDArray[Any],
    *,
    threshold: float = 5.0,
    fwhm: float | None = None,
    radius: float | None = None,
    is_counts: bool = False,
    max_sources: int = 5000,
) -> Catalogue:
    """Detect and measure the sources of the original.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Physical values; NaN where missing.
    threshold : float
        Significance that a source must have in the image smoothed with its point spread function.
    fwhm, radius : float, optional
        Of point sources and of the aperture, pixels; see `prepare_field`.
    is_counts : bool
        Values are photon counts.
    max_sources : int
        The most significant so many are measured; all are matched.

    Raises
    ------
    DataError
        When no pixel is finite.
    ValueError
        When `threshold`, `fwhm` or `radius` is not positive.
    """
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    field = prepare_field(image, fwhm=fwhm, radius=radius, is_counts=is_counts)
    smooth = smooth_image(image, field)
    noise = smoothed_noise(smooth, field)
    peaks = find_maxima(smooth, field, noise=noise, threshold=threshold, max_sources=_MOST_PEAKS)
    found = Detections(*(column[:max_sources] for column in peaks))
    first = measure_sources(image, field, found.x, found.y)
    x = np.where(np.isfinite(first.x), first.x, found.x)
    y = np.where(np.isfinite(first.y), first.y, found.y)
    found = Detections(x, y, found.snr)
    measured = measure_sources(image, field, x, y)
    errors = measurement_errors(field, measured)
    return Catalogue(field, noise, threshold, peaks, found, measured, errors)


def compare_sources(catalogue: Catalogue, decoded: NDArray[Any]) -> PhotometryChange:
    """Measure the sources of the original on a decoded image, and detect them there anew.

    Parameters
    ----------
    catalogue : Catalogue
        Of the original.
    decoded : ndarray, shape (H, W)
        Physical values, same shape as the original.

    Returns
    -------
    PhotometryChange

    Raises
    ------
    ValueError
        When the shape differs from the original's.
    """
    field = catalogue.field
    if decoded.shape != field.background.shape:
        raise ValueError(f"shape must be {field.background.shape}, got {decoded.shape}")
    found = catalogue.found
    again = measure_sources(decoded, field, found.x, found.y)
    differences = {
        name: _in_errors(
            getattr(again, name), getattr(catalogue.measured, name), getattr(catalogue.errors, name)
        )
        for name in QUANTITIES
    }
    spreads = {name: _spread(values) for name, values in differences.items()}
    both = np.where(
        np.abs(differences["x"]) >= np.abs(differences["y"]), differences["x"], differences["y"]
    )
    spreads["position"] = _spread(both)
    moved = np.hypot(again.x - catalogue.measured.x, again.y - catalogue.measured.y)
    moved = moved[np.isfinite(moved)]
    detected = detect_sources(
        decoded,
        field,
        threshold=catalogue.threshold,
        max_sources=_MOST_PEAKS,
        noise=catalogue.noise,
    )
    partner, taken = match_sources(catalogue.peaks, detected, max(1.5, field.fwhm / 2))
    lost, invented = catalogue.peaks.snr[partner < 0], detected.snr[~taken]
    in_bins = [
        (low, high, _spread(differences["flux"][(found.snr >= low) & (found.snr < high)]))
        for low, high in itertools.pairwise(SNR_BINS)
    ]
    return PhotometryChange(
        sources=catalogue.peaks.x.size,
        usable=int(np.isfinite(catalogue.measured.flux).sum()),
        detected=detected.x.size,
        lost=lost.size,
        invented=invented.size,
        lost_snr=float(lost.max(initial=0.0)),
        invented_snr=float(invented.max(initial=0.0)),
        spreads=spreads,
        spreads_by_snr=in_bins,
        position_pixels=float(np.quantile(moved, 0.9)) if moved.size else 0.0,
        differences=differences,
        snr=found.snr,
    )


def _in_errors(after: FloatArray, before: FloatArray, errors: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = (after - before) / errors
    difference[after == before] = 0.0
    difference[~np.isfinite(difference)] = np.nan
    return difference


def _spread(differences: FloatArray) -> Spread:
    """Summarise differences; zeros where there is none."""
    values = differences[np.isfinite(differences)]
    if values.size == 0:
        return Spread(0, 0.0, 0.0, 0.0, 0.0)
    size = np.abs(values)
    return Spread(
        number=values.size,
        bias=float(np.median(values)),
        median=float(np.median(size)),
        percentile_90=float(np.quantile(size, 0.9)),
        largest=float(size.max()),
    )
