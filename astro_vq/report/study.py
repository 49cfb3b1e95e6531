"""Everything that a report says about one image, as a record of JSON values and the arrays drawn.

An image is compressed in each way that was asked for; each time every pixel is compared, and the
sources of one plane are measured again.
"""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq import __version__
from astro_vq.errors import AstroVQError, DataError
from astro_vq.io.fits import open_fits
from astro_vq.metrics.count_floor import CountNoise
from astro_vq.metrics.distortion import PowerSpectrum, middle_part, power_spectrum
from astro_vq.metrics.noise_floor import NoiseModel, measure_noise
from astro_vq.metrics.peers import PeerResult, run_peers
from astro_vq.metrics.photometry import Catalogue, make_catalogue
from astro_vq.report.choice import Choice, parse_choice
from astro_vq.report.limits import SWEEP_FACTORS, Recommendation, format_factor, recommend
from astro_vq.report.records import clean_json
from astro_vq.report.settings import RECORD_FORMAT, ReportSettings
from astro_vq.report.stages import ModelSpeed
from astro_vq.report.subject import Subject, choose_subject
from astro_vq.report.trial import run_trial
from astro_vq.report.trial_study import TrialStudy, study_trial

_NOISE_SIDE = 768  # pixels on a side of the part that the noise is measured on


@dataclass(frozen=True)
class ImageStudy:
    """All of one image.

    Attributes
    ----------
    subject : Subject
        The image.
    catalogue : Catalogue
        Its sources.
    noise : NoiseModel, CountNoise or None
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
    noise: NoiseModel | CountNoise | None
    spectrum: PowerSpectrum
    trials: list[TrialStudy]
    recommendation: Recommendation | None
    record: dict[str, Any]

    @property
    def asked(self) -> list[TrialStudy]:
        """The trials that were asked for, without those of a sweep."""
        return [trial for trial in self.trials if not trial.swept]


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
    noise = _measure_noise(subject)
    sigma = _unit_of_residuals(subject)
    plan = _plan(settings, subject, notes := list(subject.notes))
    devices = _prepare_devices(subject, settings, [choice for choice, _ in plan])
    trials: list[TrialStudy] = []
    failures: list[dict[str, str]] = []
    last_error: AstroVQError | None = None
    with tempfile.TemporaryDirectory(prefix="astro-vq-report-") as folder:
        for choice, swept in plan:
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
                    devices=devices[:1] if swept else devices,
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
            trials.append(study_trial(trial, subject, catalogue, noise, sigma, peers, swept))
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


def _prepare_devices(
    subject: Subject, settings: ReportSettings, choices: Sequence[Choice]
) -> list[tuple[str, ModelSpeed | None]]:
    """Return devices by their names here, and how fast the model is on each, if it is needed."""
    fidelities = {choice.fidelity for choice in choices}
    if not settings.tokens and "tokens" not in fidelities:
        return [(device, None) for device in settings.devices]
    from astro_vq.codec.windows import choose_device  # torch only when it is needed
    from astro_vq.report.model_speed import measure_model

    prepared: list[tuple[str, ModelSpeed | None]] = []
    for device in map(choose_device, settings.devices):
        try:
            speed = measure_model(subject, settings.model, device, decode="tokens" in fidelities)
        except AstroVQError:  # a model that is missing or has no tokens: each trial says so
            speed = None
        prepared.append((device, speed))
    return prepared


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


def _measure_noise(subject: Subject) -> NoiseModel | CountNoise | None:
    """Return the noise of an image, that of Poisson for counts; None where there is none."""
    if subject.kind == "counts":
        return CountNoise(max(subject.sky, 0.0))
    return measure_noise(middle_part(_native(subject), _NOISE_SIDE))


def _native(subject: Subject) -> NDArray[Any]:
    """Return the plane in its own floating point type, for the spacing of its numbers."""
    if subject.stored.dtype.kind == "f" and subject.scale == 1.0:
        return subject.pixels.astype(subject.stored.dtype)
    return subject.pixels


def _blank_pixels(subject: Subject) -> NDArray[np.bool_] | None:
    if subject.blank is None or not subject.is_integer:
        return None
    return np.asarray(subject.stored == subject.blank, dtype=bool)
