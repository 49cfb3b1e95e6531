"""Limits on what compression may do, and the loosest bound that stays within them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SWEEP_FACTORS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Bounds that a sweep tries, in units of the pixel noise."""


class Limit(NamedTuple):
    """Something that can be limited.

    Attributes
    ----------
    default : float
        Its limit when the user gives none.
    meaning : str
        What it is, with its unit.
    """

    default: float
    meaning: str


LIMITS: dict[str, Limit] = {
    "flux": Limit(0.2, "90th percentile of flux differences, in flux errors"),
    "bias": Limit(0.02, "median flux difference, in flux errors"),
    "psf-flux": Limit(0.2, "90th percentile of PSF flux differences, in flux errors"),
    "position": Limit(0.3, "90th percentile of position differences, in position errors"),
    "size": Limit(0.3, "90th percentile of size differences, in size errors"),
    "ellipticity": Limit(0.3, "90th percentile of ellipticity differences, in their errors"),
    "lost-snr": Limit(6.0, "significance of the most significant source that is lost"),
    "invented-snr": Limit(6.0, "significance of the most significant source that is invented"),
    "noise": Limit(0.02, "relative change of the sky noise"),
    "sky": Limit(0.02, "change of the sky level, in sky sigma"),
    "correlation": Limit(0.2, "largest correlation of neighbouring residuals"),
}
"""What can be limited, by the name that options use."""


class Recommendation(NamedTuple):
    """Answer to "which bound is acceptable?".

    Attributes
    ----------
    factor : float or None
        Loosest acceptable bound in units of the pixel noise; None when none is.
    choice : str
        Label of that trial, or ''.
    ratio : float or None
        Ratio of sizes that it reaches.
    exceeded : dict of str to list of str
        For each trial that is not acceptable, by its label, what goes beyond its limit.
    limits : dict of str to float
        Limits that were asked for.
    """

    factor: float | None
    choice: str
    ratio: float | None
    exceeded: dict[str, list[str]]
    limits: dict[str, float]

    def describe(self) -> str:
        """Return the recommendation as a sentence."""
        if self.factor is not None:
            return (
                f"--max-error {format_factor(self.factor)}sigma is the loosest bound within the "
                f"limits (ratio {self.ratio:.3g})"
            )
        if not self.exceeded:
            return "no bound could be tried: the noise of this image cannot be measured"
        label, reasons = next(iter(self.exceeded.items()))
        return f"no bound tried is within the limits; already {label} exceeds: {', '.join(reasons)}"


def format_factor(factor: float) -> str:
    """Return a number of sigma without more digits than it needs."""
    return f"{factor:.6f}".rstrip("0").rstrip(".")


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """Return limits from texts such as ``flux=0.1``; those not given keep their defaults.

    Parameters
    ----------
    texts : sequence of str
        ``NAME=VALUE``; a value of ``none`` lifts a limit.

    Raises
    ------
    ValueError
        A name is not in `LIMITS`, or a value is no number of at least 0.
    """
    limits = {name: limit.default for name, limit in LIMITS.items()}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().lower()
        if name not in LIMITS or not equals:
            raise ValueError(
                f"{text!r} is not a limit; write NAME=VALUE, NAME one of {', '.join(LIMITS)}"
            )
        if value.strip().lower() == "none":
            limits.pop(name, None)
            continue
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise ValueError(f"{text!r}: the limit must be a number of at least 0, or none")
        limits[name] = number
    return limits


def effects_of(trial: Mapping[str, Any]) -> dict[str, float]:
    """Return the effects that limits apply to, from the record of a trial.

    Parameters
    ----------
    trial : mapping
        A trial of an image's record, see `astro_vq.report.study`.  What was not measured, as
        in images without sources, is left out.
    """
    effects: dict[str, float] = {}
    photometry = trial.get("photometry") or {}
    spreads = photometry.get("differences_in_errors", {})

    def take(name: str, quantity: str, figure: str) -> None:
        spread = spreads.get(quantity)
        if spread and spread["number"]:
            effects[name] = abs(float(spread[figure]))

    take("flux", "flux", "percentile_90")
    take("bias", "flux", "bias")
    take("psf-flux", "psf_flux", "percentile_90")
    take("position", "position", "percentile_90")
    take("size", "size", "percentile_90")
    shapes = [spreads[name]["percentile_90"] for name in ("e1", "e2") if name in spreads]
    if shapes and spreads["e1"]["number"]:
        effects["ellipticity"] = float(max(shapes))
    if photometry.get("sources") or photometry.get("detected"):
        effects["lost-snr"] = float(photometry["lost_snr"])
        effects["invented-snr"] = float(photometry["invented_snr"])
    sky = trial.get("sky")
    if sky and sky["sigma_before"] > 0:
        effects["noise"] = abs(sky["sigma_after"] / sky["sigma_before"] - 1)
        effects["sky"] = abs(sky["level_after"] - sky["level_before"]) / sky["sigma_before"]
    residual = trial.get("residual")
    if residual:
        effects["correlation"] = max(abs(residual["correlation_x"]), abs(residual["correlation_y"]))
    return effects


def exceeded_limits(trial: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """Return what goes beyond its limit in a trial, each as ``name value > limit``."""
    effects = effects_of(trial)
    return [
        f"{name} {effects[name]:.2g} > {limit:g}"
        for name, limit in limits.items()
        if effects.get(name, 0.0) > limit
    ]


def recommend(trials: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> Recommendation:
    """Recommend the loosest bound that is acceptable, all tighter ones included.

    Parameters
    ----------
    trials : sequence of mapping
        Records of trials; those without a bound in sigma are left out.
    limits : mapping of str to float
        Limits by name.
    """
    swept = sorted((t for t in trials if t.get("factor")), key=lambda t: float(t["factor"]))
    best: Mapping[str, Any] | None = None
    exceeded: dict[str, list[str]] = {}
    for trial in swept:
        reasons = exceeded_limits(trial, limits)
        if reasons:
            exceeded[str(trial["choice"])] = reasons
        elif not exceeded:
            best = trial
    return Recommendation(
        factor=None if best is None else float(best["factor"]),
        choice="" if best is None else str(best["choice"]),
        ratio=None if best is None else float(best["ratio"]),
        exceeded=exceeded,
        limits=dict(limits),
    )
