"""The bits that noise costs: what no codec saves when it keeps every pixel within a bound.

A pixel within ``bound`` of the original is known to a step of ``2 * bound``.  Noise of standard
deviation sigma then takes ``log2(sigma / step) + 2.047`` bits when step is small, fewer when it
is not.  Where noise is correlated its neighbours predict a part of each pixel, and only the
innovation, what they cannot predict, has to be paid for.

References
----------
Pence, Seaman & White 2009, PASP 121, 414 (noise and compression of astronomical images);
Ziv 1985, IEEE Trans. Inf. Theory 31, 344 (entropy of dithered uniform quantisation).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from astro_vq.data.noise import autocovariance, sky_statistics
from astro_vq.errors import DataError

_REACH = 4  # pixels; the predictor sees the causal half of a square of 9 x 9 pixels
_SMALLEST = 1e-6  # of the variance: a predictor is never trusted beyond this
_GRID = 4001


class NoiseFloor(NamedTuple):
    """Bits per pixel that the sky noise of an image costs at a bound.

    Attributes
    ----------
    sigma : float
        Standard deviation of the sky, in the unit of the image.
    innovation_sigma : float
        Standard deviation of what neighbours do not predict, same unit.
    correlation : float
        Correlation of direct neighbours, mean of both axes.
    step : float
        Step of the values that are told apart: twice the bound, or that of integers.
    white_bits : float
        Floor for noise of `sigma` in which every pixel is independent.
    correlated_bits : float
        Floor for the innovation; never above `white_bits` by more than rounding.
    """

    sigma: float
    innovation_sigma: float
    correlation: float
    step: float
    white_bits: float
    correlated_bits: float


def quantized_noise_bits(sigma: float, step: float) -> float:
    """Return the entropy of Gaussian noise rounded to a step, averaged over where the grid lies.

    This is the mutual information between the noise and the noise with a uniform error of one
    step added, in bits: ``h(n + u) - log2(step)``.

    Parameters
    ----------
    sigma : float
        Standard deviation; 0 gives 0 bits.
    step : float
        Distance of the values, same unit; positive.

    Returns
    -------
    float
        Bits per pixel, at least 0.

    Raises
    ------
    ValueError
        When `sigma` is negative, or `step` is not positive.

    Examples
    --------
    >>> round(quantized_noise_bits(32.0, 1.0) - math.log2(32.0), 3)
    2.047
    """
    if not sigma >= 0 or not step > 0:
        raise ValueError(f"sigma must be >= 0 and step > 0, got {sigma} and {step}")
    if sigma == 0:
        return 0.0
    width = step / sigma
    if width < 1e-3:
        return math.log2(1 / width) + 0.5 * math.log2(2 * math.pi * math.e)
    # in units of sigma; the density of noise plus a uniform error, where it is not flat
    edge = width / 2
    x = np.linspace(max(edge - 9, 0.0), edge + 9, _GRID)
    density = (special.ndtr(edge - x) - special.ndtr(-edge - x)) / width
    terms = special.entr(density)
    middle = 2 * max(edge - 9, 0.0) * math.log(width) / width
    total = 2 * float(np.trapezoid(terms, x)) + middle
    return max(total / math.log(2) - math.log2(width), 0.0)


def innovation_variance(
    covariance: NDArray[np.float64], *, step: float = 0.0, quantized: bool = False
) -> float:
    """Return the variance of what a linear predictor from earlier neighbours leaves.

    The predictor is the best one for stationary noise over the causal half (rows before, and
    the row to the left) of a window of at most 9 x 9 pixels, whose values are known to `step`.

    Parameters
    ----------
    covariance : ndarray, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise, lag (0, 0) in the middle.
    step : float
        Step to which neighbours are known; adds step**2 / 12 to their variance.
    quantized : bool
        Whether the covariance was measured on values that already have that step.

    Returns
    -------
    float
        In the unit of `covariance`; between 0 and the variance.

    Raises
    ------
    ValueError
        When the covariance is not square with an odd side.
    """
    side = covariance.shape[0]
    if covariance.ndim != 2 or covariance.shape[1] != side or side % 2 == 0:
        raise ValueError(f"a covariance must be (2 L + 1, 2 L + 1), got {covariance.shape}")
    middle = side // 2
    reach = min(_REACH, middle // 2)
    error = step**2 / 12
    variance = float(covariance[middle, middle]) - (error if quantized else 0.0)
    variance = max(variance, _SMALLEST * float(covariance[middle, middle]))
    if reach == 0:
        return variance
    lags = np.array(
        [(dy, dx) for dy in range(-reach, 1) for dx in range(-reach, reach + 1) if dy < 0 or dx < 0]
    )
    across = lags[:, None, :] - lags[None, :, :]
    matrix = covariance[middle + across[..., 0], middle + across[..., 1]].copy()
    np.fill_diagonal(matrix, variance * (1 + _SMALLEST) + error)
    known = covariance[middle + lags[:, 0], middle + lags[:, 1]]
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, _SMALLEST * variance + error)  # measured: not always definite
    explained = float(np.sum((vectors.T @ known) ** 2 / values))
    return max(variance - explained, _SMALLEST * variance)


class NoiseModel(NamedTuple):
    """The sky noise of an image, from which floors at any bound follow.

    Attributes
    ----------
    sigma : float
        Standard deviation of the sky, in the unit of the image; positive.
    covariance : ndarray, shape (2 L + 1, 2 L + 1)
        Autocovariance, lag (0, 0) in the middle.
    float_step : float
        Geometric mean of the spacing of the image's own floating point numbers; 0 for integers.
    """

    sigma: float
    covariance: NDArray[np.float64]
    float_step: float = 0.0

    def floor(self, step: float, *, quantized: bool = False) -> NoiseFloor:
        """Return the bits per pixel that this noise costs at a step.

        Parameters
        ----------
        step : float
            Distance of values that are told apart: twice the error bound, or 1 (times BSCALE)
            for integers that are kept lossless.
        quantized : bool
            Whether the image itself has that step (integers kept lossless).

        Raises
        ------
        ValueError
            When `step` is not positive.
        """
        if not step > 0:
            raise ValueError(f"step must be positive, got {step}; floats: see lossless_floor")
        variance = innovation_variance(self.covariance, step=step, quantized=quantized)
        innovation = min(math.sqrt(variance), self.sigma)
        return NoiseFloor(
            sigma=self.sigma,
            innovation_sigma=innovation,
            correlation=_neighbour_correlation(self.covariance),
            step=step,
            white_bits=quantized_noise_bits(self.sigma, step),
            correlated_bits=quantized_noise_bits(innovation, step),
        )

    def lossless_floor(self) -> NoiseFloor | None:
        """Return the bits that noise costs when floats are kept to the last bit.

        The step is then the spacing of the floats, which grows with their size: its logarithm is
        averaged over the pixels.  Floats that hide coarser values (integers that were rescaled)
        can cost less than this.  None for integers, whose step only their header tells.
        """
        return self.floor(self.float_step) if self.float_step > 0 else None


def measure_noise(image: NDArray[Any], *, max_lag: int = 8) -> NoiseModel | None:
    """Measure the sky noise of an image.

    Assumes noise that is stationary over the image; sources, which cost more, are masked.  NaN
    and infinities are ignored.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Physical values, floats in the type that is stored.
    max_lag : int
        Largest lag of the covariance; smaller where too few pixels of sky are left.

    Returns
    -------
    NoiseModel or None
        None where there is no noise to measure: no finite pixel, or a constant image.
    """
    lag = max_lag
    try:
        sigma = sky_statistics(image).sigma
    except DataError:
        return None
    covariance = np.array([[sigma**2]])
    while lag > 0:
        try:
            covariance = autocovariance(image, lag)
        except DataError:
            lag //= 2  # a small or crowded image
        else:
            break
    if not sigma > 0:
        return None
    if not covariance[lag, lag] > 0:
        covariance = np.array([[sigma**2]])
    step = 0.0
    if image.dtype.kind == "f":
        size = np.abs(image[np.isfinite(image)])
        spacing = np.spacing(size[size > 0]).astype(np.float64)
        step = 2.0 ** float(np.mean(np.log2(spacing))) if spacing.size else 0.0
    return NoiseModel(sigma, covariance, step)


def _neighbour_correlation(covariance: NDArray[np.float64]) -> float:
    middle = covariance.shape[0] // 2
    if middle == 0:
        return 0.0
    pair = covariance[middle, middle + 1] + covariance[middle + 1, middle]
    return float(pair / 2 / covariance[middle, middle])
