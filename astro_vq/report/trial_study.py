"""What one way to compress did to an image: floor, sources, residuals, other codecs."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.metrics.count_floor import CountNoise
from astro_vq.metrics.distortion import (
    PowerSpectrum,
    power_spectrum,
    residual_in_sigma,
    residual_statistics,
    sky_change,
)
from astro_vq.metrics.noise_floor import NoiseFloor, NoiseModel
from astro_vq.metrics.peers import PeerResult
from astro_vq.metrics.photometry import Catalogue, PhotometryChange, compare_sources
from astro_vq.report.limits import SWEEP_FACTORS
from astro_vq.report.records import clean_json
from astro_vq.report.subject import Subject
from astro_vq.report.trial import Trial

_BRIGHTEST = 10  # sources in the table of radio maps and counts


@dataclass(frozen=True)
class TrialStudy:
    """A trial and what it did to the science.

    Attributes
    ----------
    trial : Trial
        Sizes, errors, times and the decoded plane.
    floor : NoiseFloor or None
        Bits that the noise costs at its bound.
    photometry : PhotometryChange
        Of the sources.
    spectrum : PowerSpectrum
        Of the residual in sigma.
    peers : list of PeerResult
        Other codecs at the same bound.
    record : dict
        All of it as JSON values.
    swept : bool
        Whether it belongs to the sweep rather than to what was asked for.
    """

    trial: Trial
    floor: NoiseFloor | None
    photometry: PhotometryChange
    spectrum: PowerSpectrum
    peers: list[PeerResult]
    record: dict[str, Any]
    swept: bool = False


def study_trial(
    trial: Trial,
    subject: Subject,
    catalogue: Catalogue,
    noise: NoiseModel | CountNoise | None,
    sigma: float,
    peers: list[PeerResult],
    swept: bool,
) -> TrialStudy:
    """Measure what a trial did to an image.

    Parameters
    ----------
    trial : Trial
        What came of one way to compress.
    subject : Subject
        The image.
    catalogue : Catalogue
        Its sources.
    noise : NoiseModel, CountNoise or None
        Its noise.
    sigma : float
        What residuals are divided by.
    peers : list of PeerResult
        Other codecs at the same bound.
    swept : bool
        Whether the trial belongs to a sweep.
    """
    decoded = trial.decoded
    photometry = compare_sources(catalogue, decoded)
    floor = _floor(noise, trial, subject)
    own = next((hdu for hdu in trial.hdus if hdu["index"] == subject.hdu), trial.to_dict())
    finite = 1 - trial.distortion.missing / max(trial.distortion.pixels, 1)
    change = sky_change(subject.pixels, decoded)
    factor = trial.choice.factor
    if factor is None and trial.bound and (trial.sigma or subject.noise):
        factor = _round_factor(trial.bound / (trial.sigma or subject.noise))
    record = {
        **trial.to_dict(),
        "swept": swept,
        "factor": factor,
        "noise_floor": None if floor is None else floor._asdict(),
        "noise_floor_bits": None if floor is None else finite * floor.correlated_bits,
        "bits_above_floor": (
            None if floor is None else trial.rate.bits_per_pixel() - finite * floor.correlated_bits
        ),
        "max_error_sigma": own["max_error"] / sigma,
        "rms_error_sigma": own["rms_error"] / sigma,
        "residual": residual_statistics(subject.pixels, decoded, sigma)._asdict(),
        "sky": None if change is None else change._asdict(),
        "photometry": photometry.to_dict(),
        "peers": [peer._asdict() for peer in peers],
    }
    if subject.kind in ("radio", "counts"):
        record[subject.kind] = _totals(subject, catalogue, decoded, photometry)
    residual = residual_in_sigma(subject.pixels, decoded, sigma)
    return TrialStudy(
        trial=trial,
        floor=floor,
        photometry=photometry,
        spectrum=power_spectrum(residual),
        peers=peers,
        record=clean_json(record),
        swept=swept,
    )


def _round_factor(factor: float) -> float:
    """Return the factor of a sweep that a factor is meant to be, or the factor itself."""
    near = [known for known in SWEEP_FACTORS if math.isclose(known, factor, rel_tol=1e-3)]
    return near[0] if near else factor


def _floor(
    noise: NoiseModel | CountNoise | None, trial: Trial, subject: Subject
) -> NoiseFloor | None:
    """Return the floor at the bound of a trial; None for tokens, which have none."""
    if noise is None or trial.bound is None:
        return None
    if not subject.is_integer:
        return noise.floor(2 * trial.bound) if trial.bound > 0 else noise.lossless_floor()
    whole = math.floor(trial.bound / subject.scale * (1 + 1e-12))
    step = (2 * whole + 1) * subject.scale
    return noise.floor(step, quantized=whole == 0)


def _totals(
    subject: Subject, catalogue: Catalogue, decoded: NDArray[np.float64], change: PhotometryChange
) -> dict[str, Any]:
    """Return totals and the brightest sources: counts, or peaks and fluxes per beam."""
    area = subject.beam.area if subject.beam is not None else 1.0
    valid = np.isfinite(subject.pixels) & np.isfinite(decoded)
    before, errors = catalogue.measured, catalogue.errors
    usable = np.flatnonzero(np.isfinite(before.flux))
    order = usable[np.argsort(-before.peak[usable])][:_BRIGHTEST]
    rows = [
        {
            "x": float(catalogue.found.x[i]),
            "y": float(catalogue.found.y[i]),
            "snr": float(catalogue.found.snr[i]),
            "peak": float(before.peak[i]),
            "peak_difference": float(change.differences["peak"][i] * errors.peak[i]),
            "integrated": float(before.flux[i]) / area,
            "integrated_difference": float(change.differences["flux"][i] * errors.flux[i]) / area,
            "integrated_error": float(errors.flux[i]) / area,
        }
        for i in order
    ]
    return {
        "beam_pixels": area,
        "total_before": float(subject.pixels[valid].sum()) / area,
        "total_after": float(decoded[valid].sum()) / area,
        "brightest": rows,
    }
