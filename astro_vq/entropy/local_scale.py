"""How far a pixel may lie from its prediction, told from its known neighbours in integers.

The logarithm of the scale is a linear function, fitted to the image, of the logarithms of three
sums of differences between prediction and neighbours. It picks one of the static tables of
`astro_vq.entropy.tables`; nothing on the way is rounded differently on another machine.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.entropy import tables

LOG_STEPS = 256  # per octave
CONSTANT_STEPS = 32  # per octave
COEFFICIENT_STEPS = 64
CLASS_SCALES = 4  # scale indices per class of scales that shares shape and correction
_NEAR, _MIDDLE = 4, 12
_NARROW = 1 << 25  # predictions below this and neighbours up to 2**19 add up within 32 bits
_FLOORS = (16, 48, 48)  # a quarter of a step for each neighbour, in sixteenths
_LOOKUP_BITS = 10
_FRACTION_CODES = 16
_SHIFTED = 9  # codes of fractions from here on belong to residuals whose low bits are cut
_SHIFT_FRACTIONS = (-8, -12, -14, -15)  # in 1/32, by shift

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ScaleModel:
    """What is fitted to one kind of pixels of one image.

    Parameters
    ----------
    constants : tuple of int
        Of the four phases of the kind, in 1/32 octave.
    slopes : tuple of int
        Of the three logarithms, in 1/64.
    first_class : int
        Class of scales (half octaves) that the first entry of `choices` is for.
    choices : tuple of (int, int)
        Shape and correction (in 1/8 octave) of each class; classes beyond use the nearest.
    """

    constants: tuple[int, int, int, int]
    slopes: tuple[int, int, int]
    first_class: int
    choices: tuple[tuple[int, int], ...]


class Selection(NamedTuple):
    """Tables chosen for pixels: all arrays of the pixels' shape.

    Parameters
    ----------
    table : ndarray of int64
        Number of the table, see `table_of`.
    middle : ndarray of int64
        The integer that residuals are counted from.
    flipped : ndarray of bool
        Residuals change their sign, so that fractions are never negative.
    shift : ndarray of int64
        Low bits of residuals that are plain.
    far : ndarray of int64
        `tables.reach` of the table.
    """

    table: Integers
    middle: Integers
    flipped: npt.NDArray[np.bool_]
    shift: Integers
    far: Integers


@functools.cache
def _log_lookup() -> Integers:
    """Return ``floor(256 log2(1 + i / 1024))``; no value is close enough to the next to matter."""
    steps = 1 << _LOOKUP_BITS
    return np.floor(LOG_STEPS * np.log2(1 + np.arange(steps) / steps) + 1e-9).astype(np.int64)


@functools.cache
def _reaches() -> Integers:
    return np.array([tables.reach(scale) for scale in range(tables.SCALES)], np.int64)


def integer_log2(values: Integers) -> Integers:
    """Return the logarithm of positive integers below ``2**53`` in 1/256 octave."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    place = (mantissa * (2 << _LOOKUP_BITS)).astype(np.int64) - (1 << _LOOKUP_BITS)
    return _log_lookup()[place] + (exponent.astype(np.int64) - 1) * LOG_STEPS


def local_logs(
    neighbours: npt.NDArray[np.integer] | Sequence[npt.NDArray[np.integer]], prediction: Integers
) -> Integers:
    """Return three logarithms of local scales, shape (3, ...), in 1/256 octave.

    Parameters
    ----------
    neighbours : ndarray of integers, shape (24, ...)
        Nearest first.
    prediction : ndarray of int64, shape (...)
        In sixteenths.
    """
    narrow = neighbours[0].dtype == np.int32 and bool(np.abs(prediction).max(initial=0) < _NARROW)
    dtype = np.int32 if narrow else np.int64
    middle = prediction.astype(dtype)
    sums = np.empty((3, *prediction.shape), dtype)
    sums[:] = np.array(_FLOORS, dtype).reshape(3, *(1,) * prediction.ndim)
    size = np.empty(prediction.shape, dtype)
    for i, neighbour in enumerate(neighbours):
        np.multiply(neighbour, dtype(16), out=size)
        size -= middle
        np.abs(size, out=size)
        sums[0 if i < _NEAR else 1 if i < _MIDDLE else 2] += size
    sums[1] += sums[0]
    sums[1] -= dtype(_FLOORS[0])
    return integer_log2(sums)


def predict_scale(logs: Integers, model: ScaleModel, part: int) -> Integers:
    """Return scale indices (unbounded) before the correction of their class."""
    total = sum(slope * log for slope, log in zip(model.slopes, logs, strict=True))
    fine = model.constants[part] * (LOG_STEPS // CONSTANT_STEPS) + (
        total >> COEFFICIENT_STEPS.bit_length() - 1
    )
    return np.asarray((fine - tables.SMALLEST_LOG * LOG_STEPS) * tables.SCALE_STEPS // LOG_STEPS)


def select_tables(logs: Integers, prediction: Integers, model: ScaleModel, part: int) -> Selection:
    """Return the table of each pixel.

    Parameters
    ----------
    logs : ndarray of int64, shape (3, ...)
        See `local_logs`.
    prediction : ndarray of int64, shape (...)
        In sixteenths.
    model : ScaleModel
        What was fitted.
    part : int
        Which of the four phases of the kind.
    """
    raw = predict_scale(logs, model, part)
    choices = np.array(model.choices, np.int64)
    entry = choices[np.clip(raw // CLASS_SCALES - model.first_class, 0, len(choices) - 1)]
    return place_tables(entry[..., 0], raw + entry[..., 1], prediction)


def place_tables(shape: Integers, scale: Integers, prediction: Integers) -> Selection:
    """Return the tables of given shapes and (unbounded) scale indices."""
    top = tables.SCALES - 1
    shift = np.clip(-((top - scale) // tables.SCALE_STEPS), 0, 31)
    scale = np.clip(scale - shift * tables.SCALE_STEPS, 0, top)
    middle = (prediction + 8) >> 4
    fraction = prediction - (middle << 4)
    coarse = np.clip((scale >> 3) - 2, 0, 4)  # the wider the density, the coarser the fraction
    half = np.left_shift(1, coarse) >> 1
    size = np.abs(fraction) + half >> coarse << coarse
    size = np.where(coarse == 4, 0, size)
    cut = shift > 0
    code = np.where(cut, _SHIFTED - 1 + np.minimum(shift, len(_SHIFT_FRACTIONS)), size)
    table = (shape * tables.SCALES + scale) * _FRACTION_CODES + code
    return Selection(table, middle, (fraction < 0) & ~cut, shift, _reaches()[scale])


def table_of(number: int) -> tuple[int, int, int]:
    """Return shape, scale and fraction (in 1/32) of a table's number."""
    rest, code = divmod(number, _FRACTION_CODES)
    shape, scale = divmod(rest, tables.SCALES)
    return shape, scale, 2 * code if code < _SHIFTED else _SHIFT_FRACTIONS[code - _SHIFTED]
