"""What the loops over pixels do between rows, compiled by numba.

Around a plane, and around the background that follows its pixels from row to row, are margins that
neighbours may reach. How they are filled is part of the format.
"""

import numpy as np

from astro_vq.entropy.compiled import compiled

PAD = 4  # pixels around a plane that neighbours may reach
WINDOW = 32  # columns of the background around a pixel
HALF = WINDOW // 2


@compiled
def place_offsets(places, stride):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return how far neighbours lie from a pixel in a plane without rows."""
    offsets = np.zeros(places.shape[0], np.int64)
    for k in range(places.shape[0]):
        offsets[k] = places[k, 0] * stride + places[k, 1]
    return offsets


@compiled
def open_row(plane, background, row, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill the margin before a row, and the background beyond both its ends.

    Returns
    -------
    int
        Sum of the background around the first pixel.
    """
    y = row + PAD
    for k in range(PAD):
        plane[y, k] = plane[y - 1, PAD] if row > 0 else 0
    for k in range(HALF):
        mirrored = min(k, columns - 1)
        background[HALF - 1 - k] = background[HALF + mirrored]
        background[HALF + columns + k] = background[HALF + columns - 1 - mirrored]
    around = 0
    for k in range(WINDOW):
        around += background[k]
    return around


@compiled
def close_row(plane, row, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill the margin after a row; after the first, the rows above it too."""
    y = row + PAD
    for k in range(PAD):
        plane[y, PAD + columns + k] = plane[y, PAD + columns - 1]
    if row == 0:
        for k in range(PAD):
            plane[PAD, k] = plane[PAD, PAD]
            plane[k, :] = plane[PAD, :]
