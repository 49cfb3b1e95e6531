"""Linear prediction with integer weights, fitted by least squares and evaluated in int64.

Gaussian noise with any covariance has a linear conditional mean, so that 24 weights per level
and phase hold all that a stationary background can tell about a pixel. The fit is robust
(weighted by local scale and against outliers); the weights are rounded and stored, and the
prediction is integer arithmetic, the same on every machine.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, encode_varint, unzigzag, zigzag
from astro_vq.codec.lattice import TAPS, Phase
from astro_vq.errors import FormatError

WEIGHT_BITS = 10
FRACTION_BITS = 4  # predictions are in sixteenths of a step
_LARGEST_WEIGHT = 1 << 14
_RIDGE = 1e-5
_MEDIAN_TO_SIGMA = 0.6745

Weights = npt.NDArray[np.int64]

NEAREST_FOUR: Weights = np.array([1 << WEIGHT_BITS - 2] * 4 + [0] * (TAPS - 4))


def fit_weights(neighbours: npt.NDArray[Any], values: npt.NDArray[Any]) -> Weights:
    """Return integer weights that predict values from their neighbours.

    Parameters
    ----------
    neighbours : ndarray, shape (24, N)
        Nearest first.
    values : ndarray, shape (N,)
        What to predict.

    Returns
    -------
    ndarray of int64, shape (24,)
        In units of ``2**-WEIGHT_BITS``; their sum is exactly one.
    """
    near = neighbours.astype(np.float64).T
    mean = near[:, :4].mean(1)
    design = near - mean[:, None]
    target = values.astype(np.float64) - mean
    scale = np.abs(design[:, :12]).mean(1) + 0.5
    weight = 1 / scale
    solution = np.zeros(TAPS)
    for _ in range(3):
        rows = design * weight[:, None]
        gram = rows.T @ rows + _RIDGE * max(len(values), 1) * np.eye(TAPS)
        solution = np.linalg.solve(gram, rows.T @ (target * weight))
        error = (target - design @ solution) / scale
        typical = np.median(np.abs(error)) / _MEDIAN_TO_SIGMA + 1e-6 if error.size else 1.0
        weight = 1 / (1 + (error / (3 * typical)) ** 2) / scale
    solution[:4] += (1 - solution.sum()) / 4
    exact = solution * (1 << WEIGHT_BITS)
    if not np.isfinite(exact).all() or np.abs(exact).max() >= _LARGEST_WEIGHT:
        return NEAREST_FOUR.copy()
    rounded = np.rint(exact).astype(np.int64)
    rounded[0] += (1 << WEIGHT_BITS) - rounded.sum()
    return rounded


def predict(neighbours: npt.NDArray[Any], weights: Weights) -> npt.NDArray[np.int64]:
    """Return predictions in units of ``2**-FRACTION_BITS``.

    Parameters
    ----------
    neighbours : ndarray of integers, shape (24, ...)
        Below ``2**29`` in size.
    weights : ndarray of int64, shape (24,)

    Returns
    -------
    ndarray of int64, shape (...)
    """
    total = np.zeros(neighbours.shape[1:], np.int64)
    for tap, weight in zip(neighbours, weights.tolist(), strict=True):
        if weight:
            total += tap * np.int64(weight)
    shift = WEIGHT_BITS - FRACTION_BITS
    return (total + (1 << shift - 1)) >> shift


def round_prediction(prediction: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return predictions rounded to whole steps."""
    return (prediction + (1 << FRACTION_BITS - 1)) >> FRACTION_BITS


def encode_weights(table: dict[Phase, Weights]) -> bytes:
    """Return fitted weights as bytes."""
    out = encode_varint(len(table))
    for phase, weights in table.items():
        out += bytes([phase.level << 2 | phase.number])
        out += b"".join(encode_varint(zigzag(w)) for w in weights.tolist()[1:])
    return out


def decode_weights(reader: ByteReader) -> dict[Phase, Weights]:
    """Read what `encode_weights` wrote.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    table: dict[Phase, Weights] = {}
    for _ in range(reader.varint(64)):
        head = reader.byte()
        phase = Phase(head >> 2, head & 3)
        if phase.number == 3:
            raise FormatError("damaged pixel stream: there are three phases a level")
        rest = [unzigzag(reader.varint(1 << 20)) for _ in range(TAPS - 1)]
        table[phase] = np.array([(1 << WEIGHT_BITS) - sum(rest), *rest], np.int64)
    return table


def fit_phase(stacks: Sequence[npt.NDArray[Any]], phase: Phase, limit: int = 200_000) -> Weights:
    """Return weights of one phase fitted over tiles.

    Parameters
    ----------
    stacks : sequence of ndarray, shape (B, H, W) each
        Complete tiles of integers, of one shape per stack.
    phase : Phase
        Which pixels to predict.
    limit : int
        At most about so many pixels are used, taken at a regular stride.

    Returns
    -------
    ndarray of int64, shape (24,)
    """
    near = [phase.neighbours(s).reshape(TAPS, -1) for s in stacks]
    values = [phase.pixels(s).ravel() for s in stacks]
    stride = max(1, sum(v.size for v in values) // limit)
    return fit_weights(
        np.concatenate([n[:, ::stride] for n in near], axis=1),
        np.concatenate([v[::stride] for v in values]),
    )
