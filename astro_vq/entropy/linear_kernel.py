"""The linear prediction of `astro_vq.entropy.mixing_kernel` alone, compiled by numba.

With it planes are coded fast: what it leaves goes to pcodec. Integer arithmetic, as there.
"""

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.kernel_math import at, clip, log2
from astro_vq.entropy.mixing_kernel import LARGEST
from astro_vq.entropy.row_kernel import HALF, PAD, WINDOW, close_row, open_row, place_offsets


@compiled
def predict_plane(  # type: ignore[no-untyped-def]  # noqa: ANN201
    decode: bool,
    plane: npt.NDArray[np.int64],
    mask: npt.NDArray[np.bool_],
    residuals: npt.NDArray[np.int64],
    fixed: npt.NDArray[np.int64],
    taps: npt.NDArray[np.int64],
    steep_from: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    limit: int,
    mantissas: npt.NDArray[np.int32],
):
    """Replace a plane by what prediction leaves of it, or the other way round.

    Parameters
    ----------
    decode : bool
        Whether `residuals` are read and the plane is written.
    plane : ndarray of int64, shape (PAD + H, PAD + W + PAD)
        Integers less the middle of the plane, margins zero.
    mask : ndarray of bool, shape (H, W)
        Pixels that mean nothing; they get their prediction.
    residuals : ndarray of int64, shape (H, W)
        Pixels less their prediction.
    fixed : ndarray of int64, shape (H, W) or (0, 0)
        Written: predictions in 1/64.
    taps, steep_from, places, limit
        See `astro_vq.entropy.mixing_kernel.code_plane`.
    mantissas : ndarray of int32
        Of logarithms.
    """
    rows, columns, stride, n = mask.shape[0], mask.shape[1], plane.shape[1], places.shape[0]
    flat, offsets = plane.reshape(-1), place_offsets(places, stride)
    background = np.zeros(columns + WINDOW, np.int64)
    for row in range(rows):
        around = open_row(plane, background, row, columns)
        for column in range(columns):
            if column > 0:
                around += background[column + WINDOW - 1] - background[column - 1]
            here = (row + PAD) * stride + column + PAD
            west, north = at(flat, here - 1), at(flat, here - stride)
            best = west * 64
            if row > 0:
                which = 0
                if steep_from.shape[0] > 0:
                    northeast, northwest = at(flat, here - stride + 1), at(flat, here - stride - 1)
                    steep = abs(west - north) + abs(north - northeast)
                    steep += abs(west - northwest) + abs(north - northwest)
                    for k in range(steep_from.shape[0]):
                        which += 1 if log2(steep * 16 + 8, mantissas) > steep_from[k] else 0
                best = 128
                for k in range(n):
                    best += taps[which, k] * at(flat, here + offsets[k])
                best += (taps[which, n] * (around >> 11)) >> 6
                best = clip(best >> 8, LARGEST << 6)
            guess = (best + 32) >> 6
            if fixed.shape[0] > 0:
                fixed[row, column] = best
            if mask[row, column]:
                flat[here] = clip(guess, LARGEST)
                continue
            if decode:
                flat[here] = clip(guess + clip(residuals[row, column], 4 * LARGEST), LARGEST)
            else:
                residuals[row, column] = flat[here] - guess
            change = clip(flat[here] * 4096 - background[column + HALF], limit) >> 4
            background[column + HALF] += change
            around += change
        close_row(plane, row, columns)
