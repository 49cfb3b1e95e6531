"""Everything that a report says about one image, as a record of JSON values and the arrays drawn.

An image is compressed in each way that was asked for; each time every pixel is compared, and the
sources of one plane are measured again.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq import __version__
from astro_vq.errors import AstroVQError, DataError
from astro_vq.io.fits import open_fits
from astro_vq.metrics.distortion import (
    PowerSpectrum,
    middle_part,
    power_spectrum,
    residual_in_sigma,
    residual_statistics,
    sky_change,
)
from astro_vq.metrics.noise_floor import NoiseFloor, NoiseModel, measure_noise
from astro_vq.metrics.peers import PeerResult, run_peers
from astro_vq.metrics.photometry import (
    Catalogue,
    PhotometryChange,
    compare_sources,
    make_catalogue,
)
from astro_vq.report.limits import (
    SWEEP_FACTORS,
    Recommendation,
    format_factor,
    parse_limits,
    recommend,
)
from astro_vq.report.subject import Subject, choose_subject
from astro_vq.report.trial import Choice, Trial, parse_choice, run_trial

RECORD_FORMAT = 1
"""Number of the layout of records."""

_NOISE_SIDE = 768  # pixels on a side of the part that the noise is measured on
_BRIGHTEST = 10  # sources in the table of radio maps and counts


@dataclass(frozen=True)
class ReportSettings:
    """What a report does.

    Attributes
    ----------
    choices : tuple of Choice
        Ways to compress; the default of each image when empty.
    model : str
        Model, as for `astro_vq.compress`.
    effort : int
        1 to 9.
    tokens : bool
        Keep tokens beside pixels.
    devices : tuple of str
        Where networks run; what further ones write is compared with the first.
    peers : bool
        Run other codecs on the same pixels at the same bounds.
    sweep : bool
        Try bounds of `SWEEP_FACTORS` too, and recommend one.
    limits : dict of str to float
        Limits of the recommendation; see `astro_vq.report.limits`.
    hdu : int or None
        HDU to look at; the largest image otherwise.
    threshold : float
        Significance of a source.
    fwhm, radius : float or None
        Of point sources and the aperture, pixels; measured otherwise.
    """

    choices: tuple[Choice, ...] = ()
    model: str = "default"
    effort: int = 5
    tokens: bool = True
    devices: tuple[str, ...] = ("auto",)
    peers: bool = False
    sweep: bool = False
    limits: dict[str, float] = field(default_factory=lambda: parse_limits(()))
    hdu: int | None = None
    threshold: float = 5.0
    fwhm: float | None = None
    radius: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "choices": [choice._asdict() for choice in self.choices],
        }


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


@dataclass(frozen=True)
class ImageStudy:
    """All of one image.

    Attributes
    ----------
    subject : Subject
        The image.
    catalogue : Catalogue
        Its sources.
    noise : NoiseModel or None
        Its noise.
    spectrum : PowerSpectrum
        Of the image in sigma.
    trials : list of TrialStudy
        Those asked for, then those of the sweep.
    recommendation : Recommendation or None
        Of the sweep.
    record : dict
        All of it as JSON values.
    """

    subject: Subject
    catalogue: Catalogue
    noise: NoiseModel | None
    spectrum: PowerSpectrum
    trials: list[TrialStudy]
    recommendation: Recommendation | None
    record: dict[str, Any]


def study_image(
    path: Path,
    settings: ReportSettings,
    *,
    tell: Callable[[str], None] = lambda text: None,
) -> ImageStudy:
    """Compress an image in every way asked for and measure what that did.

    Parameters
    ----------
    path : Path
        FITS file.
    settings : ReportSettings
        What to do.
    tell : callable
        Told what is being done, for a progress line.

    Returns
    -------
    ImageStudy

    Raises
    ------
    AstroVQError
        The file cannot be read, holds no image, or no choice could be carried out.
    """
    start = time.perf_counter()
    with open_fits(path) as file:
        subject = choose_subject(file, path, hdu=settings.hdu)
    tell("sources and noise")
    catalogue = make_catalogue(
        subject.pixels if subject.has_pixels else np.zeros(subject.pixels.shape),
        threshold=settings.threshold,
        fwhm=settings.fwhm or _beam_width(subject),
        radius=settings.radius,
        is_counts=subject.kind == "counts",
    )
    noise = measure_noise(middle_part(_native(subject), _NOISE_SIDE))
    sigma = _unit_of_residuals(subject)
    trials: list[TrialStudy] = []
    notes = list(subject.notes)
    failures: list[dict[str, str]] = []
    last_error: AstroVQError | None = None
    with tempfile.TemporaryDirectory(prefix="astro-vq-report-") as folder:
        for choice, swept in _plan(settings, subject, notes):
            if swept and any(study.record["factor"] == choice.factor for study in trials):
                continue  # the default was just this one
            tell(choice.label)
            try:
                trial = run_trial(
                    subject,
                    choice,
                    Path(folder),
                    model=settings.model,
                    effort=settings.effort,
                    tokens=settings.tokens,
                    devices=settings.devices,
                )
            except (AstroVQError, ValueError) as error:  # a value that cannot be had here
                failures.append({"choice": choice.label, "error": str(error)})
                last_error = error if isinstance(error, AstroVQError) else DataError(str(error))
                continue
            peers: list[PeerResult] = []
            if settings.peers and not swept and trial.bound is not None:
                tell(f"{choice.label}: other codecs")
                peers = run_peers(
                    subject.stored, trial.bound / subject.scale, missing=_blank_pixels(subject)
                )
            trials.append(_study_trial(trial, subject, catalogue, noise, sigma, peers, swept))
    if not trials:
        raise last_error or AstroVQError(f"{path}: nothing to do")
    recommendation = None
    if settings.sweep:
        recommendation = recommend([study.record for study in trials], settings.limits)
    record = {
        "format": RECORD_FORMAT,
        "version": __version__,
        "input": str(path),
        "image": _describe_image(subject, catalogue),
        "trials": [study.record for study in trials],
        "failures": failures,
        "recommendation": None if recommendation is None else recommendation._asdict(),
        "limits": settings.limits,
        "notes": notes,
        "seconds": time.perf_counter() - start,
    }
    return ImageStudy(
        subject=subject,
        catalogue=catalogue,
        noise=noise,
        spectrum=power_spectrum((subject.pixels - catalogue.field.background) / sigma),
        trials=trials,
        recommendation=recommendation,
        record=clean_json(record),
    )


def _plan(
    settings: ReportSettings, subject: Subject, notes: list[str]
) -> list[tuple[Choice, bool]]:
    """Return all ways to compress, and whether each belongs to the sweep."""
    plan = [(choice, False) for choice in settings.choices or (parse_choice(None),)]
    if not settings.sweep:
        return plan
    if not subject.noise > 0:
        notes.append("no sweep: the noise of this image cannot be measured")
        return plan
    for factor in SWEEP_FACTORS:
        plan.append((parse_choice("max-error", f"{format_factor(factor)}sigma"), True))
    return plan


def _study_trial(
    trial: Trial,
    subject: Subject,
    catalogue: Catalogue,
    noise: NoiseModel | None,
    sigma: float,
    peers: list[PeerResult],
    swept: bool,
) -> TrialStudy:
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


def _floor(noise: NoiseModel | None, trial: Trial, subject: Subject) -> NoiseFloor | None:
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


def _describe_image(subject: Subject, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "hdu": subject.hdu,
        "plane": subject.plane,
        "shape": list(subject.pixels.shape),
        "dtype": str(subject.stored.dtype),
        "unit": subject.unit,
        "kind": subject.kind,
        "sky": subject.sky,
        "sky_sigma": subject.sigma,
        "pixel_noise": subject.noise,
        "keywords": subject.keywords,
        "beam": None
        if subject.beam is None
        else {"major": subject.beam.major, "minor": subject.beam.minor, "area": subject.beam.area},
        "sources": catalogue.peaks.x.size,
        "threshold": catalogue.threshold,
        "fwhm": catalogue.field.fwhm,
        "aperture_radius": catalogue.field.radius,
    }


def _beam_width(subject: Subject) -> float | None:
    """Return the FWHM that a beam gives point sources, where it can be used."""
    if subject.beam is None:
        return None
    width = math.sqrt(subject.beam.major * subject.beam.minor)
    return min(max(width, 1.4), 25.0)


def _unit_of_residuals(subject: Subject) -> float:
    """Return the noise that residuals are divided by; 1 in the image's unit when there is none."""
    return subject.noise or subject.sigma or 1.0


def _native(subject: Subject) -> NDArray[Any]:
    """Return the plane in its own floating point type, for the spacing of its numbers."""
    if subject.stored.dtype.kind == "f" and subject.scale == 1.0:
        return subject.pixels.astype(subject.stored.dtype)
    return subject.pixels


def _blank_pixels(subject: Subject) -> NDArray[np.bool_] | None:
    if subject.blank is None or not subject.is_integer:
        return None
    return np.asarray(subject.stored == subject.blank, dtype=bool)


def clean_json(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with numpy scalars made plain and numbers that JSON cannot hold as None."""
    if isinstance(value, dict):
        return {str(key): clean_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_json(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
