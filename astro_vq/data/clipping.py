"""Clipped statistics of values of which many may be outliers, and many may be equal.

Integer data is taken as grouped data: the distribution function is linear between the middles of
distinct values, and the step's variance is taken out (Sheppard's correction), so that a noise of
one or two steps is measured as well as any other.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a normal distribution in units of its median absolute deviation."""
CLIP_SIGMA = 3.0
_TRUNCATED_MAD = 0.6723600  # median of abs(x) for a unit normal cut off at CLIP_SIGMA
_MODE_FRACTION = 0.4  # one value in more pixels than this: a MAD means nothing, use the std
_SPIKE_FRACTION = 0.1  # the same for a value that is three times as frequent as any other


class SkyStatistics(NamedTuple):
    """Level and standard deviation of the sky, in the unit of the image."""

    level: float
    sigma: float


def clipped_statistics(
    values: FloatArray, grouped: tuple[FloatArray, NDArray[np.intp]] | None = None
) -> SkyStatistics:
    """Return level and sigma of finite `values`, clipped until they settle.

    Median and MAD where they mean something, mean and std where one value makes up too much.
    Distinct values and their counts may be given where they are known.
    """
    unit = _unit(values)
    if grouped is None or not (np.diff(grouped[0] / unit) > 0).all():
        grouped = np.unique(values / unit, return_counts=True)
    else:
        grouped = grouped[0] / unit, grouped[1]
    distinct, counts = grouped
    if distinct.size == 1:
        return SkyStatistics(float(distinct[0]) * unit, 0.0)
    level, sigma = 0.0, 0.0
    share = float(counts.max()) / values.size
    is_spike = share > _SPIKE_FRACTION and counts.max() > 3 * np.partition(counts, -2)[-2]
    if is_spike and share <= _MODE_FRACTION and counts.argmax() == distinct.size - 1:
        distinct, counts, is_spike = distinct[:-1], counts[:-1], False  # saturated pixels
    if distinct.size > 1 and share <= _MODE_FRACTION and not is_spike:
        level, sigma = _clipped_mad(distinct, counts, 20)
    if sigma == 0:
        level, sigma = _clipped_std(distinct, counts)
    smallest = float(np.diff(distinct).min())
    return SkyStatistics(level * unit, max(sigma, 1e-3 * smallest) * unit or math.ulp(0.0))


def grouped_mad_sigma(values: FloatArray) -> float:
    """Return the sigma from the MAD of finite values, the step of integer data taken out.

    0 where all values are equal; nothing is clipped.
    """
    unit = _unit(values)
    distinct, counts = np.unique(values / unit, return_counts=True)
    return 0.0 if distinct.size == 1 else _clipped_mad(distinct, counts, 0)[1] * unit


def _clipped_mad(
    distinct: FloatArray, counts: NDArray[np.intp], iterations: int
) -> tuple[float, float]:
    """Return clipped median and sigma from the MAD of grouped data (piecewise linear CDF)."""
    middles = (distinct[1:] + distinct[:-1]) / 2
    first, last = 2 * distinct[0] - middles[0], 2 * distinct[-1] - middles[-1]
    edges = np.concatenate([[first], middles, [last]])
    cumulative = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    low, high, normal_mad = first, last, 1 / MAD_TO_SIGMA
    level, sigma = 0.0, 0.0
    for _ in range(iterations + 1):
        below, above = np.interp([low, high], edges, cumulative)
        level = float(np.interp((below + above) / 2, cumulative, edges))
        inner, outer = 0.0, float(max(high - level, level - low))
        while outer - inner > 1e-7 * outer:  # half of what is not clipped lies within
            middle = (inner + outer) / 2
            reach = [max(level - middle, low), min(level + middle, high)]
            left, right = np.interp(reach, edges, cumulative)
            if right - left > (above - below) / 2:
                outer = middle
            else:
                inner = middle
        bins = np.searchsorted(edges, level + outer) - np.searchsorted(edges, level - outer)
        step = 2 * outer / max(int(bins), 1)
        spread = outer / normal_mad
        previous, sigma = sigma, math.sqrt(max(spread**2 - step**2 / 12, spread**2 / 16))
        if abs(sigma - previous) <= 1e-5 * sigma:
            break
        low = max(level - CLIP_SIGMA * sigma, first)
        high = min(level + CLIP_SIGMA * sigma, last)
        normal_mad = _TRUNCATED_MAD
    return level, sigma


def _clipped_std(distinct: FloatArray, counts: NDArray[np.intp]) -> tuple[float, float]:
    """Return mean and std clipped at five sigma, but never within five of the smallest steps."""
    steps = np.abs(distinct - distinct[counts.argmax()])
    quantum = float(steps[steps > 0].min())
    keep = np.ones(distinct.shape, dtype=bool)
    mean, sigma = 0.0, 0.0
    for _ in range(20):
        mean = float(np.average(distinct[keep], weights=counts[keep]))
        sigma = math.sqrt(float(np.average((distinct[keep] - mean) ** 2, weights=counts[keep])))
        now = np.abs(distinct - mean) <= 5 * max(sigma, quantum)
        if (now == keep).all() or not now.any():
            break
        keep = now
    return mean, sigma


def _unit(values: FloatArray) -> float:
    """Return a power of two that keeps arithmetic exact and far from overflow."""
    return 2.0 ** min(max(math.frexp(float(np.abs(values).max()))[1], -1000), 1000)
