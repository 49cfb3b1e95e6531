"""The linear prediction of `astro_vq.entropy.mixing_kernel` alone, compiled by numba.

With it planes are coded fast: what it leaves goes to pcodec. Integer arithmetic, as there.
"""

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.kernel_math import at, clip, log2
from astro_vq.entropy.mixing_kernel import LARGEST, PAD, WINDOW

_HALF = WINDOW // 2


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
    flat, offsets = plane.reshape(-1), np.zeros(n, np.int64)
    for k in range(n):
        offsets[k] = places[k, 0] * stride + places[k, 1]
    background = np.zeros(columns + WINDOW, np.int64)
    for row in range(rows):
        y = row + PAD
        for k in range(PAD):
            plane[y, k] = plane[y - 1, PAD] if row > 0 else 0
        around = 0
        for k in range(_HALF):
            mirrored = min(k, columns - 1)
            background[_HALF - 1 - k] = background[_HALF + mirrored]
            background[_HALF + columns + k] = background[_HALF + columns - 1 - mirrored]
        for k in range(WINDOW):
            around += background[k]
        for column in range(columns):
            if column > 0:
                around += background[column + WINDOW - 1] - background[column - 1]
            here = y * stride + column + PAD
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
            change = clip(flat[here] * 4096 - background[column + _HALF], limit) >> 4
            background[column + _HALF] += change
            around += change
        for k in range(PAD):
            plane[y, PAD + columns + k] = plane[y, PAD + columns - 1]
        if row == 0:
            for k in range(PAD):
                plane[PAD, k] = plane[PAD, PAD]
                plane[k, :] = plane[PAD, :]
