"""Residuals of the linear prediction that was fitted to an image, and back."""

import numpy as np

from astro_vq.entropy.linear_kernel import predict_plane
from astro_vq.entropy.mixing import (
    TABLES,
    Integers,
    Mask,
    Mixing,
    arguments,
    pad_plane,
    read_data,
    unpad_plane,
)

_NONE = np.zeros((0, 0), np.int64)


def predict(integers: Integers, mask: Mask, mixing: Mixing) -> Integers:
    """Return what is left of integers (H, W), nearer to zero than ``2**27``; 0 where masked."""
    residuals = np.zeros(mask.shape, np.int64)
    _run(False, pad_plane(integers), mask, residuals, _NONE, mixing)
    return residuals


def restore(residuals: Integers, mask: Mask, mixing: Mixing) -> Integers:
    """Return the integers that `predict` was given; something where masked."""
    work = pad_plane(np.zeros(mask.shape, np.int64))
    _run(True, work, mask, residuals, _NONE, mixing)
    return unpad_plane(work)


def guess_pixels(integers: Integers, mixing: Mixing) -> Integers:
    """Return the prediction of each pixel from those before it, in 1/64."""
    fixed = np.zeros(integers.shape, np.int64)
    mask = np.zeros(integers.shape, np.bool_)
    _run(False, pad_plane(integers), mask, np.zeros(mask.shape, np.int64), fixed, mixing)
    return fixed


def _run(
    decode: bool, work: Integers, mask: Mask, residuals: Integers, fixed: Integers, mixing: Mixing
) -> None:
    taps, steep_from, places, _, limit = arguments(mixing)
    mantissas = read_data().tables[TABLES.index("mantissas")]
    predict_plane(
        decode, work, np.ascontiguousarray(mask), residuals, fixed, taps, steep_from, places,
        limit, mantissas,
    )  # fmt: skip
