"""Distances between codes, an order in which alike codes are neighbours, and a projection."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LARGEST_WALK = 8192
"""Codes that are ordered by walking from each to its nearest, at most: the time is quadratic."""


def nearest_distances(vectors: FloatArray) -> FloatArray:
    """Return the distance of each code (codes, D) to the nearest other one, in chunks."""
    squares = (vectors**2).sum(1)
    nearest = np.empty(len(vectors))
    for start in range(0, len(vectors), 1024):
        part = vectors[start : start + 1024]
        distance = squares[start : start + 1024, None] + squares[None] - 2 * part @ vectors.T
        distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        nearest[start : start + 1024] = distance.min(1)
    return np.sqrt(np.maximum(nearest, 0.0))


def similarity_order(vectors: FloatArray, *, start: int = 0) -> NDArray[np.int64]:
    """Return all codes (codes, D) in an order in which each follows its nearest that is left.

    Parameters
    ----------
    vectors : ndarray, shape (codes, D)
        The codes.
    start : int
        Code to begin with; codebooks of more than `LARGEST_WALK` codes are ordered along their
        first principal component instead.
    """
    if len(vectors) > LARGEST_WALK:
        return np.argsort(project(vectors)[0][:, 0], kind="stable")
    left = np.ones(len(vectors), dtype=bool)
    order = np.empty(len(vectors), dtype=np.int64)
    here = start
    for place in range(len(vectors)):
        order[place] = here
        left[here] = False
        if place + 1 < len(vectors):
            remaining = np.flatnonzero(left)
            here = int(remaining[((vectors[remaining] - vectors[here]) ** 2).sum(1).argmin()])
    return order


def project(vectors: FloatArray) -> tuple[FloatArray, float]:
    """Return codes (codes, D) on their first two principal components, and the share these hold."""
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    count = min(2, len(values))
    points = np.zeros((len(vectors), 2))
    points[:, :count] = left[:, :count] * values[:count]
    total = float((values**2).sum())
    return points, float((values[:count] ** 2).sum() / total) if total > 0 else 1.0
