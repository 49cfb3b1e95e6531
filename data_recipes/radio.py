"""Radio-like images: sources and noise both seen through one elliptical Gaussian beam."""

import math
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import fft

from .profiles import FWHM_TO_SIGMA

_PIXEL_SCALE = 1.5  # arcsec


def simulate_radio(
    shape: tuple[int, int],
    *,
    seed: int = 0,
    beam_fwhm: tuple[float, float] = (5.0, 4.0),
    beam_angle: float = 0.5,
    sigma_jy: float = 8e-5,
    n_sources: int | None = None,
) -> tuple[NDArray[Any], fits.Header]:
    """Simulate a cleaned map: compact sources and doubles over noise correlated by the beam.

    The autocovariance of the noise is ``sigma_jy**2`` times the beam convolved with itself, of
    unit peak: a Gaussian sqrt(2) wider than the beam.  No pixel is NaN.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    seed : int
        Of everything random.
    beam_fwhm : (float, float)
        Full widths of the beam at half maximum, pixels.
    beam_angle : float
        Of the first axis, radians from +x to +y.
    sigma_jy : float
        Standard deviation of the noise, Jy/beam.
    n_sources : int, optional
        One in 4,000 pixels when not given; every third is a double with a bridge.

    Returns
    -------
    ndarray (H, W) of float32, Header
        Jy/beam; the header has BMAJ, BMIN, BPA and a SIN projection.
    """
    if min(shape) < 8 or min(beam_fwhm) <= 0 or sigma_jy <= 0:
        raise ValueError(
            f"need 8 pixels a side, a beam and noise above zero; got {shape}, {beam_fwhm}, "
            f"{sigma_jy}"
        )
    rng = np.random.default_rng([seed, 2])
    height, width = shape
    count = height * width // 4000 if n_sources is None else n_sources
    model = np.zeros(shape)
    for number in range(count):
        flux = 5 * sigma_jy * rng.pareto(0.9) + 5 * sigma_jy
        flux = min(flux, 1e4 * sigma_jy)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        parts = [(0.0, 0.0, 1.0)]
        if number % 3 == 2:
            length, angle = rng.uniform(1, 6) * beam_fwhm[0], rng.uniform(0, math.pi)
            along = np.linspace(-1, 1, 9)
            light = 0.03 + 0.97 * (np.abs(along) == 1) * rng.uniform(0.3, 1.0)
            steps = zip(along, light, strict=True)
            parts = [(length * math.cos(angle) * a, length * math.sin(angle) * a, w)
                     for a, w in steps]  # fmt: skip
        for dx, dy, weight in parts:
            column, row = int(x + dx), int(y + dy)
            if 0 <= row < height and 0 <= column < width:
                model[row, column] += flux * weight
    beam = _beam_transform(shape, beam_fwhm, beam_angle)
    noise = fft.irfft2(fft.rfft2(rng.standard_normal(shape)) * beam, s=shape)
    beam_power = float(np.mean(_full(beam, width) ** 2))  # of the noise that it leaves, per pixel
    light = fft.irfft2(fft.rfft2(model) * beam, s=shape)
    area = 2 * math.pi * math.prod(beam_fwhm) * FWHM_TO_SIGMA**2
    image = light * area + noise * (sigma_jy / math.sqrt(beam_power))
    return image.astype(np.float32), _header(shape, beam_fwhm, beam_angle, seed)


def _beam_transform(
    shape: tuple[int, int], fwhm: tuple[float, float], angle: float
) -> NDArray[np.float64]:
    """Return the transform (H, W // 2 + 1) of a beam of unit sum; the map wraps around."""
    v, u = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :]
    first = u * math.cos(angle) + v * math.sin(angle)
    second = -u * math.sin(angle) + v * math.cos(angle)
    widths = [value * FWHM_TO_SIGMA for value in fwhm]
    exponent = (first * widths[0]) ** 2 + (second * widths[1]) ** 2
    return np.asarray(np.exp(-2 * math.pi**2 * exponent))


def _full(half: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return all columns of a transform that is symmetric about zero."""
    rows = (-np.arange(half.shape[0])) % half.shape[0]
    mirrored = half[rows][:, 1 : (width + 1) // 2][:, ::-1]
    return np.concatenate([half, mirrored], axis=1)


def _header(
    shape: tuple[int, int], fwhm: tuple[float, float], angle: float, seed: int
) -> fits.Header:
    scale = _PIXEL_SCALE / 3600
    rng = np.random.default_rng([seed, 3])
    return fits.Header(
        [
            ("OBJECT", f"simulated radio field {seed}", ""),
            ("TELESCOP", "simulated", ""),
            ("BUNIT", "Jy/beam", ""),
            ("BMAJ", max(fwhm) * scale, "[deg]"),
            ("BMIN", min(fwhm) * scale, "[deg]"),
            # BPA counts from north to east, and x grows to the west.
            ("BPA", (math.degrees(angle) + (0 if fwhm[1] > fwhm[0] else -90)) % 180, "[deg]"),
            ("CTYPE1", "RA---SIN", ""),
            ("CTYPE2", "DEC--SIN", ""),
            ("CRPIX1", (shape[1] + 1) / 2, ""),
            ("CRPIX2", (shape[0] + 1) / 2, ""),
            ("CRVAL1", round(float(rng.uniform(0, 360)), 6), "[deg]"),
            ("CRVAL2", round(float(rng.uniform(-60, 60)), 6), "[deg]"),
            ("CDELT1", -scale, "[deg]"),
            ("CDELT2", scale, "[deg]"),
            ("RESTFRQ", 1.4e9, "[Hz]"),
            ("SEED", seed, "of the simulation"),
        ]
    )
