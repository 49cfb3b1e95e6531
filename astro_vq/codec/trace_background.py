"""What the coder of `astro_vq.entropy.mixing_kernel` predicts from, for fits to an image."""

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.linear import guess_pixels
from astro_vq.entropy.mixing import REACH, WEIGHT_BITS, Mixing, default_mixing

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MARGIN = max(REACH.values())


def trace_background(plane: Integers, limit: int) -> Floats:
    """Return the background that each pixel of a plane is predicted with, in steps."""
    taps = np.zeros((1, min(REACH) + 1), np.int64)
    taps[0, -1] = 1 << WEIGHT_BITS
    return _guess(plane, default_mixing()._replace(taps=taps, limit=limit))


def predict_inside(plane: Integers, mixing: Mixing) -> Floats:
    """Return predictions of the pixels that are `MARGIN` or more from the edges, in steps."""
    return _guess(plane, mixing)[MARGIN:, MARGIN:-MARGIN]


def _guess(plane: Integers, mixing: Mixing) -> Floats:
    start = int(np.median(plane[0]))
    return np.asarray(guess_pixels(plane - start, mixing) / 64 + start)


def measure_steepness(plane: Integers) -> Floats:
    """Return differences of earlier neighbours, shape as of `predict_inside`."""
    h, w = plane.shape
    above = plane[MARGIN - 1 : h - 1].astype(np.float64)
    west = plane[MARGIN:, MARGIN - 1 : w - MARGIN - 1].astype(np.float64)
    corner, north = above[:, MARGIN - 1 : w - MARGIN - 1], above[:, MARGIN : w - MARGIN]
    east = above[:, MARGIN + 1 : w - MARGIN + 1]
    steep = np.abs(west - north) + np.abs(north - east)
    return np.asarray(steep + np.abs(west - corner) + np.abs(north - corner))
