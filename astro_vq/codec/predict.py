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

from astro_vq.codec.bits import BitReader, BitWriter
from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.lattice import PHASES, TAPS, Phase
from astro_vq.errors import FormatError

WEIGHT_BITS = 10
FRACTION_BITS = 4  # predictions are in sixteenths of a step
_LARGEST_WEIGHT = 1 << 14
_NARROW_WEIGHTS = 1 << WEIGHT_BITS + 1  # times 2**19 is within 32 bits
_MOST_PHASES = 256
_LARGEST_BLOCK = _MOST_PHASES * (16 + TAPS * 96) // 8  # bytes
_RIDGE = 1e-5
_RELATIVE_RIDGE = 1e-11
_FEWEST = 4 * TAPS  # pixels of a fit
_MEDIAN_TO_SIGMA = 0.6745
_DISCRETE = 0.3  # added to errors: one far below a step costs no fewer bits

Weights = npt.NDArray[np.int64]

NEAREST_FOUR: Weights = np.array([1 << WEIGHT_BITS - 2] * 4 + [0] * (TAPS - 3))


def predict(
    neighbours: npt.NDArray[Any] | Sequence[npt.NDArray[Any]],
    weights: Weights,
    means: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Return predictions in units of ``2**-FRACTION_BITS``.

    Parameters
    ----------
    neighbours : ndarray of integers, shape (24, ...), or sequence of 24
        Below ``2**29`` in size; of 32 bits only if up to ``2**19``.
    weights : ndarray of int64, shape (25,)
    means : ndarray of int64, shape (...), or None
        Wide means in sixteenths; without them their weight goes to the nearest neighbour.

    Returns
    -------
    ndarray of int64, shape (...)
    """
    narrow = neighbours[0].dtype == np.int32 and int(np.abs(weights).sum()) <= _NARROW_WEIGHTS
    dtype = np.int32 if narrow else np.int64
    total = np.full(neighbours[0].shape, 1 << WEIGHT_BITS - FRACTION_BITS - 1, dtype)
    product = np.empty_like(total)
    *near, wide = weights.tolist()
    if means is None:
        near[0] += wide
    for tap, weight in zip(neighbours, near, strict=True):
        if weight:
            total += np.multiply(tap, dtype(weight), out=product)
    shift = WEIGHT_BITS - FRACTION_BITS
    if means is None or not wide:
        return (total >> shift).astype(np.int64, copy=False)
    return np.asarray((total + (means * np.int64(wide) >> 4)) >> shift)


def round_prediction(prediction: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return predictions rounded to whole steps."""
    return (prediction + (1 << FRACTION_BITS - 1)) >> FRACTION_BITS


def encode_weights(table: dict[Phase, Weights]) -> bytes:
    """Return fitted weights as bytes: for each phase a precision and Rice codes."""
    bits = BitWriter()
    for phase, weights in table.items():
        drop = _spare_bits(weights)
        numbers = [zigzag(w >> drop) for w in weights.tolist()[1:]]
        rice = min(range(12), key=lambda k: sum((v >> k) + 1 + k for v in numbers))
        bits.put(phase.level * PHASES + phase.number, 8)
        bits.put(drop, 4)
        bits.put(rice, 4)
        for v in numbers:
            bits.put_rice(v, rice)
    return encode_varint(len(table)) + sized(bits.to_bytes())


def decode_weights(reader: ByteReader) -> dict[Phase, Weights]:
    """Read what `encode_weights` wrote.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    count = reader.varint(_MOST_PHASES)
    block = reader.sized()
    if len(block) > _LARGEST_BLOCK:  # reading takes time with the square of it
        raise FormatError("damaged pixel stream: too many predictor weights")
    bits = BitReader(block)
    table: dict[Phase, Weights] = {}
    for _ in range(count):
        phase = Phase(*divmod(bits.take(8), PHASES))
        drop, rice = bits.take(4), bits.take(4)
        rest = [unzigzag(bits.take_rice(rice, 1 << 18)) << drop for _ in range(TAPS)]
        if max(map(abs, rest)) >= 2 * _LARGEST_WEIGHT:
            raise FormatError("damaged pixel stream: a predictor weight is out of range")
        table[phase] = np.array([(1 << WEIGHT_BITS) - sum(rest), *rest], np.int64)
    return table


def _spare_bits(weights: Weights) -> int:
    """Return how many low bits are zero in all weights but the first."""
    together = int(np.bitwise_or.reduce(np.abs(weights[1:])))
    return min((together & -together).bit_length() - 1, 8) if together else 8


def coarsen(weights: Weights, drop: int) -> Weights:
    """Return weights whose lowest `drop` bits are zero; they still add up to one."""
    rounded = (weights + (1 << drop >> 1)) >> drop << drop
    rounded[0] += (1 << WEIGHT_BITS) - rounded.sum()
    return rounded
