"""Static tables of integer frequencies for residuals of known shape, scale and offset.

A residual is an integer ``r``; its density is a shape of unit scale stretched by ``scale`` and
moved by a fraction of a step. Tables are worked out in integer arithmetic from cumulative
distributions that are shipped as data, so that they are the same on every machine.

Symbols of a table: ``-reach..reach`` stand for the residual itself; beyond, buckets that double in
size stand for a range, and the place within it is coded as plain bits. Any integer has a symbol.
"""

import functools
from importlib import resources
from math import isqrt

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

SCALE_STEPS = 8  # scales per octave
SMALLEST_LOG = -3  # log2 of the scale of index 0
SCALES = 57  # up to 2**4
BUCKETS = 30  # per side
FRACTIONS = 32  # fractions of a step that a table may be moved by
PRECISION = 24
_FLOOR = 2  # least frequency of a symbol
_ROOT_BITS = 40
_UNIT_BITS = 30  # of the cumulative distributions
GRID = 32  # grid points per unit of scale
_GRID_BITS = GRID.bit_length() - 1

Integers = npt.NDArray[np.int64]


@functools.cache
def _upper_half() -> Integers:
    folder = resources.files("astro_vq.pretrained") / "pixels"
    data = folder.joinpath("shapes-1.safetensors").read_bytes()
    return np.asarray(load(data)["upper_half"], np.int64)


def upper_half(shape: int) -> npt.NDArray[np.float64]:
    """Return ``F(x) - 1/2`` of a shape for x from 0 in steps of ``1 / GRID``, for estimates."""
    return np.asarray(_upper_half()[shape] / 2.0**_UNIT_BITS)


def count_shapes() -> int:
    """Return how many shapes there are, from the lightest tails to the heaviest."""
    return int(_upper_half().shape[0])


def reach(scale: int) -> int:
    """Return the largest residual with a symbol of its own at a scale index."""
    octave = scale // SCALE_STEPS + SMALLEST_LOG
    return 2 + (10 << octave + 1 if octave >= -1 else 5)


@functools.cache
def _inverse_scale(scale: int) -> int:
    """Return ``2**_ROOT_BITS / scale`` of a scale index, rounded down, by integer roots."""
    octave, step = divmod(scale, SCALE_STEPS)
    # the eighth root of 2**-step with 2**40 as one
    exponent = _ROOT_BITS * SCALE_STEPS - step
    root = isqrt(isqrt(isqrt(1 << exponent)))
    shift = octave + SMALLEST_LOG
    return root >> shift if shift >= 0 else root << -shift


def cumulative(shape: int, scale: int, edges: Integers) -> Integers:
    """Return the distribution function at edges, in units of ``2**-30``.

    Parameters
    ----------
    shape : int
        Index of the shape.
    scale : int
        Index of the scale, ``2**(scale / 8 - 3)`` steps.
    edges : ndarray of int64
        Places in units of ``1 / (2 * FRACTIONS)`` of a step from the middle.

    Returns
    -------
    ndarray of int64
    """
    table = _upper_half()[shape]
    fine_bits = 12
    # place on the grid with 12 more bits
    drop = _ROOT_BITS + 6 - _GRID_BITS - fine_bits
    place = (np.minimum(np.abs(edges), 1 << 24).astype(object) * _inverse_scale(scale)) >> drop
    last = table.size - 1
    place = np.minimum(place, last << fine_bits).astype(np.int64)
    low = np.minimum(place >> fine_bits, last - 1)
    part = place - (low << fine_bits)
    half = table[low] + ((table[low + 1] - table[low]) * part >> fine_bits)
    middle = 1 << _UNIT_BITS - 1
    return np.asarray(np.where(edges < 0, middle - half, middle + half))


@functools.lru_cache(maxsize=8192)
def frequencies(shape: int, scale: int, fraction: int) -> Integers:
    """Return the frequencies of all symbols of a table.

    Parameters
    ----------
    shape : int
        Index of the shape.
    scale : int
        Index of the scale, below `SCALES`.
    fraction : int
        Where the middle of the density lies above 0, in units of ``1 / FRACTIONS`` of a step.

    Returns
    -------
    ndarray of int64, shape (2 * reach + 1 + 2 * BUCKETS,)
        They add up to ``2**24`` and none is 0.
    """
    far = reach(scale)
    bucket_ends = far + (1 << np.arange(1, BUCKETS + 1)) - 1
    last = np.concatenate([-far - 1 - (bucket_ends - far)[::-1], np.arange(-far - 1, far + 1)])
    last = np.concatenate([last, bucket_ends])  # the last residual of each symbol, and one before
    edges = (2 * last + 1) * FRACTIONS - 2 * fraction
    mass = np.diff(cumulative(shape, scale, edges))
    n = mass.size
    out = _FLOOR + ((1 << PRECISION) - _FLOOR * n) * mass // (1 << _UNIT_BITS)
    out[BUCKETS + far] += (1 << PRECISION) - out.sum()
    return out


def split_residuals(residuals: Integers, far: Integers) -> tuple[Integers, Integers, Integers]:
    """Return symbols, plain bits and their number, of residuals.

    Parameters
    ----------
    residuals : ndarray of int64
        Below ``2**30`` in size.
    far : ndarray of int64
        `reach` of the table of each residual.

    Returns
    -------
    symbols, bits, widths : ndarray of int64
    """
    over = np.abs(residuals) - far
    beyond = over > 0
    widths = np.where(beyond, np.frexp(np.maximum(over, 1).astype(np.float64))[1] - 1, 0)
    widths = widths.astype(np.int64)
    bits = np.where(beyond, over - (np.int64(1) << widths), 0)
    outer = np.where(residuals < 0, BUCKETS - 1 - widths, BUCKETS + 2 * far + 1 + widths)
    return np.where(beyond, outer, BUCKETS + far + residuals), bits, widths


def bit_widths(symbols: Integers, far: Integers) -> Integers:
    """Return how many plain bits follow each symbol."""
    low = BUCKETS - 1 - symbols
    high = symbols - (BUCKETS + 2 * far + 1)
    return np.asarray(np.maximum(np.maximum(low, high), 0))


def join_residuals(symbols: Integers, far: Integers, bits: Integers) -> Integers:
    """Undo `split_residuals`."""
    inner = symbols - BUCKETS - far
    size = far + (np.int64(1) << bit_widths(symbols, far)) + bits
    outer = np.where(symbols < BUCKETS, -size, size)
    return np.asarray(np.where(np.abs(inner) <= far, inner, outer))
