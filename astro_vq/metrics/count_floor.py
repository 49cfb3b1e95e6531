"""The bits that the noise of photon counts costs: the entropy of a Poisson distribution."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from astro_vq.metrics.noise_floor import NoiseFloor


class CountNoise(NamedTuple):
    """The noise of an image of photon counts; stands where a `NoiseModel` does.

    Attributes
    ----------
    rate : float
        Mean counts of a pixel of the sky, at least 0; pixels are independent.
    """

    rate: float

    def floor(self, step: float, *, quantized: bool = True) -> NoiseFloor:
        """Return the bits per pixel at a step; counts have one of 1 at least.

        Parameters
        ----------
        step : float
            Distance of values that are told apart.
        quantized : bool
            Counts always are; there for the sake of `NoiseModel`.
        """
        width = max(round(step), 1)
        bits = poisson_bits(self.rate, width)
        sigma = math.sqrt(self.rate)
        return NoiseFloor(sigma, sigma, 0.0, float(width), bits, bits)

    def lossless_floor(self) -> NoiseFloor:
        """Return the bits per pixel of the counts themselves."""
        return self.floor(1.0)


def poisson_bits(rate: float, width: int = 1) -> float:
    """Return the entropy in bits of Poisson counts in bins of so many counts, the first from 0.

    Parameters
    ----------
    rate : float
        Mean, at least 0.
    width : int
        Counts in a bin.

    Examples
    --------
    >>> poisson_bits(0.0)
    0.0
    """
    if rate <= 0:
        return 0.0
    last = math.ceil(rate + 12 * math.sqrt(rate) + 40)
    counts = np.arange(-(-last // width) * width)
    share = np.exp(counts * math.log(rate) - rate - special.gammaln(counts + 1.0))
    share = share.reshape(-1, width).sum(1)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())
