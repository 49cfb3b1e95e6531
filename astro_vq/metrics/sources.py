"""Sources in an image: where they are, and their fluxes, positions and shapes with errors.

Sources are local maxima of the image smoothed with its point spread function, significant
against the noise of the smoothed image, so that a faint source that is lost among single pixels
counts as well.  Everything is measured with fixed weights (an aperture, a Gaussian), so that the
errors follow from the covariance of the sky noise, correlated noise included.

Pixel (0, 0) is the middle of the first pixel, x along a row.  Missing pixels are NaN; sources
whose surroundings hold any are marked not usable.

References
----------
Stetson 1987, PASP 99, 191 (matched detection); Bertin & Arnouts 1996, A&AS 117, 393 (windowed
positions); Bernstein & Jarvis 2002, AJ 123, 583 (weighted moments).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from photutils.aperture import CircularAperture
from scipy import ndimage, signal, spatial

from astro_vq.data.noise import autocovariance, sky_statistics
from astro_vq.errors import DataError
from astro_vq.metrics.distortion import middle_part

FloatArray = NDArray[np.float64]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_BOX = 64  # pixels on a side of the boxes that the background is measured in
_ITERATIONS = 12  # of the windowed position; it gains a factor of two or more in each
_CHUNK = 1000  # sources measured at a time
_COVARIANCE_SIDE = 1024  # pixels on a side of the part that its covariance is measured on
_SAMPLES = 400_000  # pixels that sky and noise are measured on
_GUESS_FWHM = 2.5
_FWHM_LIMITS = (1.4, 12.0)


class Field(NamedTuple):
    """What sources stand on: measured once, on the original, and used for both images.

    Attributes
    ----------
    background : ndarray, shape (H, W)
        Smooth background, in the image's unit.
    covariance : ndarray, shape (2 L + 1, 2 L + 1)
        Autocovariance of the sky noise.
    sigma : float
        Standard deviation of single sky pixels.
    fwhm : float
        Full width at half maximum of point sources, in pixels.
    radius : float
        Radius of the aperture, in pixels.
    is_counts : bool
        Whether values are photon counts, whose noise follows from their number.
    """

    background: FloatArray
    covariance: FloatArray
    sigma: float
    fwhm: float
    radius: float
    is_counts: bool = False


class Detections(NamedTuple):
    """Positions (pixels) and significance of sources, the most significant first; shapes (N,)."""

    x: FloatArray
    y: FloatArray
    snr: FloatArray


class Measurements(NamedTuple):
    """What was measured of N sources; every entry has shape (N,), NaN where it cannot be had.

    Attributes
    ----------
    flux : ndarray
        Sum within the aperture, background subtracted.
    psf_flux : ndarray
        Flux of the Gaussian of the field's width that fits best at the given position.
    peak : ndarray
        Largest value within one FWHM, background subtracted.
    x, y : ndarray
        Windowed position, pixels.
    size : ndarray
        Root of the mean of the weighted second moments, pixels.
    e1, e2 : ndarray
        Ellipticity (Qxx - Qyy, 2 Qxy) / (Qxx + Qyy) of the weighted moments.
    """

    flux: FloatArray
    psf_flux: FloatArray
    peak: FloatArray
    x: FloatArray
    y: FloatArray
    size: FloatArray
    e1: FloatArray
    e2: FloatArray


def background_map(image: NDArray[Any], *, box: int = _BOX) -> FloatArray:
    """Return a smooth background: clipped medians of boxes, outliers replaced, interpolated.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        NaN and inf are ignored.
    box : int
        Pixels on a side of a box; images of fewer than three boxes a side get one level.

    Raises
    ------
    DataError
        When no pixel is finite.
    """
    level = sky_statistics(image, max_samples=_SAMPLES).level
    shape = [n // box for n in image.shape]
    if min(shape) < 3:
        return np.full(image.shape, level)
    height, width = (n // count for n, count in zip(image.shape, shape, strict=True))
    trimmed = np.asarray(image[: shape[0] * height, : shape[1] * width], dtype=np.float64)
    boxes = trimmed.reshape(shape[0], height, shape[1], width).swapaxes(1, 2)
    boxes = boxes[..., ::2, ::2]  # a quarter of the pixels is enough for a median
    values = boxes.reshape(shape[0], shape[1], -1).copy()
    values[~np.isfinite(values)] = np.nan
    empty = np.isnan(values).mean(-1) > 0.5
    values[empty] = level
    for _ in range(5):
        middle = np.nanmedian(values, -1, keepdims=True)
        spread = 1.4826 * np.nanmedian(np.abs(values - middle), -1, keepdims=True)
        values[np.abs(values - middle) > 3 * np.maximum(spread, 1e-300)] = np.nan
        values[np.isnan(values).all(-1)] = level
    mesh = np.nanmedian(values, -1)
    around = ndimage.median_filter(mesh, 3, mode="nearest")
    spread = 1.4826 * np.nanmedian(np.abs(values - mesh[..., None]), -1)
    mesh = np.where(np.abs(mesh - around) > 2 * np.median(spread), around, mesh)  # on an object
    rows = _interpolation((np.arange(image.shape[0]) + 0.5) / height - 0.5, shape[0])
    columns = _interpolation((np.arange(image.shape[1]) + 0.5) / width - 0.5, shape[1])
    return np.asarray(rows @ mesh @ columns.T, dtype=np.float64)


def _interpolation(places: FloatArray, count: int) -> FloatArray:
    """Return the matrix (N, count) of linear interpolation between middles of boxes."""
    at = np.clip(places, -0.5, count - 0.5)  # half a box beyond the middles, as far as data goes
    low = np.clip(np.floor(at).astype(np.int64), 0, count - 2)
    matrix = np.zeros((len(at), count))
    matrix[np.arange(len(at)), low] = 1 - (at - low)
    matrix[np.arange(len(at)), low + 1] = at - low
    return matrix


def prepare_field(
    image: NDArray[Any],
    *,
    fwhm: float | None = None,
    radius: float | None = None,
    is_counts: bool = False,
) -> Field:
    """Measure what is needed to detect and measure sources.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        The original, physical values.
    fwhm : float, optional
        Of point sources, pixels; measured on the brightest compact ones when not given.
    radius : float, optional
        Of the aperture, pixels; 1.35 times the FWHM but at least 2 when not given.
    is_counts : bool
        Take the noise of photon counts.

    Raises
    ------
    DataError
        When no pixel is finite.
    ValueError
        When `fwhm` or `radius` is not positive.
    """
    for name, value in (("fwhm", fwhm), ("radius", radius)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    background = background_map(image)
    flat = np.asarray(image, dtype=np.float64) - background
    sigma = sky_statistics(flat, max_samples=_SAMPLES).sigma
    field = Field(background, np.array([[sigma**2]]), sigma, fwhm or _GUESS_FWHM, 2.0, is_counts)
    if fwhm is None:
        field = field._replace(fwhm=_measure_fwhm(image, field))
    field = field._replace(radius=radius or max(2.0, 1.35 * field.fwhm))
    lag = min(2 * math.ceil(max(field.radius, field.fwhm)), 24)
    part = middle_part(flat, _COVARIANCE_SIDE)
    while lag > 0 and sigma > 0:
        try:
            covariance = autocovariance(part, lag)
        except DataError:  # too few sky pixels for so long a lag
            lag //= 2
        else:
            if covariance[lag, lag] > 0:
                field = field._replace(covariance=covariance)
            break
    return field


def _measure_fwhm(image: NDArray[Any], field: Field) -> float:
    """Return the FWHM of the compact sources of an image (median), or a guess without any."""
    found = detect_sources(image, field, threshold=15.0, max_sources=300)
    if found.x.size < 3:
        return field.fwhm
    width = 2.5 / FWHM_PER_SIGMA * 2
    window = field._replace(fwhm=width * FWHM_PER_SIGMA)
    measured = measure_sources(image, window, found.x, found.y)
    with np.errstate(divide="ignore", invalid="ignore"):
        intrinsic = (1 / measured.size**2 - 1 / width**2) ** -0.5
    intrinsic = intrinsic[np.isfinite(intrinsic) & (intrinsic > 0)]
    if intrinsic.size < 3:
        return field.fwhm
    fwhm = float(np.quantile(intrinsic, 0.4)) * FWHM_PER_SIGMA  # galaxies lie above the stars
    return min(max(fwhm, _FWHM_LIMITS[0]), _FWHM_LIMITS[1])


def detect_sources(
    image: NDArray[Any],
    field: Field,
    *,
    threshold: float = 5.0,
    max_sources: int = 5000,
    noise: float | None = None,
) -> Detections:
    """Find local maxima of the smoothed image that are significant.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        NaN and inf count as background.
    field : Field
        Background and width of point sources.
    threshold : float
        In units of the noise of the smoothed image.
    max_sources : int
        The most significant so many are kept.
    noise : float, optional
        Noise of the smoothed image (see `smoothed_noise`), for the same threshold on two images;
        measured when not given.

    Returns
    -------
    Detections
    """
    smooth = _smooth(image, field)
    if noise is None:
        noise = _noise_of(smooth, field)
    if not noise > 0:
        return Detections(np.empty(0), np.empty(0), np.empty(0))
    size = 2 * max(1, round(field.fwhm / 2)) + 1
    top = (smooth >= threshold * noise) & (smooth == ndimage.maximum_filter(smooth, size))
    labels, number = ndimage.label(top, np.ones((3, 3)))  # a flat top counts once
    if number == 0:
        return Detections(np.empty(0), np.empty(0), np.empty(0))
    rows, columns = np.nonzero(top)
    _, first = np.unique(labels[rows, columns], return_index=True)
    y, x = rows[first], columns[first]
    snr = smooth[y, x] / noise
    order = np.argsort(-snr, kind="stable")[:max_sources]
    return Detections(x[order].astype(np.float64), y[order].astype(np.float64), snr[order])


def smoothed_noise(image: NDArray[Any], field: Field) -> float:
    """Return the noise of the image smoothed as `detect_sources` does; 0 for a constant one."""
    return _noise_of(_smooth(image, field), field)


def _noise_of(smooth: FloatArray, field: Field) -> float:
    noise = sky_statistics(smooth, max_samples=_SAMPLES).sigma
    if field.is_counts:  # mostly zero: a few counts together are no source yet
        counts = max(float(field.background.mean()), 0.0)
        spread = field.fwhm / FWHM_PER_SIGMA
        noise = max(noise, math.sqrt((counts + 0.05) / (4 * math.pi)) / spread)
    return noise


def _smooth(image: NDArray[Any], field: Field) -> FloatArray:
    values = np.asarray(image, dtype=np.float64) - field.background
    valid = np.isfinite(values)
    width = field.fwhm / FWHM_PER_SIGMA
    smooth = ndimage.gaussian_filter(np.where(valid, values, 0.0), width, mode="constant")
    if not valid.all():
        smooth[~valid] = 0.0
    return np.asarray(smooth, dtype=np.float64)


def measure_sources(
    image: NDArray[Any], field: Field, x: FloatArray, y: FloatArray
) -> Measurements:
    """Measure sources near given positions.

    Fluxes are taken at the given positions; the windowed position starts from them.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Physical values; sources with a missing pixel or the border within reach give NaN.
    field : Field
        Background, aperture, and width of the weights.
    x, y : ndarray, shape (N,)
        Positions in pixels.

    Returns
    -------
    Measurements
    """
    if x.size == 0:
        return Measurements(*(np.empty(0) for _ in Measurements._fields))
    values = np.asarray(image, dtype=np.float64) - field.background
    values[~np.isfinite(values)] = np.nan
    pieces = [
        _measure_some(values, field, x[start : start + _CHUNK], y[start : start + _CHUNK])
        for start in range(0, x.size, _CHUNK)
    ]
    return Measurements(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _measure_some(values: FloatArray, field: Field, x: FloatArray, y: FloatArray) -> Measurements:
    aperture = CircularAperture(np.column_stack([x, y]), r=field.radius)
    flux = np.atleast_1d(np.asarray(aperture.do_photometry(np.nan_to_num(values))[0], np.float64))
    stamps, grid_x, grid_y = _cut_stamps(values, field, x, y)
    usable = np.asarray(np.isfinite(stamps).all((1, 2)), dtype=bool)
    stamps = np.where(usable[:, None, None], stamps, 0.0)
    width = field.fwhm / FWHM_PER_SIGMA

    def weights_at(at_x: FloatArray, at_y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        dx = grid_x - at_x[:, None, None]
        dy = grid_y - at_y[:, None, None]
        return np.exp(-(dx**2 + dy**2) / (2 * width**2)), dx, dy

    weight, dx, dy = weights_at(x, y)
    norm = 2 * math.pi * width**2
    psf_flux = (weight * stamps).sum((1, 2)) / (weight**2).sum((1, 2)) * norm
    near = dx**2 + dy**2 <= max(field.fwhm, 1.5) ** 2
    peak = np.where(near, stamps, -np.inf).max((1, 2))
    at_x, at_y = x.copy(), y.copy()
    good = usable.copy()
    for _ in range(_ITERATIONS):
        weight, dx, dy = weights_at(at_x, at_y)
        total = (weight * stamps).sum((1, 2))
        good &= total > 0
        safe = np.where(good, total, 1.0)
        at_x = np.where(good, at_x + 2 * (weight * stamps * dx).sum((1, 2)) / safe, at_x)
        at_y = np.where(good, at_y + 2 * (weight * stamps * dy).sum((1, 2)) / safe, at_y)
        good &= np.hypot(at_x - x, at_y - y) <= max(field.fwhm, 2.0)  # left for another source
        at_x, at_y = np.where(good, at_x, x), np.where(good, at_y, y)
    weight, dx, dy = weights_at(x, y)
    total = np.where(good, (weight * stamps).sum((1, 2)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        qxx = (weight * stamps * dx**2).sum((1, 2)) / total
        qyy = (weight * stamps * dy**2).sum((1, 2)) / total
        qxy = (weight * stamps * dx * dy).sum((1, 2)) / total
        trace = np.where(qxx + qyy > 0, qxx + qyy, np.nan)
    return Measurements(
        flux=np.where(usable, flux, np.nan),
        psf_flux=np.where(usable, psf_flux, np.nan),
        peak=np.where(usable, peak, np.nan),
        x=np.where(good, at_x, np.nan),
        y=np.where(good, at_y, np.nan),
        size=np.sqrt(trace / 2),
        e1=(qxx - qyy) / trace,
        e2=2 * qxy / trace,
    )


def measurement_errors(field: Field, measured: Measurements) -> Measurements:
    """Return the standard errors that the sky noise gives each measurement of the original.

    Noise of the sources' own photons is left out (counts excepted): it depends on the gain, and
    without it the errors are the smallest that they can be, the strictest unit to judge by.

    Parameters
    ----------
    field : Field
        Noise covariance and weights.
    measured : Measurements
        Of the original.

    Returns
    -------
    Measurements
        Of errors, in the units of `measured`; NaN where that is NaN.
    """
    width = field.fwhm / FWHM_PER_SIGMA
    reach = _reach(field)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    weight = np.exp(-(dx**2 + dy**2) / (2 * width**2))
    disc = (
        CircularAperture((reach, reach), r=field.radius)
        .to_mask(method="exact")
        .to_image(weight.shape)
    )
    circle = np.asarray(disc, dtype=np.float64)
    norm = 2 * math.pi * width**2
    level = np.zeros(measured.flux.shape)
    if field.is_counts:
        level = np.maximum(np.nan_to_num(measured.flux), 0.0)
    flux = np.sqrt(noise_of_weights(circle, field) ** 2 + level)
    psf = noise_of_weights(weight / (weight**2).sum() * norm, field)
    psf_flux = np.sqrt(psf**2 + 2 * level)
    single = math.sqrt(
        max(float(field.covariance[tuple(n // 2 for n in field.covariance.shape)]), 0)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        # (weighted sum of a Gaussian of this flux) = flux / 2; a wider source has less
        total = np.where(
            measured.psf_flux > 0, measured.psf_flux * (weight**2).sum() / norm, np.nan
        )
        share = np.sqrt(1 + level / np.maximum(noise_of_weights(circle, field), 1e-300) ** 2)
        place = 2 * noise_of_weights(weight * dx, field) / total * share
        square = noise_of_weights(weight * (dx**2 + dy**2 - 2 * measured_square(width)), field)
        size = square / total / (4 * np.maximum(measured.size, 1e-3)) * share
        shape = noise_of_weights(weight * (dx**2 - dy**2), field) / total * share
        ellipticity = shape / (2 * measured.size**2)
    return Measurements(
        flux=np.where(np.isfinite(measured.flux), flux, np.nan),
        psf_flux=np.where(np.isfinite(measured.psf_flux), psf_flux, np.nan),
        peak=np.where(np.isfinite(measured.peak), single, np.nan),
        x=np.where(np.isfinite(measured.x), place, np.nan),
        y=np.where(np.isfinite(measured.y), place, np.nan),
        size=size,
        e1=ellipticity,
        e2=ellipticity,
    )


def measured_square(width: float) -> float:
    """Return the weighted second moment of a Gaussian of this width under the same weight."""
    return width**2 / 2


def noise_of_weights(weights: FloatArray, field: Field) -> float:
    """Return the standard deviation of a weighted sum of sky pixels, correlations included.

    Parameters
    ----------
    weights : ndarray, shape (h, w)
        Weight of each pixel.
    field : Field
        Whose covariance holds; lags beyond it count as uncorrelated.
    """
    lag = field.covariance.shape[0] // 2
    padded = np.pad(weights, lag)
    pairs = signal.fftconvolve(padded, weights[::-1, ::-1], mode="valid")
    if pairs.shape != field.covariance.shape:
        raise ValueError(f"weights must be two-dimensional, got shape {weights.shape}")
    variance = float(np.sum(pairs * field.covariance))
    white = float(np.sum(weights**2)) * float(field.covariance[lag, lag])
    return math.sqrt(max(variance, 0.01 * white))  # a measured covariance may be indefinite


def _reach(field: Field) -> int:
    """Return half the side of a stamp: four sigma of the weight, and the aperture."""
    return math.ceil(max(4 * field.fwhm / FWHM_PER_SIGMA, field.radius + 1))


def _cut_stamps(
    values: FloatArray, field: Field, x: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return stamps (N, S, S) around positions, NaN beyond the borders, and pixel coordinates."""
    reach = _reach(field)
    padded = np.pad(values, reach, constant_values=np.nan)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    steps = np.arange(-reach, reach + 1)
    rows = row[:, None, None] + steps[None, :, None]
    columns = column[:, None, None] + steps[None, None, :]
    return padded[rows + reach, columns + reach], columns.astype(float), rows.astype(float)


def match_sources(
    first: Detections, second: Detections, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Match two lists of detections one to one, the nearest pairs first.

    Parameters
    ----------
    first, second : Detections
        What to match.
    radius : float
        Largest distance, pixels.

    Returns
    -------
    partner : ndarray of int64, shape (N1,)
        Index into `second`, -1 without a partner.
    taken : ndarray of bool, shape (N2,)
        Whether a detection of `second` has a partner.
    """
    partner = np.full(first.x.size, -1, dtype=np.int64)
    taken = np.zeros(second.x.size, dtype=bool)
    if first.x.size == 0 or second.x.size == 0:
        return partner, taken
    tree = spatial.cKDTree(np.column_stack([second.x, second.y]))
    here = spatial.cKDTree(np.column_stack([first.x, first.y]))
    pairs = here.sparse_distance_matrix(tree, radius, output_type="coo_matrix")
    for k in np.argsort(pairs.data, kind="stable"):
        i, j = pairs.row[k], pairs.col[k]
        if partner[i] < 0 and not taken[j]:
            partner[i], taken[j] = j, True
    return partner, taken
