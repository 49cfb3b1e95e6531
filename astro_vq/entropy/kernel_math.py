"""Integer arithmetic that compiled loops share."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from astro_vq.entropy.compiled import compiled


@intrinsic
def _leading_zeros(typingctx: Any, x: Any) -> Any:  # noqa: ANN401
    """Return how many leading zeros a positive int64 has."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return numba.int64(numba.int64), generate


@compiled
def log2(x, mantissas):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the logarithm of a positive integer in 1/32 octave."""
    octave = 63 - _leading_zeros(x)
    rest = (x >> (octave - 8)) - 256 if octave >= 8 else (x << (8 - octave)) - 256
    return octave * 32 + np.int64(mantissas[rest & 255])


@compiled
def ln(x, table):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the natural logarithm of a positive integer in 1/256."""
    shift = max(52 - _leading_zeros(x), 0)
    return np.int64(table[(x >> shift) & 4095]) + ((shift * 2839) >> 4)


@compiled
def clip(x, limit):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return a number brought between -limit and limit."""
    return min(max(x, -limit), limit)


@compiled
def at(array, place):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return an item of a one-dimensional array; negative places are not looked for at the end."""
    return array[np.uintp(place)]
