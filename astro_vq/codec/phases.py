"""Where the bins of a coarse quantiser should begin.

Steps wider than the noise may split the sky in two, or hold nearly all of it: a bit a pixel or
almost none. The histogram of the values tells which phase of the quantiser has least entropy.
"""

import numpy as np
import numpy.typing as npt

PHASES = 16
_VALUES = 1 << 16
_BINS = 1 << 14  # that are looked at, in steps around the median
_WORTH = 0.003


def best_phase(values: npt.NDArray[np.float64], step: float) -> int:
    """Return by how many sixteenths of a step to move the bins, -8 to 7; 0 if it hardly counts.

    Parameters
    ----------
    values : ndarray of float64
        Finite values.
    step : float
        Width of the bins.

    Examples
    --------
    >>> best_phase(np.random.default_rng(0).normal(0.5, 0.1, 1000), 1.0)
    -8
    """
    values = values[:: max(1, values.size // _VALUES)]
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.floor(values / step * PHASES + PHASES / 2)
    fine = fine[np.abs(fine) < 2.0**52].astype(np.int64)
    if not fine.size:
        return 0
    # the first fine bin is one at which a bin of phase 0 begins
    first = (int(np.median(fine)) // PHASES - _BINS // 2) * PHASES
    inside = fine[(fine >= first) & (fine < first + (_BINS - 1) * PHASES)] - first
    counts = np.bincount(inside, minlength=_BINS * PHASES)
    bits = [_entropy(np.roll(counts, -phase)) for phase in range(PHASES)]
    best = int(np.argmin(bits))
    if bits[best] > (1 - _WORTH) * bits[0]:
        return 0
    return best - PHASES if best >= PHASES // 2 else best


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    """Return the entropy of bins of `PHASES` fine ones each, in bits."""
    share = counts.reshape(-1, PHASES).sum(1)
    share = share[share > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())
