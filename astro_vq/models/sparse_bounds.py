"""How much of what a code draws the latents of any level see at most."""

import math

import numpy as np
from numpy.typing import NDArray

from astro_vq.models.sparse_atoms import LEVELS, PATCH, FloatArray


def reach_of(patches: FloatArray, level: int) -> FloatArray:
    """Return the norm of what patches (N, 256) add to latents of a cell of each level, at most.

    A finer cell sees no more than a part of what is drawn; a coarser one sees it averaged.
    """
    images = patches.reshape(-1, PATCH, PATCH)
    squares = np.square(images, dtype=np.float64)
    out = np.empty((len(patches), LEVELS))
    for other in range(LEVELS):
        if other == level:
            out[:, other] = np.sqrt(squares.sum((1, 2)))
        elif other < level:
            side = (PATCH >> level - other) + 2  # values that touch the finer patch
            sums = np.pad(squares, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
            steps = min(side, PATCH)
            parts = sums[:, steps:, steps:] - sums[:, :-steps, steps:]
            parts -= sums[:, steps:, :-steps] - sums[:, :-steps, :-steps]
            energy = np.sqrt(np.maximum(parts, 0).max((1, 2)))
            peak = np.abs(images).max((1, 2)) * PATCH / 2.0 ** (level - other)
            out[:, other] = np.minimum(energy, peak)
        else:
            out[:, other] = _averaged(images, other - level)
    return out.astype(np.float32)


def _averaged(images: FloatArray, steps: int) -> NDArray[np.float64]:
    """Return the largest norm of images (N, 16, 16) averaged down by some levels, wherever."""
    size = 1 << steps
    most = np.zeros(len(images))
    places = np.arange(PATCH) + 0.5
    for offset in range(0, size, max(size // 4, 1)):
        middles = size * (np.arange(-1, PATCH // size + 2) + 0.5) - offset
        tent = np.maximum(1 - np.abs(middles[:, None] - places[None]) / size, 0) / math.sqrt(size)
        along = np.einsum("ay,nyx->nax", tent, images)
        most = np.maximum(most, np.square(np.einsum("bx,nax->nab", tent, along)).sum((1, 2)))
    return np.asarray(1.05 * np.sqrt(most))


def edges_of(patches: FloatArray, level: int) -> FloatArray:
    """Return the norm of what patches (N, 256) add to latents of cells four away, at most."""
    if level == 0:
        return np.zeros(len(patches), np.float32)
    images = patches.reshape(-1, PATCH, PATCH)
    sides = images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]
    norms = [np.sqrt(np.square(side).sum(1)) for side in sides]
    # a value is drawn half a value beyond its own place, a sixth of which its neighbour sees
    return np.asarray(np.maximum.reduce(norms) / 6, np.float32)
