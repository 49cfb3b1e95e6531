"""Simulated sky frames: stars, galaxies, noise, cosmic rays, a header, and the truth.

Frames are drawn in strips of rows, so that one of 10,000 x 10,000 pixels takes little more memory
than itself, or next to none when it goes straight into a file.  Expected electrons are Poisson
distributed, read noise is normal, and noise may be smoothed as resampling would do.
"""

import io
import os
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from astro_vq.io.atomic import atomic_writer

from .frame import FrameSettings
from .profiles import PointSpread
from .sky_header import sky_header, truth_table
from .sky_model import draw_sources


class SimulatedImage(NamedTuple):
    """A simulated frame.

    ``data`` (H, W) in ADU with the sky in it; ``header``, an astropy Header with WCS and
    instrument-like cards; ``truth``, a structured array with a row a source (see
    ``sky_model.TRUTH_DTYPE``: type, x, y, flux, ...; positions in pixels from 0).
    """

    data: NDArray[Any]
    header: Any
    truth: NDArray[Any]


def simulate(
    shape: tuple[int, int],
    *,
    seed: int = 0,
    psf_fwhm: float = 3.0,
    psf: Literal["gaussian", "moffat"] = "moffat",
    moffat_beta: float = 3.0,
    n_stars: int | None = None,
    n_galaxies: int | None = None,
    read_noise: float = 5.0,
    gain: float = 1.5,
    sky: float = 200.0,
    noise_correlation_fwhm: float = 0.0,
    cosmic_rays: int | None = None,
    saturation: float | None = None,
    dtype: DTypeLike = np.float32,
) -> SimulatedImage:
    """Simulate a frame of the sky; the same arguments give the same pixels.

    No pixel is NaN or infinite.  What lies beyond the border is cut off.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns (NAXIS2, NAXIS1).
    seed : int
        Of everything random; not negative.
    psf_fwhm : float
        Full width at half maximum of the point-spread function, pixels.
    psf : {'moffat', 'gaussian'}
        Its shape.
    moffat_beta : float
        Exponent of the Moffat profile, larger than 1.
    n_stars, n_galaxies : int, optional
        One star in 2,500 pixels and one galaxy in 5,000 when not given.
    read_noise : float
        Electrons.
    gain : float
        Electrons per ADU.
    sky : float
        Level of the sky, ADU per pixel.
    noise_correlation_fwhm : float
        When positive, noise is smoothed by a Gaussian of this width in pixels and scaled to keep
        its variance: on the sky its autocovariance at distance r is
        ``sigma**2 * exp(-2 * ln(2) * (r / fwhm)**2)``.
    cosmic_rays : int, optional
        Number of tracks; one in 20,000 pixels when not given.
    saturation : float, optional
        Full well in ADU: brighter pixels are cut to it, and the SATURATE card says so.  65535
        when not given, or 32767 for int16.
    dtype : dtype
        float32, float64, or the integers uint16, int16, int32, to which values are rounded.

    Returns
    -------
    SimulatedImage

    Raises
    ------
    ValueError
        For an impossible value.

    Examples
    --------
    >>> image = simulate((64, 64), seed=3, n_stars=2, n_galaxies=0)
    >>> image.data.shape, image.data.dtype.name, len(image.truth)
    ((64, 64), 'float32', 2)
    """
    frame = _settings(
        shape, seed, PointSpread(psf_fwhm, psf, moffat_beta), n_stars, n_galaxies, read_noise,
        gain, sky, noise_correlation_fwhm, cosmic_rays, saturation, dtype,
    )  # fmt: skip
    truth = _truth(frame)
    data = np.empty(frame.shape, dtype=frame.dtype)
    row = 0
    for strip in frame.strips(truth):
        data[row : row + len(strip)] = strip
        row += len(strip)
    return SimulatedImage(data, sky_header(frame), truth)


def write_simulated_fits(
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    *,
    seed: int = 0,
    psf_fwhm: float = 3.0,
    psf: Literal["gaussian", "moffat"] = "moffat",
    moffat_beta: float = 3.0,
    n_stars: int | None = None,
    n_galaxies: int | None = None,
    read_noise: float = 5.0,
    gain: float = 1.5,
    sky: float = 200.0,
    noise_correlation_fwhm: float = 0.0,
    cosmic_rays: int | None = None,
    saturation: float | None = None,
    dtype: DTypeLike = np.float32,
    with_truth: bool = True,
    overwrite: bool = False,
) -> NDArray[Any]:
    r"""Write a frame as `simulate` makes it into a FITS file, strip by strip.

    The primary HDU holds the image (uint16 with BZERO 32768), a table extension TRUTH the
    sources, with positions as FITS counts them, from 1.  Memory is bounded by strips.

    Parameters
    ----------
    path : path-like
        File to write; it appears under its name only when complete.
    shape, seed, psf_fwhm, psf, moffat_beta, n_stars, n_galaxies, read_noise, gain, sky, \
    noise_correlation_fwhm, cosmic_rays, saturation, dtype
        As for `simulate`.
    with_truth : bool
        Append the table.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    structured ndarray
        The truth, as `simulate` gives it.

    Raises
    ------
    ValueError
        For an impossible value.
    FileExistsError
        When the file exists and `overwrite` is false.
    """
    frame = _settings(
        shape, seed, PointSpread(psf_fwhm, psf, moffat_beta), n_stars, n_galaxies, read_noise,
        gain, sky, noise_correlation_fwhm, cosmic_rays, saturation, dtype,
    )  # fmt: skip
    with atomic_writer(path, overwrite=overwrite) as file:
        truth = _truth(frame)
        file.write(sky_header(frame).tostring().encode("ascii"))
        written = 0
        for strip in frame.strips(truth):
            stored = strip
            if frame.dtype == np.uint16:  # minus BZERO, 32768, is a change of the top bit
                stored = (strip ^ np.uint16(0x8000)).view(np.int16)
            written += file.write(stored.astype(stored.dtype.newbyteorder(">")).tobytes())
        file.write(bytes(-written % 2880))
        if with_truth:
            extension = io.BytesIO()
            truth_table(truth).writeto(extension)
            content = extension.getvalue()
            file.write(content[2880:])  # without the empty primary HDU
    return truth


def _settings(
    shape: tuple[int, int],
    seed: int,
    psf: PointSpread,
    n_stars: int | None,
    n_galaxies: int | None,
    read_noise: float,
    gain: float,
    sky: float,
    noise_correlation_fwhm: float,
    cosmic_rays: int | None,
    saturation: float | None,
    dtype: DTypeLike,
) -> FrameSettings:
    """Fill in defaults that depend on the size and type of the frame."""
    pixels = int(np.prod(shape, dtype=np.int64))
    kind = np.dtype(dtype)
    full_well = 32767.0 if kind == np.int16 else 65535.0
    return FrameSettings(
        shape=shape,
        seed=seed,
        psf=psf,
        n_stars=pixels // 2500 if n_stars is None else n_stars,
        n_galaxies=pixels // 5000 if n_galaxies is None else n_galaxies,
        read_noise=read_noise,
        gain=gain,
        sky=sky,
        noise_correlation_fwhm=noise_correlation_fwhm,
        cosmic_rays=pixels // 20_000 if cosmic_rays is None else cosmic_rays,
        saturation=full_well if saturation is None else saturation,
        dtype=kind.newbyteorder("="),
    )


def _truth(frame: FrameSettings) -> NDArray[Any]:
    return draw_sources(
        frame.shape,
        n_stars=frame.n_stars,
        n_galaxies=frame.n_galaxies,
        psf=frame.psf,
        sky_sigma=frame.sky_sigma,
        rng=frame.catalogue_rng,
    )
