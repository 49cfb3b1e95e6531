"""Stored pixels of an image HDU and the physical values that they stand for."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.io.source import Source

_EXACT_FLOAT32 = 2.0**23  # integers of 16 bits with such an offset are float32 exactly
_UINT64_OFFSET = 2.0**63
_SIGN_BIT = np.uint64(1 << 63)


def plane_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of the planes of an image; a 1-D image is one row."""
    if not shape:
        return 0, 0
    return (shape[-2] if len(shape) > 1 else 1), shape[-1]


def check_window(
    shape: tuple[int, ...], plane: int, ys: slice, xs: slice, where: str
) -> tuple[slice, slice]:
    """Return the slices with start and stop within the plane.

    Raises
    ------
    IndexError
        There is no such plane.
    ValueError
        A slice has a step.
    """
    n_planes = math.prod(shape[:-2]) if shape else 0
    if not 0 <= plane < n_planes:
        raise IndexError(f"{where}: plane {plane} asked, the image has {n_planes}")
    if ys.step not in (None, 1) or xs.step not in (None, 1):
        raise ValueError(f"{where}: rectangles are read without steps, got {ys}, {xs}")
    height, width = plane_shape(shape)
    y0, y1, _ = ys.indices(height)
    x0, x1, _ = xs.indices(width)
    return slice(y0, max(y0, y1)), slice(x0, max(x0, x1))


def read_window(
    source: Source,
    offset: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    plane: int,
    ys: slice,
    xs: slice,
) -> NDArray[Any]:
    """Return a rectangle of a plane, native-endian; only the rows asked for are touched.

    Parameters
    ----------
    source : Source
        The file.
    offset : int
        Where the data unit begins.
    dtype : dtype
        Stored dtype; big-endian in the file.
    shape : tuple of int
        Of the image.
    plane : int
        Counted over all leading axes.
    ys, xs : slice
        With start and stop, from `check_window`.
    """
    height, width = plane_shape(shape)
    n_rows = ys.stop - ys.start
    row_bytes = width * dtype.itemsize
    start = offset + (plane * height + ys.start) * row_bytes
    view = source.map(start, n_rows * row_bytes)
    rows = np.frombuffer(view, dtype.newbyteorder(">")).reshape(n_rows, width)
    return np.array(rows[:, xs], dtype=dtype, order="C")


def to_physical(
    stored: NDArray[Any], *, bscale: float, bzero: float, blank: int | None
) -> NDArray[Any]:
    """Return physical values of stored ones.

    ``physical = bscale * stored + bzero``; BLANK becomes NaN; NaN and infinities stay.

    Returns
    -------
    ndarray of float32 or float64
        float32 where that holds every value exactly (unscaled float32, and integers of 8 or 16
        bits, also unsigned by BZERO); float64 otherwise, which rounds integers beyond 2**53.
    """
    is_scaled = (bscale, bzero) != (1.0, 0.0)
    is_integer = stored.dtype.kind in "iu"
    if is_integer:
        offset_only = bscale == 1.0 and bzero.is_integer() and abs(bzero) <= _EXACT_FLOAT32
        is_short = stored.dtype.itemsize <= 2 and offset_only
    else:
        is_short = stored.dtype.itemsize == 4 and not is_scaled
    if stored.dtype == np.int64 and (bscale, bzero) == (1.0, _UINT64_OFFSET):
        values: NDArray[np.floating] = (stored.view(np.uint64) ^ _SIGN_BIT).astype(np.float64)
    else:
        with np.errstate(invalid="ignore", over="ignore"):  # signalling NaNs; infinities
            values = stored.astype(np.float32 if is_short else np.float64)
            if is_scaled:
                np.multiply(values, bscale, out=values)
                np.add(values, bzero, out=values)
    if is_integer and blank is not None:
        values[stored == blank] = np.nan
    return values
