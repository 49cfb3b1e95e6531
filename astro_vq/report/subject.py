"""The image that a report looks at: which HDU and plane of a file, and what kind of image it is.

Sizes and errors of a report are over every pixel of every image of a file; photometry, pictures
and other codecs look at one plane, and at its middle when it is large.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.data.noise import SkyStatistics, pixel_noise, sky_statistics
from astro_vq.errors import DataError
from astro_vq.io.fits import FitsFile, FitsHDU
from astro_vq.metrics.source_types import FWHM_PER_SIGMA

LARGEST_SIDE = 4096
"""Pixels on a side that are looked at; the middle of larger planes."""

_IMAGE_KINDS = ("image", "compressed-image")
_SUMMARY_KEYWORDS = ("INSTRUME", "FILTER", "TELESCOP", "OBJECT", "EXPTIME", "DATE-OBS")


@dataclass(frozen=True)
class Beam:
    """The beam of a radio map, in pixels.

    Attributes
    ----------
    major, minor : float
        Full widths at half maximum.
    """

    major: float
    minor: float

    @property
    def area(self) -> float:
        """Pixels per beam: the integral of a Gaussian with peak one."""
        return 2 * math.pi * self.major * self.minor / FWHM_PER_SIGMA**2


@dataclass(frozen=True)
class Subject:
    """One plane of one image HDU, and what is known of it.

    Attributes
    ----------
    path : Path
        File.
    hdu, plane : int
        Where in the file, both from 0.
    window : tuple of slice
        Rows and columns of the plane that are looked at.
    stored : ndarray, shape (H, W)
        Stored values, native byte order.
    pixels : ndarray, shape (H, W)
        Physical values, float64, NaN where missing.
    scale : float
        Absolute BSCALE: physical per stored unit.
    blank : int or None
        Stored value that means missing.
    unit : str
        BUNIT, or ''.
    kind : {'sky', 'radio', 'counts'}
        What suits it: sources, sources per beam, or counts of photons.
    sky, sigma : float
        Level and noise of the sky.
    noise : float
        Noise of single pixels: the sigma that bounds in sigma refer to; 0 when there is none.
    beam : Beam or None
        Of radio maps that state it.
    keywords : dict
        A few header values that describe the image.
    notes : tuple of str
        What a reader should know.
    """

    path: Path
    hdu: int
    plane: int
    window: tuple[slice, slice]
    stored: NDArray[Any]
    pixels: NDArray[np.float64]
    scale: float
    blank: int | None
    unit: str
    kind: str
    sky: float
    sigma: float
    noise: float
    beam: Beam | None = None
    keywords: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def has_pixels(self) -> bool:
        """Whether any pixel is finite."""
        return bool(np.isfinite(self.pixels).any())

    @property
    def is_integer(self) -> bool:
        """Whether the stored values are integers."""
        return self.stored.dtype.kind in "iu"


def choose_subject(file: FitsFile, path: Path, *, hdu: int | None = None) -> Subject:
    """Choose the image HDU and plane of a file that a report looks at, and describe it.

    The largest image HDU is taken, and of a cube the plane in the middle that has finite pixels.

    Parameters
    ----------
    file : FitsFile
        Open file.
    path : Path
        What to call it.
    hdu : int, optional
        HDU to take instead of the largest image.

    Returns
    -------
    Subject

    Raises
    ------
    DataError
        When there is no image with pixels, or `hdu` is none.
    """
    images = [item for item in file.hdus if item.kind in _IMAGE_KINDS and math.prod(item.shape) > 0]
    if not images:
        raise DataError(f"{path}: no image in this file, so that there is nothing to report on")
    if hdu is not None:
        chosen = [item for item in images if item.index == hdu]
        if not chosen:
            numbers = ", ".join(str(item.index) for item in images)
            raise DataError(f"{path}: HDU {hdu} is no image with pixels; images are: {numbers}")
        images = chosen
    notes: list[str] = []
    for item in sorted(images, key=lambda one: -math.prod(one.plane_shape)):
        found = _choose_plane(item)
        if found is None:
            notes.append(f"HDU {item.index} has no finite pixel")
            continue
        return _describe(file, item, path, *found, notes)
    item = images[0]
    window = (_middle_slice(item.plane_shape[0]), _middle_slice(item.plane_shape[1]))
    stored = np.asarray(item.read_stored(0, *window))
    return _describe(file, item, path, 0, window, stored, notes)


def _choose_plane(item: FitsHDU) -> tuple[int, tuple[slice, slice], NDArray[Any]] | None:
    """Return the plane nearest to the middle that varies, or else the first finite one."""
    middle = item.n_planes // 2
    order = sorted(range(item.n_planes), key=lambda plane: (abs(plane - middle), plane))
    fallback = None
    window = tuple(_middle_slice(n) for n in item.plane_shape)
    for plane in order[:64]:
        stored = np.asarray(item.read_stored(plane, *window))
        values = item.to_physical(stored)
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            continue
        if finite.min() < finite.max():
            return plane, (window[0], window[1]), stored
        fallback = fallback or (plane, (window[0], window[1]), stored)
    return fallback


def _middle_slice(length: int) -> slice:
    start = max((length - LARGEST_SIDE) // 2, 0)
    return slice(start, min(start + LARGEST_SIDE, length))


def _describe(
    file: FitsFile,
    item: FitsHDU,
    path: Path,
    plane: int,
    window: tuple[slice, slice],
    stored: NDArray[Any],
    notes: Sequence[str],
) -> Subject:
    pixels = np.asarray(item.to_physical(stored), dtype=np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    sky = sky_statistics(pixels) if np.isfinite(pixels).any() else SkyStatistics(0.0, 0.0)
    lines = list(notes)
    if item.n_planes > 1:
        lines.append(
            f"HDU {item.index} has {item.n_planes} planes; pictures and sources are of plane "
            f"{plane}, sizes and errors of all"
        )
    if pixels.shape != tuple(item.plane_shape):
        lines.append(
            f"pictures and sources are of the middle {pixels.shape[0]} x {pixels.shape[1]} "
            f"pixels of {item.plane_shape[0]} x {item.plane_shape[1]}"
        )
    missing = int(np.count_nonzero(np.isnan(pixels)))
    if missing:
        lines.append(f"{100 * missing / pixels.size:.3g} % of the pixels are missing")
    beam = _find_beam(item)
    kind = "sky"
    if beam is not None or "beam" in item.unit.lower():
        kind = "radio"
    elif _holds_counts(pixels):
        kind = "counts"
    return Subject(
        path=path,
        hdu=item.index,
        plane=plane,
        window=window,
        stored=stored,
        pixels=pixels,
        scale=abs(float(item.bscale)),
        blank=item.blank,
        unit=item.unit,
        kind=kind,
        sky=sky.level,
        sigma=sky.sigma,
        noise=pixel_noise(pixels),
        beam=beam,
        keywords=_keywords(item, file.hdus[0]),
        notes=tuple(lines),
    )


def _keywords(item: FitsHDU, primary: FitsHDU) -> dict[str, str]:
    """Return what the header of the image says, or else the primary header."""
    found = {}
    for name in _SUMMARY_KEYWORDS:
        value = _card(item, name)
        value = _card(primary, name) if value in (None, "") else value
        if value not in (None, ""):
            found[name] = str(value).strip()
    return found


def _card(item: FitsHDU, name: str) -> Any:  # noqa: ANN401 - whatever a header holds
    """Return a header value, None where it is not there or cannot be read."""
    try:
        return item.header.get(name)
    except Exception:  # a damaged card: astropy raises many kinds
        return None


def _find_beam(item: FitsHDU) -> Beam | None:
    """Return the beam from BMAJ and BMIN (degrees) and the pixel scale."""
    major, minor = _number(item, "BMAJ"), _number(item, "BMIN")
    scales = [
        abs(_number(item, f"CDELT{axis}") or _number(item, f"CD{axis}_{axis}") or 0.0)
        for axis in (1, 2)
    ]
    if not major or not minor or not all(scales):
        return None
    pixel = math.sqrt(scales[0] * scales[1])
    beam = Beam(abs(major) / pixel, abs(minor) / pixel)
    return beam if 0.1 < beam.minor <= beam.major < 1e4 else None


def _number(item: FitsHDU, name: str) -> float | None:
    value = _card(item, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _holds_counts(pixels: NDArray[np.float64]) -> bool:
    """Tell whether an image holds photon counts: small whole numbers, mostly zero."""
    values = pixels[np.isfinite(pixels)]
    if values.size == 0 or values.min() < 0 or values.max() == 0:
        return False
    return bool(np.median(values) <= 2 and np.mean(values == 0) > 0.05 and (values % 1 == 0).all())
