"""Gains of sparse tokens: even steps where noise decides, then steps of equal ratio."""

import numpy as np
from numpy.typing import NDArray

from astro_vq.models.sparse_atoms import FloatArray

GAINS = 256
LINEAR_STEP, LINEAR_GAINS, LOG_RATIO = 1.2, 16, 1.06
"""Gains are 1.2, 2.4 ... 19.2, then each 1.06 times the one before; there are 255, of either sign.

A source of 20 sigma is drawn to 0.6 sigma by one token, a bright one to 3 percent: less than the
difference between stars, so that a second token only has to draw what is different.
"""


def gain_values() -> FloatArray:
    """Return the value of each gain, index 0 (no gain) to 255."""
    index = np.arange(GAINS, dtype=np.float64)
    logarithmic = LINEAR_STEP * LINEAR_GAINS * LOG_RATIO ** (index - LINEAR_GAINS)
    return np.where(index < LINEAR_GAINS, index * LINEAR_STEP, logarithmic).astype(np.float32)


def signed_values(indices: NDArray[np.integer]) -> FloatArray:
    """Return the values of gains with their signs."""
    return np.asarray(gain_values()[np.abs(indices)] * np.sign(indices), np.float32)
