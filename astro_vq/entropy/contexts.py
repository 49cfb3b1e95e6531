"""What the network sees of a pixel: its known neighbours relative to the prediction.

All in integers. Differences come in units of the local scale (their mean size over the twelve
nearest neighbours), so that the network is blind to units; logarithms of three local scales and
of the prediction tell how large things are.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.integer_network import INPUTS, LARGEST_INPUT

FRACTION_BITS = 4
"""Bits after the point of predictions."""
_TAPS, _NEAR, _MIDDLE = 24, 4, 12
_FLOOR = 60  # added to sums of twelve differences (in sixteenths): 0.3 of a unit each
_RATIO_STEPS = 32
_LARGEST_RATIO = 4095
_LOG_STEPS = 16
_MANTISSA_BITS = 11

Integers = npt.NDArray[np.int64]


class Context(NamedTuple):
    """Inputs of the network (28, n) and the local scale (n,): sum of twelve differences, 1/16."""

    inputs: npt.NDArray[np.float32]
    scale: Integers
    log_scale: Integers


class ContextTables(NamedTuple):
    """Lookup tables that are part of the format: stored, never computed.

    Attributes
    ----------
    compress : ndarray of int8, shape (8191,)
        Network input of a ratio of -4095 to 4095 thirty-seconds.
    logarithm : ndarray of int64, shape (2048,)
        ``floor(16 * log2(1 + i / 2048))``.
    """

    compress: npt.NDArray[np.int8]
    logarithm: Integers

    def log2(self, values: Integers) -> Integers:
        """Return ``floor(16 * log2(v))`` of positive integers below 2**53, eleven bits exact."""
        mantissa, exponent = np.frexp(np.maximum(values, 1).astype(np.float64))
        place = (mantissa * (2 << _MANTISSA_BITS)).astype(np.int64) - (1 << _MANTISSA_BITS)
        return _LOG_STEPS * (exponent.astype(np.int64) - 1) + self.logarithm[place]

    def context(self, neighbours: Integers, prediction: Integers) -> Context:
        """Return what the network sees.

        Parameters
        ----------
        neighbours : ndarray of int64, shape (24, n)
            Nearest first, below ``2**40`` in size.
        prediction : ndarray of int64, shape (n,)
            In sixteenths.
        """
        difference = (neighbours << FRACTION_BITS) - prediction
        size = np.abs(difference)
        near = size[:_NEAR].sum(0) * (_MIDDLE // _NEAR) + _FLOOR
        scale = size[:_MIDDLE].sum(0) + _FLOOR
        far = size[_MIDDLE:].sum(0) + _FLOOR
        difference *= _MIDDLE * _RATIO_STEPS
        difference //= scale
        np.clip(difference, -_LARGEST_RATIO, _LARGEST_RATIO, out=difference)
        inputs = np.empty((INPUTS, len(prediction)), np.float32)
        inputs[:_TAPS] = self.compress[difference + _LARGEST_RATIO]
        log_scale = self.log2(scale)
        inputs[24] = log_scale // 4 - 16
        inputs[25] = self.log2(far) - log_scale
        inputs[26] = self.log2(near) - log_scale
        inputs[27] = self.log2(np.abs(prediction) + 16) // 4 - 16
        np.clip(inputs[_TAPS:], -LARGEST_INPUT, LARGEST_INPUT, out=inputs[_TAPS:])
        return Context(inputs, scale, log_scale)
