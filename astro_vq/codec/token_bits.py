"""What tokens take, against what they would take without a coder."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def measure_bits(
    maps: NDArray[np.int32], *, codes: int, sparse: bool, coded_bytes: int
) -> dict[str, Any]:
    """Return how many tokens there are and what one takes, in bits.

    Parameters
    ----------
    maps : ndarray of int32, shape (N, K, h, w)
        Code indices; of sparse tokens, maps of codes (0 is none) and of gains in turn.
    codes : int
        Size of the codebook.
    sparse : bool
        Whether positions may be empty.
    coded_bytes : int
        What the streams take.

    Returns
    -------
    dict
        ``count``; ``fixed_width``, whole bits for the position (of sparse tokens), the code and
        the gain; ``order_0``, the entropy of the same with frequencies that are known; ``coded``,
        what is stored. Without tokens the last three are absent.
    """
    if not sparse:
        count = maps.size
        fixed = _width(codes)
        order_0 = float(np.mean([_entropy(maps[:, k]) for k in range(maps.shape[1])] or [0.0]))
    else:
        chosen, gains = maps[:, 0::2], maps[:, 1::2]
        taken = chosen > 0
        count = int(np.count_nonzero(taken))
        positions = maps.shape[0] * maps.shape[2] * maps.shape[3]
        fixed = _width(positions) + _width(int(chosen.max(initial=1))) + _width(_span(gains[taken]))
        places = positions * _entropy(taken.sum(1)) / max(count, 1)
        order_0 = places + _entropy(chosen[taken]) + _entropy(gains[taken])
    if not count:
        return {"count": 0}
    coded = 8 * coded_bytes / count
    return {"count": count, "fixed_width": fixed, "order_0": order_0, "coded": coded}


def _width(values: int) -> int:
    return max(int(values) - 1, 0).bit_length()


def _span(values: NDArray[np.integer]) -> int:
    return int(values.max()) - int(values.min()) + 1 if values.size else 1


def _entropy(values: NDArray[np.integer]) -> float:
    """Return the entropy of values with their own frequencies, bits."""
    if not values.size:
        return 0.0
    share = np.unique(values, return_counts=True)[1] / values.size
    return float(-(share * np.log2(share)).sum())
