"""Linear prediction with integer weights, fitted by least squares and evaluated in int64.

Gaussian noise with any covariance has a linear conditional mean, so that 24 weights per level
and phase hold all that a stationary background can tell about a pixel. The fit is robust
(weighted by local scale and against outliers); the weights are rounded and stored, and the
prediction is integer arithmetic, the same on every machine.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bits import BitReader, BitWriter
from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.lattice import PHASES, TAPS, Phase, wide_means
from astro_vq.errors import FormatError

WEIGHT_BITS = 10
FRACTION_BITS = 4  # predictions are in sixteenths of a step
_LARGEST_WEIGHT = 1 << 14
_NARROW_WEIGHTS = 1 << WEIGHT_BITS + 1  # times 2**19 is within 32 bits
_RIDGE = 1e-5
_RELATIVE_RIDGE = 1e-11
_FEWEST = 4 * TAPS  # pixels of a fit
_MEDIAN_TO_SIGMA = 0.6745
_DISCRETE = 0.3  # added to errors: one far below a step costs no fewer bits

Weights = npt.NDArray[np.int64]

NEAREST_FOUR: Weights = np.array([1 << WEIGHT_BITS - 2] * 4 + [0] * (TAPS - 3))


def fit_weights(
    neighbours: npt.NDArray[Any],
    means: npt.NDArray[Any],
    values: npt.NDArray[Any],
    *,
    stationary: bool = False,
) -> Weights:
    """Return integer weights that predict values from their neighbours.

    Parameters
    ----------
    neighbours : ndarray, shape (24, N)
        Nearest first.
    means : ndarray, shape (N,)
        Wide means in sixteenths, see `astro_vq.codec.lattice.wide_means`.
    values : ndarray, shape (N,)
        What to predict.
    stationary : bool
        Take errors to be equally large everywhere; otherwise in proportion to the local scale.

    Returns
    -------
    ndarray of int64, shape (25,)
        Of the neighbours and of the mean, in units of ``2**-WEIGHT_BITS``; their sum is one.
    """
    near = np.concatenate([neighbours, means[None] / 16], axis=0).T
    mean = near[:, :4].mean(1)
    design = near - mean[:, None]
    target = values.astype(np.float64) - mean
    local = np.abs(design[:, :12]).mean(1) + 0.5
    scale = np.full_like(local, np.median(local)) if stationary and local.size else local
    weight = 1 / scale
    solution = np.zeros(TAPS + 1)
    for _ in range(3):
        rows = design * weight[:, None]
        gram = rows.T @ rows
        ridge = _RIDGE * max(len(values), 1) + _RELATIVE_RIDGE * np.trace(gram)
        gram += ridge * np.eye(TAPS + 1)
        if not np.isfinite(gram).all():
            return NEAREST_FOUR.copy()
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
    count = reader.varint(256)
    bits = BitReader(reader.sized())
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


class PhaseSample(NamedTuple):
    """Pixels of one phase with neighbours (24, n) and wide means (n,)."""

    neighbours: npt.NDArray[np.int64]
    means: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]

    def predict(self, weights: Weights) -> npt.NDArray[np.int64]:
        """Return the predictions that weights give, in sixteenths."""
        return predict(self.neighbours, weights, self.means)

    def cost_bits(self, weights: Weights, unit: int = 1) -> float:
        """Return about how many bits the pixels need when predicted so, up to a constant."""
        error = self.values - self.predict(weights) / (1 << FRACTION_BITS)
        return float(np.log2(np.abs(error) + _DISCRETE * unit).sum())


def sample_phase(
    stacks: Sequence[npt.NDArray[Any]],
    phase: Phase,
    limit: int = 24_000,
    targets: Sequence[npt.NDArray[Any]] | None = None,
) -> PhaseSample:
    """Return pixels of a phase from tiles (B, H, W), about `limit` at most.

    The pixels come from `targets` if given, their neighbours from `stacks`.
    """
    near = [phase.neighbours(s).reshape(TAPS, -1) for s in stacks]
    means = []
    for s in stacks:
        h, w = phase.pixels(s).shape[1:]
        means.append(wide_means(s, phase.level)[:, :h, :w].ravel())
    values = [phase.pixels(s).ravel() for s in targets or stacks]
    stride = max(1, sum(v.size for v in values) // limit)
    return PhaseSample(
        np.concatenate([n[:, ::stride] for n in near], axis=1),
        np.concatenate([m[::stride] for m in means]),
        np.concatenate([v[::stride] for v in values]),
    )


def choose_weights(
    sample: PhaseSample, inherited: Weights, pixels: int, unit: int = 1
) -> Weights | None:
    """Return fitted weights if they save more bits than they cost, else None.

    Parameters
    ----------
    sample : PhaseSample
        What to predict.
    inherited : ndarray of int64, shape (25,)
        The weights that would be used without any of its own.
    pixels : int
        How many pixels the sample stands for.
    unit : int
        Errors far below this cost no fewer bits.
    """
    share = pixels / max(len(sample.values), 1)
    if len(sample.values) < _FEWEST:
        return None
    best, least = None, sample.cost_bits(inherited, unit) * share
    for stationary in (False, True):
        fitted = fit_weights(sample.neighbours, sample.means, sample.values, stationary=stationary)
        for drop in (4, 3, 2, 0):
            weights = coarsen(fitted, drop)
            own = 8.0 * len(encode_weights({Phase(0, 0): weights}))
            bits = sample.cost_bits(weights, unit) * share + own
            if bits < least:
                best, least = weights, bits
    return best
