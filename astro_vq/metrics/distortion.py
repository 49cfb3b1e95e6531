"""How decoded pixels differ from the original: errors, and what the residual looks like."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astro_vq.data.noise import sky_statistics
from astro_vq.errors import DataError

FloatArray = NDArray[np.float64]

_SAMPLES = 400_000  # pixels that the sky is measured on
_LARGEST_SPECTRUM = 1024  # pixels on a side of the part that a power spectrum is taken of


class Distortion(NamedTuple):
    """Errors over all pixels of an image; in the image's unit.

    Attributes
    ----------
    pixels : int
        Pixels compared.
    missing : int
        Of those, not finite in the original.
    misplaced : int
        Pixels where one image is finite and the other is not, or infinities of other sign.
    changed : int
        Finite pixels whose value differs at all.
    max_error, mean_error, rms_error : float
        Largest absolute, mean signed and root mean square difference decoded - original.
    """

    pixels: int
    missing: int
    misplaced: int
    changed: int
    max_error: float
    mean_error: float
    rms_error: float

    def keeps(self, bound: float) -> bool:
        """Tell whether no finite pixel is off by more than a bound and none is misplaced."""
        return self.misplaced == 0 and self.max_error <= bound


class DistortionSum:
    """Adds up the errors of an image piece by piece, in bounded memory.

    Parameters
    ----------
    scale : float
        Unit of the pixels given, as BSCALE has it; integers are then compared exactly.

    Examples
    --------
    >>> total = DistortionSum()
    >>> total.add(np.array([1.0, np.nan]), np.array([1.5, np.nan]))
    >>> total.result().max_error
    0.5
    """

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = abs(scale)
        self._pixels = self._finite = self._missing = self._misplaced = self._changed = 0
        self._max = self._sum = self._squares = 0.0

    def add(
        self, original: NDArray[Any], decoded: NDArray[Any], *, blank: int | None = None
    ) -> None:
        """Add pixels of both images.

        Parameters
        ----------
        original, decoded : ndarray, same shape
            Values; integers are subtracted exactly, floats in float64.
        blank : int, optional
            Value of integers that means missing.

        Raises
        ------
        ValueError
            When the shapes differ.
        """
        if original.shape != decoded.shape:
            raise ValueError(f"shapes differ: {original.shape} and {decoded.shape}")
        self._pixels += original.size
        if original.dtype.kind in "iu" and decoded.dtype.kind in "iu":
            before, after = original, decoded
            valid = np.ones(before.shape, bool) if blank is None else before != blank
            same = valid if blank is None else after != blank
            self._misplaced += int(np.count_nonzero(valid != same))
            difference = _subtract_integers(after, before)
        else:
            with np.errstate(invalid="ignore"):  # signalling NaNs, inf - inf
                before = original.astype(np.float64)
                after = decoded.astype(np.float64)
                difference = after - before
            valid = np.isfinite(before)
            same_kind = (valid & np.isfinite(after)) | (np.isnan(before) & np.isnan(after))
            same_kind |= before == after
            self._misplaced += int(np.count_nonzero(~same_kind))
            valid = valid & np.isfinite(after)
        self._missing += original.size - int(np.count_nonzero(valid))
        kept = difference[valid] * self._scale
        self._finite += kept.size
        self._changed += int(np.count_nonzero(kept))
        if kept.size:
            self._max = max(self._max, float(np.abs(kept).max()))
            self._sum += float(kept.sum())
            self._squares += float(np.square(kept).sum())

    def result(self) -> Distortion:
        """Return the errors of everything that was added."""
        count = max(self._finite, 1)
        return Distortion(
            pixels=self._pixels,
            missing=self._missing,
            misplaced=self._misplaced,
            changed=self._changed,
            max_error=self._max,
            mean_error=self._sum / count,
            rms_error=math.sqrt(self._squares / count),
        )


def _subtract_integers(after: NDArray[Any], before: NDArray[Any]) -> FloatArray:
    """Return the difference of integers, exact up to 2**53."""
    if max(after.dtype.itemsize, before.dtype.itemsize) < 8:
        return np.asarray(after.astype(np.int64) - before.astype(np.int64), dtype=np.float64)
    larger, smaller = np.maximum(after, before), np.minimum(after, before)
    size = (larger.view(np.uint64) - smaller.view(np.uint64)).astype(np.float64)
    return np.asarray(np.where(after >= before, size, -size), dtype=np.float64)


class ResidualStatistics(NamedTuple):
    """What the residual (decoded - original) looks like, in units of the sky noise.

    Attributes
    ----------
    mean, rms : float
        Over finite pixels, in sigma.
    chi_squared : float
        Mean of (residual / sigma)**2 of the pixels.
    correlation_x, correlation_y : float
        Correlation of neighbours along a row and a column; about 0 for a good quantiser.
    correlation_with_image : float
        Of the residual with the original's rank: above 0, bright pixels were made brighter.
    skewness, kurtosis : float
        Third and fourth standardised moments; a uniform error has 0 and -1.2 (excess).
    """

    mean: float
    rms: float
    chi_squared: float
    correlation_x: float
    correlation_y: float
    correlation_with_image: float
    skewness: float
    kurtosis: float


def residual_statistics(
    original: NDArray[Any], decoded: NDArray[Any], sigma: float
) -> ResidualStatistics:
    """Measure the residual of one image plane.

    Parameters
    ----------
    original, decoded : ndarray, shape (H, W)
        Physical values; pixels that are not finite in both are left out.
    sigma : float
        Sky noise that residuals are divided by; positive.

    Returns
    -------
    ResidualStatistics
        Zeros where nothing differs or nothing is finite.

    Raises
    ------
    ValueError
        When `sigma` is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    residual = residual_in_sigma(original, decoded, sigma)
    valid = np.isfinite(residual)
    values = residual[valid]
    if values.size == 0 or not np.any(values):
        return ResidualStatistics(0, 0, 0, 0, 0, 0, 0, 0)
    mean = float(values.mean())
    deviation = values - mean
    second = np.square(deviation)
    variance = float(second.mean())
    squares = variance + mean**2
    skewness = kurtosis = 0.0
    if variance > 0:
        skewness = float(np.dot(second, deviation)) / values.size / variance**1.5
        kurtosis = float(np.dot(second, second)) / values.size / variance**2 - 3
    centred = np.zeros(residual.shape)
    centred[valid] = deviation
    return ResidualStatistics(
        mean=mean,
        rms=math.sqrt(squares),
        chi_squared=squares,
        correlation_x=_pair_correlation(
            centred[:, 1:], centred[:, :-1], valid[:, 1:], valid[:, :-1]
        ),
        correlation_y=_pair_correlation(centred[1:], centred[:-1], valid[1:], valid[:-1]),
        correlation_with_image=_rank_correlation(original[valid], values),
        skewness=skewness,
        kurtosis=kurtosis,
    )


def residual_in_sigma(original: NDArray[Any], decoded: NDArray[Any], sigma: float) -> FloatArray:
    """Return (decoded - original) / sigma as float64; NaN where either is not finite."""
    with np.errstate(invalid="ignore"):
        residual = (decoded.astype(np.float64) - original.astype(np.float64)) / sigma
    residual[~np.isfinite(residual)] = np.nan
    return np.asarray(residual, dtype=np.float64)


def _pair_correlation(
    first: FloatArray, second: FloatArray, one: NDArray[np.bool_], other: NDArray[np.bool_]
) -> float:
    """Return the correlation of pairs where both are valid; values are 0 where they are not."""
    products = float(np.einsum("ij,ij->", first, second))
    power = float(np.einsum("ij,ij,ij->", first, first, other))
    power *= float(np.einsum("ij,ij,ij->", second, second, one))
    return products / math.sqrt(power) if power > 0 else 0.0


def _rank_correlation(image: NDArray[Any], residual: FloatArray) -> float:
    """Return the correlation of the residual with the rank of the image's values (sampled)."""
    stride = max(image.size // 200_000, 1)
    values, part = image.ravel()[::stride], residual.ravel()[::stride]
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - counts / 2)[inverse]  # equal values share their mean rank
    if rank.std() == 0 or part.std() == 0:
        return 0.0
    return float(np.corrcoef(rank, part)[0, 1])


class PowerSpectrum(NamedTuple):
    """Azimuthally averaged power spectrum.

    Attributes
    ----------
    frequency : ndarray, shape (N,)
        Cycles per pixel, middle of each ring, below 0.5.
    power : ndarray, shape (N,)
        Mean power of a ring over that of white noise with unit standard deviation.
    """

    frequency: FloatArray
    power: FloatArray


def power_spectrum(image: NDArray[Any], *, rings: int = 32) -> PowerSpectrum:
    """Return the power spectrum of an image, or of its middle when it is large.

    The mean is subtracted, pixels that are not finite count as zero, and a Hann window keeps the
    borders out; the result is corrected for both.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Values, such as a residual in sigma.
    rings : int
        Number of rings of frequency, at most half of the shorter side.
    """
    part = middle_part(np.asarray(image, dtype=np.float64), _LARGEST_SPECTRUM)
    valid = np.isfinite(part)
    if not valid.any() or min(part.shape) < 4:
        return PowerSpectrum(np.empty(0), np.empty(0))
    values = np.where(valid, part - part[valid].mean(), 0.0)
    window = np.hanning(part.shape[0] + 2)[1:-1, None] * np.hanning(part.shape[1] + 2)[None, 1:-1]
    weights = window * valid
    power = np.abs(fft.rfft2(values * weights)) ** 2 / np.sum(weights**2)
    frequency = np.hypot(fft.fftfreq(part.shape[0])[:, None], fft.rfftfreq(part.shape[1])[None, :])
    count = min(rings, min(part.shape) // 2)
    ring = np.minimum((frequency * 2 * count).astype(np.int64), count)
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=count + 1)[:count]
    numbers = np.bincount(ring.ravel(), minlength=count + 1)[:count]
    centres = (np.arange(count) + 0.5) / (2 * count)
    return PowerSpectrum(centres, sums / np.maximum(numbers, 1))


def middle_part(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the middle of an image, at most `side` pixels on a side (a view)."""
    top = max((image.shape[0] - side) // 2, 0)
    left = max((image.shape[1] - side) // 2, 0)
    return image[top : top + side, left : left + side]


class SkyChange(NamedTuple):
    """Sky level and noise of both images, in the image's unit."""

    level_before: float
    level_after: float
    sigma_before: float
    sigma_after: float


def sky_change(original: NDArray[Any], decoded: NDArray[Any]) -> SkyChange | None:
    """Measure sky level and noise before and after; None where there is no finite pixel."""
    try:
        before = sky_statistics(original, max_samples=_SAMPLES)
        after = sky_statistics(decoded, max_samples=_SAMPLES)
    except DataError:
        return None
    return SkyChange(before.level, after.level, before.sigma, after.sigma)
