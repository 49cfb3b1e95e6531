"""What the coder of `astro_vq.entropy.mixing_kernel` predicts from, for fits to an image."""

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.kernel_math import clip
from astro_vq.entropy.linear import guess_pixels
from astro_vq.entropy.mixing import REACH, Mixing
from astro_vq.entropy.mixing_kernel import WINDOW

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MARGIN = max(REACH.values())


def trace_background(plane: Integers, limit: int) -> Floats:
    """Return the background that each pixel of a plane is predicted with, in steps."""
    start = int(np.median(plane[0]))
    levels = np.zeros(plane.shape, np.int64)
    _trace(plane - start, limit, levels)
    return np.asarray(levels / 4096 + start)


@compiled
def _trace(plane, limit, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write the mean background of the columns around each pixel, in 2**-12 of a step."""
    rows, columns = plane.shape
    half = WINDOW // 2
    background = np.zeros(columns + WINDOW, np.int64)
    for row in range(rows):
        for k in range(half):
            mirrored = min(k, columns - 1)
            background[half - 1 - k] = background[half + mirrored]
            background[half + columns + k] = background[half + columns - 1 - mirrored]
        around = background[:WINDOW].sum()
        for column in range(columns):
            if column > 0:
                around += background[column + WINDOW - 1] - background[column - 1]
            levels[row, column] = around // WINDOW
            change = clip(plane[row, column] * 4096 - background[column + half], limit) >> 4
            background[column + half] += change
            around += change


def predict_inside(plane: Integers, mixing: Mixing) -> Floats:
    """Return predictions of the pixels that are `MARGIN` or more from the edges, in steps."""
    start = int(np.median(plane[0]))
    guesses = guess_pixels(plane - start, mixing)
    return np.asarray(guesses[MARGIN:, MARGIN:-MARGIN] / 64 + start)


def measure_steepness(plane: Integers) -> Floats:
    """Return differences of earlier neighbours, shape as of `predict_inside`."""
    h, w = plane.shape
    above = plane[MARGIN - 1 : h - 1].astype(np.float64)
    west = plane[MARGIN:, MARGIN - 1 : w - MARGIN - 1].astype(np.float64)
    corner, north = above[:, MARGIN - 1 : w - MARGIN - 1], above[:, MARGIN : w - MARGIN]
    east = above[:, MARGIN + 1 : w - MARGIN + 1]
    steep = np.abs(west - north) + np.abs(north - east)
    return np.asarray(steep + np.abs(west - corner) + np.abs(north - corner))
