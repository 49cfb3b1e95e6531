"""How codes moved during training, from snapshots of the codebook."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from astro_vq.metrics.codebook_geometry import FloatArray, nearest_distances


class Drift(NamedTuple):
    """How far the codes of one codebook were from where they ended, at each snapshot.

    Attributes
    ----------
    name : str
        Of the level.
    steps : list of int
        Of the optimiser, ascending; the last snapshot is the end, and all distances there are 0.
    median, percentile_90 : list of float
        Distance of a code to its end, over codes, in units of the median distance between
        nearest codes at the end.
    settled : list of float
        Share of the codes whose nearest code at the end is themselves.
    """

    name: str
    steps: list[int]
    median: list[float]
    percentile_90: list[float]
    settled: list[float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return self._asdict()


def measure_drift(snapshots: Sequence[tuple[int, Mapping[str, FloatArray]]]) -> list[Drift]:
    """Measure how codes moved.

    Parameters
    ----------
    snapshots : sequence of tuple (step, mapping of str to ndarray (codes, D))
        Codes of each level at some steps, ascending.

    Returns
    -------
    list of Drift
        One for each level of the last snapshot; empty when there are fewer than two snapshots.
    """
    if len(snapshots) < 2:
        return []
    result = []
    for name, end in snapshots[-1][1].items():
        unit = float(np.median(nearest_distances(end))) or 1.0
        found = [(step, codes[name]) for step, codes in snapshots if name in codes]
        found = [(step, codes) for step, codes in found if codes.shape == end.shape]
        moved = [np.linalg.norm(codes - end, axis=1) / unit for _, codes in found]
        result.append(
            Drift(
                name=name,
                steps=[step for step, _ in found],
                median=[float(np.median(values)) for values in moved],
                percentile_90=[float(np.quantile(values, 0.9)) for values in moved],
                settled=[_settled(codes, end) for _, codes in found],
            )
        )
    return result


def _settled(codes: FloatArray, end: FloatArray) -> float:
    """Return the share of codes (codes, D) whose nearest one at the end is themselves."""
    squares = (end**2).sum(1)
    same = 0
    for start in range(0, len(codes), 1024):
        part = codes[start : start + 1024]
        distance = squares[None] - 2 * part @ end.T
        own = distance[np.arange(len(part)), start + np.arange(len(part))]
        same += int((own <= distance.min(1)).sum())
    return same / len(codes)
