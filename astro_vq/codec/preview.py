"""An image as its tokens alone give it, also scaled down, in memory that stays bounded."""

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.stored_tokens import StoredTokens, TokenDecoder

_STRIP_PIXELS = 2**22


def decode_preview(
    tokens: StoredTokens, axes: tuple[int, int, int], model: TokenDecoder, shrink: int
) -> NDArray[np.float32]:
    """Return the model's mean of all planes, scaled down.

    Parameters
    ----------
    tokens : StoredTokens
        Of the image.
    axes : (int, int, int)
        Number of planes, height and width.
    model : TokenDecoder
        The model that made them.
    shrink : int
        Side of the blocks of pixels that are averaged.

    Returns
    -------
    ndarray of float32, shape (planes, ceil(H / shrink), ceil(W / shrink))
        In the unit of the image.

    Raises
    ------
    ValueError
        `shrink` is not positive.
    """
    if shrink < 1:
        raise ValueError(f"an image cannot be shrunk by {shrink}; take 1 or more")
    planes, height, width = axes
    out = np.empty((planes, -(-height // shrink), -(-width // shrink)), np.float32)
    if not out.size:
        return out
    rows = max(_STRIP_PIXELS // max(width, 1) // shrink, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for plane in range(planes):
            for first in range(0, out.shape[1], rows):
                ys = slice(first * shrink, min((first + rows) * shrink, height))
                mean = tokens.decode(plane, ys, slice(0, width), model=model)
                out[plane, first : first + rows] = average_blocks(mean, shrink)
    return out


def average_blocks(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the means of blocks of `side` x `side` values (H, W); smaller ones at the edges.

    Examples
    --------
    >>> average_blocks(np.arange(6.0).reshape(2, 3), 2).tolist()
    [[2.0, 3.5]]
    """
    if side == 1:
        return values
    starts = [np.arange(0, length, side) for length in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    counts = [
        np.diff(np.append(start, length))
        for start, length in zip(starts, values.shape, strict=True)
    ]
    return np.asarray(sums / np.outer(*counts))
