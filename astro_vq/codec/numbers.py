"""Arrays of numbers through `pcodec`, the general-purpose coder behind the simple pixel coders."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pcodec import ChunkConfig, standalone

from astro_vq.errors import FormatError


def pack_numbers(values: npt.NDArray[Any], effort: int = 5) -> bytes:
    """Return numbers of any dtype of ours as a standalone pcodec stream."""
    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype.itemsize == 1:
        flat = flat.astype(f"{flat.dtype.kind}2")
    level = 4 if effort <= 2 else 8
    return bytes(standalone.simple_compress(flat, ChunkConfig(compression_level=level)))


def unpack_numbers(stream: bytes, dtype: npt.DTypeLike, n: int) -> npt.NDArray[Any]:
    """Undo `pack_numbers` for `n` numbers.

    Raises
    ------
    FormatError
        If the stream is damaged or holds another count.
    """
    dtype = np.dtype(dtype)
    wide = np.dtype(f"{dtype.kind}2") if dtype.itemsize == 1 else dtype
    out = np.zeros(n, wide)
    try:
        progress = standalone.simple_decompress_into(stream, out)
    except (RuntimeError, TypeError) as err:
        raise FormatError(f"damaged pixel stream: {err}") from err
    if progress.n_processed != n or not progress.finished:
        raise FormatError(f"damaged pixel stream: {n} numbers wanted, got {progress.n_processed}")
    if wide != dtype:
        info = np.iinfo(dtype)
        if n and (out.min() < info.min or out.max() > info.max):
            raise FormatError(f"damaged pixel stream: numbers outside {dtype}")
    return out.astype(dtype, copy=False)


def pack_integers(values: npt.NDArray[np.int64], effort: int = 5) -> bytes:
    """Return integers as a stream of the narrowest of int16, int32 and int64 that holds them."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for width in (2, 4, 8):
        info = np.iinfo(f"i{width}")
        if info.min <= low and high <= info.max:
            break
    return bytes([width]) + pack_numbers(values.astype(f"i{width}"), effort)


def unpack_integers(stream: bytes, n: int) -> npt.NDArray[np.int64]:
    """Undo `pack_integers` for `n` integers.

    Raises
    ------
    FormatError
        If the stream is damaged or holds another count.
    """
    if not stream or stream[0] not in (2, 4, 8):
        raise FormatError("damaged pixel stream: integers of unknown width")
    return unpack_numbers(stream[1:], f"i{stream[0]}", n).astype(np.int64)
