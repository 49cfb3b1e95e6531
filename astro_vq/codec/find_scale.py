"""Floats that are integers times a scale, exactly: which scale and which offset.

Calibrated counts are often no more than that. Between sorted distinct values most gaps are one
step, so they tell the step; a fit of a line over more and more of them makes it exact.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_VALUES = 1 << 17
_FEWEST = 32  # distinct values
_COARSE = 8.0  # units in the last place that a step has at least
_HITS = 0.99  # of the values that must come out to the last bit
_CLEAR = 0.2  # of a step: how far values may lie from multiples
_DIVISIONS = 6  # the smallest gap may be so many steps
_LARGEST_INDEX = 2.0**31

Floats = npt.NDArray[np.float64]


class Scale(NamedTuple):
    """How integers become floats.

    Attributes
    ----------
    step : float
        What they are multiplied by, or divided by.
    offset : float
        What is added to products.
    is_ratio : bool
        Whether they are divided.
    """

    step: float
    offset: float = 0.0
    is_ratio: bool = False

    def index_of(self, values: Floats) -> Floats:
        """Return the nearest integers."""
        if self.is_ratio:
            return np.asarray(np.rint(values * self.step))
        return np.asarray(np.rint((values - self.offset) / self.step))

    def values_of(self, index: Floats) -> Floats:
        """Return what integers stand for."""
        if self.is_ratio:
            return np.asarray(index / self.step)
        real = index * self.step
        return real + self.offset if self.offset else real


def find_scale(values: npt.NDArray[Any]) -> Scale | None:
    """Return the scale of finite floats, None if they are no multiples of one.

    Parameters
    ----------
    values : ndarray of float32 or float64
        Finite values of an image, in any order.
    """
    distinct = np.unique(values[:: max(1, values.size // _VALUES)])
    if distinct.size < _FEWEST:
        return None
    with np.errstate(all="ignore"):
        return _find(distinct)


def _find(distinct: npt.NDArray[Any]) -> Scale | None:
    real = distinct.astype(np.float64)
    unit = float(np.spacing(np.abs(distinct).max()))
    gaps = np.diff(real)
    smallest = float(gaps.min())
    if not (smallest > _COARSE * unit and np.isfinite(real[-1] - real[0])):
        return None
    for division in range(1, _DIVISIONS + 1):
        single = gaps[gaps < 1.5 * smallest]
        step = _refine(real, float(np.mean(single)) / division)
        if step is not None:
            return _settle(distinct, real, step)
    return None


def _refine(values: Floats, step: float) -> float | None:
    """Return a step from all values, from a guess; None if they do not lie on a lattice."""
    index = np.rint(np.diff(values) / step)
    if np.abs(np.diff(values) - index * step).max() > 2 * _CLEAR * step:
        return None
    count = np.concatenate([[0.0], np.cumsum(index)])
    if count[-1] > _LARGEST_INDEX:
        return None
    for _ in range(2):
        step = float(np.polyfit(count, values - values[0], 1)[0])
        if step <= 0:
            return None
        count = np.rint((values - values[0]) / step)
    away = np.abs(values - values[0] - count * step)
    return step if away.max() <= _CLEAR * step else None


def _settle(distinct: npt.NDArray[Any], values: Floats, step: float) -> Scale | None:
    """Return the scale that gives most values to the last bit, None if none gives nearly all."""
    best, most = None, 0.0
    for scale in _candidates(values, step):
        restored = scale.values_of(scale.index_of(values)).astype(distinct.dtype)
        hits = float(np.mean(restored == distinct))
        if hits > most:
            best, most = scale, hits
        if hits == 1:
            break
    return best if most >= _HITS else None


def _candidates(values: Floats, step: float) -> Iterator[Scale]:
    """Yield scales near a step, the simplest first."""
    index = np.rint(values / step)
    if np.abs(values - index * step).max() <= _CLEAR * step and index.any():
        exact = float(np.dot(index, values) / np.dot(index, index))
        for digits in range(3, 10):
            yield Scale(float(f"{exact:.{digits}g}"))
            yield Scale(float(f"{1 / exact:.{digits}g}"), is_ratio=True)
        yield Scale(float(np.float32(exact)))
        yield Scale(float(np.float32(1 / exact)), is_ratio=True)
        yield Scale(exact)
    count = np.rint((values - values[0]) / step)
    slope, start = (float(x) for x in np.polyfit(count, values, 1))
    for digits in range(3, 10):
        rounded = float(f"{slope:.{digits}g}")
        rest = float(np.median(values - count * rounded))
        for places in range(5):
            yield Scale(rounded, round(rest - np.rint(rest / rounded) * rounded, places))
        yield Scale(rounded, rest)
    yield Scale(slope, start)
