"""Gains of sparse tokens: even steps where noise decides, then steps of equal ratio."""

import numpy as np
from numpy.typing import NDArray

from astro_vq.models.sparse_atoms import FloatArray

LINEAR_STEP, LOG_RATIO, LINEAR_GAINS = 1.2, 1.25, 5
GAINS = 64
"""Gains are 1.2, 2.4 ... 6, then each 1.25 times the one before; there are 63, of either sign."""


def gain_values() -> FloatArray:
    """Return the value of each gain, index 0 (no gain) to 63."""
    index = np.arange(GAINS, dtype=np.float64)
    logarithmic = LINEAR_STEP * LINEAR_GAINS * LOG_RATIO ** (index - LINEAR_GAINS)
    return np.where(index < LINEAR_GAINS, index * LINEAR_STEP, logarithmic).astype(np.float32)


def signed_values(indices: NDArray[np.integer]) -> FloatArray:
    """Return the values of gains with their signs."""
    return np.asarray(gain_values()[np.abs(indices)] * np.sign(indices), np.float32)
