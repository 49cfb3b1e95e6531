"""What the simulated sky holds: a catalogue of stars and galaxies, and cosmic rays."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .profiles import FWHM_TO_SIGMA, MAX_RADIUS, PointSpread, Sersic

FloatArray = NDArray[np.float64]

TRUTH_DTYPE = np.dtype(
    [
        ("type", "U6"),  # 'star' or 'galaxy'
        ("x", "f8"),  # pixels, 0 in the middle of the first pixel
        ("y", "f8"),
        ("flux", "f8"),  # unit of the image
        ("half_light_radius", "f8"),  # of the major axis, pixels; NaN for stars, as the rest
        ("sersic_index", "f8"),
        ("axis_ratio", "f8"),
        ("position_angle", "f8"),  # radians from +x to +y
    ]
)
"""Columns of the truth table, one row a source."""

_GALAXY_RADII = np.array([8, 12, 16, 24, 32, 40, 56, 80, 112, 160, MAX_RADIUS])
_FAINTEST = 3.0  # signal to noise of the faintest sources, under a matched filter
_BRIGHTEST = 3e4


def draw_sources(
    shape: tuple[int, int],
    *,
    n_stars: int,
    n_galaxies: int,
    psf: PointSpread,
    sky_sigma: float,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Draw a catalogue: power laws in flux, sizes that grow with it, uniform positions.

    Fluxes begin at a signal to noise of three under a matched filter in noise `sky_sigma`.

    Returns
    -------
    structured ndarray
        As ``TRUTH_DTYPE``, stars first.
    """
    count = n_stars + n_galaxies
    truth = np.zeros(count, dtype=TRUTH_DTYPE)
    stars, galaxies = slice(0, n_stars), slice(n_stars, count)
    truth["type"][stars], truth["type"][galaxies] = "star", "galaxy"
    truth["x"] = rng.uniform(-0.5, shape[1] - 0.5, count)
    truth["y"] = rng.uniform(-0.5, shape[0] - 0.5, count)
    faintest = _FAINTEST * sky_sigma * math.sqrt(4 * math.pi) * psf.fwhm * FWHM_TO_SIGMA
    slope = np.where(truth["type"] == "star", 0.6, 1.1)
    relative = np.minimum(rng.random(count) ** (-1 / slope), _BRIGHTEST / _FAINTEST)
    truth["flux"] = faintest * relative
    for name in ("half_light_radius", "sersic_index", "axis_ratio", "position_angle"):
        truth[name] = np.nan
    truth["flux"][galaxies] *= 2
    truth["half_light_radius"][galaxies] = np.minimum(
        0.8 * psf.fwhm * relative[galaxies] ** 0.25 * rng.lognormal(0.0, 0.35, n_galaxies), 40.0
    )
    bulge = rng.random(n_galaxies) < 0.3
    truth["sersic_index"][galaxies] = np.clip(
        np.where(bulge, 3.5, 1.0) * rng.lognormal(0.0, 0.15, n_galaxies), 0.5, 5.0
    )
    truth["axis_ratio"][galaxies] = rng.uniform(0.25, 1.0, n_galaxies)
    truth["position_angle"][galaxies] = rng.uniform(0, math.pi, n_galaxies)
    return truth


def source_radius(source: np.void, psf: PointSpread, faint: float) -> int:
    """Return the radius of the stamp of a source; beyond it, it is fainter than `faint`."""
    flux = abs(float(source["flux"]))
    if source["type"] == "star":
        return psf.radius(min(faint / max(flux * psf.peak, faint), 0.1))
    size, n = float(source["half_light_radius"]), float(source["sersic_index"])
    area = 2 * math.pi * size**2 * float(source["axis_ratio"])
    bright = max(flux / area / faint, 1.1)  # mean within the half-light ellipse over `faint`
    reach = size * max((math.log(bright) / (2 * n - 1 / 3) + 1), 1.5) ** n
    wanted = min(reach, 12 * size) + 1.5 * psf.fwhm
    return int(_GALAXY_RADII[min(np.searchsorted(_GALAXY_RADII, wanted), _GALAXY_RADII.size - 1)])


def source_stamp(source: np.void, psf: PointSpread, radius: int) -> tuple[FloatArray, int, int]:
    """Return the stamp of a source and the row and column of its first pixel."""
    column, row = math.floor(source["x"] + 0.5), math.floor(source["y"] + 0.5)
    dx, dy = float(source["x"]) - column, float(source["y"]) - row
    if source["type"] == "star":
        stamp = psf.stamp(dx, dy, radius)
    else:
        profile = Sersic(
            float(source["half_light_radius"]),
            float(source["sersic_index"]),
            float(source["axis_ratio"]),
            float(source["position_angle"]),
        )
        stamp = profile.stamp(dx, dy, radius, psf)
    return stamp * float(source["flux"]), row - radius, column - radius


def draw_cosmic_rays(
    shape: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Return rows, columns and electrons of the pixels that cosmic rays hit, sorted by row.

    Each is a straight track of exponential length that leaves some hundred electrons a pixel.
    """
    length = 1 + rng.exponential(6.0, count)
    angle = rng.uniform(0, 2 * math.pi, count)
    y0, x0 = rng.uniform(-0.5, shape[0] - 0.5, count), rng.uniform(-0.5, shape[1] - 0.5, count)
    per_pixel = rng.lognormal(math.log(600.0), 0.7, count)
    steps = np.maximum(np.ceil(length * 5).astype(np.intp), 1)
    track = np.repeat(np.arange(count), steps)
    along = np.concatenate([np.linspace(0, 1, n) for n in steps] or [np.empty(0)]) * length[track]
    rows = np.rint(y0[track] + along * np.sin(angle[track])).astype(np.intp)
    columns = np.rint(x0[track] + along * np.cos(angle[track])).astype(np.intp)
    electrons = (per_pixel * length / steps)[track]
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    order = np.argsort(rows[inside], kind="stable")
    return rows[inside][order], columns[inside][order], electrons[inside][order]
