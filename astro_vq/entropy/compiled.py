"""Compile functions, and keep the result beside them for the next process."""

from collections.abc import Callable
from typing import Any

import numba

_ANY_ORDER = {"nnan", "ninf", "nsz", "reassoc", "contract", "arcp"}


def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return a function compiled by numba when it is first called, free of Python's lock.

    The machine code is cached; where no folder for it can be written, it is made once a process.
    Division by zero is not checked and integers wrap: functions must rule both out.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(nogil=True, error_model="numpy")(function)


def compiled_in_any_order(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return a function as `compiled` does, whose sums of floats are made in any order.

    Faster, but rounding differs from machine to machine, so it is for what only encoders do.
    All numbers must be finite.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)(
            function
        )
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy", fastmath=_ANY_ORDER)(function)


def compiled_into_callers(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return a function that becomes a part of each compiled function that calls it.

    For small ones that are called for each pixel or bit: a call counts references to its arrays.
    """
    return numba.njit(inline="always", nogil=True, error_model="numpy")(function)
