"""The covariance of sky noise by lag, of one image or pooled over many, sources masked.

Noise that is stationary has one covariance for each distance of two pixels: its autocovariance.
Sums of products run over pairs of sky pixels only, and each lag is divided by its number of
pairs, so that masks and borders do not bias it. The mean of the sky pixels of each image is taken
out first; in images of n sky pixels that lowers every lag by the sum of the covariance over n.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astro_vq.data.sky_level import fill_missing, sky_statistics, source_mask
from astro_vq.errors import DataError
from astro_vq.io.fits import open_fits

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_FFT_TILE = 1024
_LARGEST_FILE_LAG = 256
_SYMMETRY = 1e-6  # largest difference of a lag and its opposite, as a part of the variance


class PairSums(NamedTuple):
    """Products of pairs of sky pixels by lag; those of several images add up.

    Attributes
    ----------
    products, pairs : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Sum of products and number of pairs at each lag, lag (0, 0) in the middle.
    """

    products: FloatArray
    pairs: FloatArray

    def plus(self, other: "PairSums") -> "PairSums":
        """Return the sums over the images of both."""
        return PairSums(self.products + other.products, self.pairs + other.pairs)

    def covariance(self) -> FloatArray:
        """Return the autocovariance (2 L + 1, 2 L + 1).

        Raises
        ------
        DataError
            When some lag has fewer than two pairs.
        """
        if self.pairs.min() < 2:
            raise DataError(
                f"too few sky pixels for lags up to {len(self.pairs) // 2}; take a smaller "
                "largest lag, larger images or more of them"
            )
        values = self.products / self.pairs
        return np.asarray((values + values[::-1, ::-1]) / 2, dtype=np.float64)


def pair_sums(image: NDArray[Any], max_lag: int, *, mask: BoolArray | None = None) -> PairSums:
    """Sum products of pairs of sky pixels of one image; see `autocovariance`.

    Raises
    ------
    ValueError
        When `max_lag` is negative.
    DataError
        When no sky pixel is left.
    """
    if max_lag < 0:
        raise ValueError(f"max_lag must not be negative, got {max_lag}")
    sky = sky_statistics(image, mask=mask)
    values, valid = fill_missing(image, mask)
    valid &= ~source_mask(image, sky, mask=mask)
    if not valid.any():
        raise DataError("no sky pixel is left after masking sources; give a mask or another image")
    values = np.where(valid, values - values[valid].mean(), 0.0)
    products = np.zeros((2 * max_lag + 1, 2 * max_lag + 1))
    pairs = np.zeros_like(products)
    height, width = values.shape
    for y in range(0, height, _FFT_TILE):
        for x in range(0, width, _FFT_TILE):
            window = np.s_[y : y + _FFT_TILE, x : x + _FFT_TILE]
            products += _correlate(values[window], max_lag)
            pairs += np.rint(_correlate(valid[window].astype(np.float64), max_lag))
    return PairSums(products, pairs)


def autocovariance(
    image: NDArray[Any], max_lag: int, *, mask: BoolArray | None = None
) -> FloatArray:
    """Measure the autocovariance of the sky noise of one image, sources masked.

    Assumes noise that is stationary over the image. Frames larger than 1024 pixels are summed in
    pieces of that size.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Real values; NaN and inf are ignored.
    max_lag : int
        Largest lag L along each axis, in pixels.
    mask : ndarray of bool, shape (H, W), optional
        True where a pixel may be used; sources are masked in addition.

    Returns
    -------
    ndarray of float64, shape (2 L + 1, 2 L + 1)
        In the unit of the image squared; lag (0, 0), the variance, is at ``[L, L]``.

    Raises
    ------
    ValueError
        When `max_lag` is negative.
    DataError
        When some lag has fewer than two pairs of sky pixels.
    """
    return pair_sums(image, max_lag, mask=mask).covariance()


def covariance(
    images: NDArray[Any] | Iterable[NDArray[Any]],
    max_lag: int,
    *,
    masks: NDArray[np.bool_] | Iterable[BoolArray] | None = None,
) -> FloatArray:
    """Estimate the covariance of sky noise by lag from a frame or a set of cutouts.

    Pairs of sky pixels are pooled over all images, sources masked in each. Images are looked at
    one at a time. They should share unit and noise level (as network units do): the result is
    that of an image which is any of them, by its share of the sky pixels.

    Parameters
    ----------
    images : ndarray, shape (H, W) or (N, H, W), or iterable of ndarray (H, W)
        A frame, or cutouts, of any sizes. NaN and inf are ignored.
    max_lag : int
        Largest lag L along each axis, in pixels.
    masks : like `images`, of bool, optional
        True where a pixel may be used.

    Returns
    -------
    ndarray of float64, shape (2 L + 1, 2 L + 1)
        As `autocovariance` gives, and as `MultivariateNormal.set_autocovariance` takes it.

    Raises
    ------
    ValueError
        When `max_lag` is negative, an image has not two axes, or masks do not fit.
    DataError
        When there is no image, or some lag has fewer than two pairs of sky pixels.

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(0.0, 2.0, (20, 64, 64))
    >>> covariance(noise, 1)[1].round(1) + 0.0
    array([0., 4., 0.])
    """
    total: PairSums | None = None
    paired = ((image, None) for image in _each(images))
    if masks is not None:
        paired = zip(_each(images), _each(masks), strict=True)  # type: ignore[assignment]
    for image, mask in paired:
        sums = pair_sums(image, max_lag, mask=mask)
        total = sums if total is None else total.plus(sums)
    if total is None:
        raise DataError("there is no image to estimate a noise covariance from")
    return total.covariance()


def _each(images: NDArray[Any] | Iterable[NDArray[Any]]) -> Iterable[NDArray[Any]]:
    if isinstance(images, np.ndarray):
        if images.ndim not in (2, 3):
            raise ValueError(f"images must be (H, W) or (N, H, W), got shape {images.shape}")
        return images[None] if images.ndim == 2 else images
    return images


def neighbour_correlation(values: NDArray[Any]) -> float:
    """Return the correlation of neighbouring pixels, the mean of both axes.

    Parameters
    ----------
    values : ndarray, shape (2 L + 1, 2 L + 1)
        An autocovariance.

    Returns
    -------
    float
        Lag-1 correlation; 0 where there is no lag but zero.
    """
    lag = len(values) // 2
    if lag == 0:
        return 0.0
    return float((values[lag + 1, lag] + values[lag, lag + 1]) / (2 * values[lag, lag]))


def read_autocovariance(path: str | Path) -> FloatArray:
    """Read an autocovariance from the first image of a FITS file.

    Parameters
    ----------
    path : str or Path
        FITS file; its image is (2 L + 1, 2 L + 1), or (C, 2 L + 1, 2 L + 1) for C channels, lag
        zero in the middle.

    Returns
    -------
    ndarray of float64, shape (C, 2 L + 1, 2 L + 1)
        C is 1 for an image of two axes.

    Raises
    ------
    DataError
        There is no image, or it is no autocovariance.
    FormatError
        It is no FITS file.
    """
    with open_fits(path) as file:
        images = [hdu for hdu in file.hdus if hdu.kind in ("image", "compressed-image")]
        if not images:
            raise DataError(f"{path}: no HDU holds an image; an autocovariance is expected")
        shape = images[0].shape
        wanted = "an autocovariance is an image of 2L+1 by 2L+1 pixels, lag zero in the middle"
        if len(shape) not in (2, 3) or shape[-1] != shape[-2] or shape[-1] % 2 == 0:
            raise DataError(f"{path}: {wanted}; got one of shape {shape}")
        if shape[-1] // 2 > _LARGEST_FILE_LAG:
            raise DataError(f"{path}: lags up to {_LARGEST_FILE_LAG} can be used, got {shape}")
        whole = slice(0, shape[-1])
        planes = [
            images[0].to_physical(images[0].read_stored(plane, whole, whole))
            for plane in range(images[0].n_planes)
        ]
    values = np.stack(planes).astype(np.float64)
    lag = shape[-1] // 2
    variance = values[:, lag, lag]
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {wanted}; some values are not finite")
    if not (variance > 0).all():
        raise DataError(f"{path}: {wanted}: the variance; it is {variance.tolist()}")
    if (np.abs(values) > variance[:, None, None] * (1 + _SYMMETRY)).any():
        raise DataError(f"{path}: {wanted}; some lag has more covariance than lag zero")
    if (np.abs(values - values[:, ::-1, ::-1]) > _SYMMETRY * variance[:, None, None]).any():
        raise DataError(f"{path}: {wanted}; it must be the same at a lag and at its opposite")
    return values


def _correlate(values: FloatArray, max_lag: int) -> FloatArray:
    """Return sums of products at all lags (2 L + 1, 2 L + 1), zero beyond the borders."""
    shape = [fft.next_fast_len(n + max_lag, real=True) for n in values.shape]
    spectrum = fft.rfft2(values, s=shape)
    sums = fft.irfft2(np.abs(spectrum) ** 2, s=shape)
    lags = np.arange(-max_lag, max_lag + 1)
    return np.asarray(sums[np.ix_(lags % shape[0], lags % shape[1])], dtype=np.float64)
