"""The FITS header of a simulated frame, as an instrument would write it, and its truth table."""

import math
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from .frame import FrameSettings

PIXEL_SCALE = 0.25
"""Arcseconds per pixel."""

_ROTATION = math.radians(3.0)
_BITPIX = {"float32": -32, "float64": -64, "uint16": 16, "int16": 16, "int32": 32}


def sky_header(frame: FrameSettings) -> fits.Header:
    """Return the primary header of a frame: structure, instrument, noise and a TAN WCS."""
    height, width = frame.shape
    scale = PIXEL_SCALE / 3600
    rng = np.random.default_rng([frame.seed, 1])
    cards: list[tuple[str, Any, str]] = [
        ("SIMPLE", True, "conforms to FITS standard"),
        ("BITPIX", _BITPIX[frame.dtype.name], "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", width, ""),
        ("NAXIS2", height, ""),
        ("EXTEND", True, ""),
    ]
    if frame.dtype == np.uint16:
        cards += [("BSCALE", 1, ""), ("BZERO", 32768, "offset of unsigned integers")]
    cards += [
        ("BUNIT", "adu", "unit of the pixels"),
        ("OBJECT", f"simulated field {frame.seed}", ""),
        ("TELESCOP", "simulated", ""),
        ("INSTRUME", "astro-vq sky simulator", ""),
        ("FILTER", "r", ""),
        ("DATE-OBS", "2026-01-01T00:00:00.000", ""),
        ("MJD-OBS", 61041.0, "[d]"),
        ("EXPTIME", 60.0, "[s]"),
        ("GAIN", frame.gain, "[electron/adu]"),
        ("RDNOISE", frame.read_noise, "[electron]"),
        ("SATURATE", frame.saturation, "[adu] full well"),
        ("SEEING", frame.psf.fwhm, "[pixel] FWHM of the point-spread function"),
        ("PSFTYPE", frame.psf.kind, ""),
        ("SKYLEVEL", frame.sky, "[adu]"),
        ("SKYSIGMA", frame.sky_sigma, "[adu] noise of empty sky"),
        ("NCORFWHM", frame.noise_correlation_fwhm, "[pixel] FWHM of the smoothing of noise"),
        ("NSTARS", frame.n_stars, ""),
        ("NGALAXY", frame.n_galaxies, ""),
        ("NCOSMIC", frame.cosmic_rays, "tracks of cosmic rays"),
        ("SEED", frame.seed, "of the simulation"),
        ("WCSAXES", 2, ""),
        ("CTYPE1", "RA---TAN", ""),
        ("CTYPE2", "DEC--TAN", ""),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("CRPIX1", (width + 1) / 2, ""),
        ("CRPIX2", (height + 1) / 2, ""),
        ("CRVAL1", round(float(rng.uniform(0, 360)), 6), "[deg]"),
        ("CRVAL2", round(float(rng.uniform(-60, 60)), 6), "[deg]"),
        ("CD1_1", -scale * math.cos(_ROTATION), ""),
        ("CD1_2", scale * math.sin(_ROTATION), ""),
        ("CD2_1", scale * math.sin(_ROTATION), ""),
        ("CD2_2", scale * math.cos(_ROTATION), ""),
        ("RADESYS", "ICRS", ""),
        ("PIXSCALE", PIXEL_SCALE, "[arcsec]"),
    ]
    header = fits.Header(cards)
    header["COMMENT"] = "Not a real sky: every source is in the table TRUTH, or drawn by SEED."
    header["HISTORY"] = "stars and galaxies, Poisson and read noise, cosmic rays"
    return header


def truth_table(truth: NDArray[Any]) -> fits.BinTableHDU:
    """Return the truth as a table extension; X and Y count from 1, as FITS does."""
    units = {"x": "pixel", "y": "pixel", "flux": "adu", "half_light_radius": "pixel"}
    units["position_angle"] = "rad"
    columns = [fits.Column("TYPE", "6A", array=truth["type"].astype("S6"))]
    for name in (truth.dtype.names or ())[1:]:
        values = truth[name] + 1 if name in ("x", "y") else truth[name]
        columns.append(fits.Column(name.upper(), "D", unit=units.get(name), array=values))
    return fits.BinTableHDU.from_columns(columns, name="TRUTH")
