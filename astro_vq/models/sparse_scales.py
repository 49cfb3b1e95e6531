"""The scales of sparse tokens: images of a level in pixels, and pixels in products with patches.

A value of level ``l`` is drawn over 2**l pixels, linearly in between: continuous at any level.
The way down is the adjoint, so that products with patches of a level are products with what they
draw. Loops are compiled; those that decode add in the same order everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.models.sparse_atoms import OFFSET, PATCH, STRIDE, FloatArray

_MARGIN = PATCH - STRIDE
_CHUNK = 4096


@compiled
def add_enlarged(out: FloatArray, image: FloatArray, level: int) -> None:
    """Add an image (h, w) of a level to pixels (h * 2**level, w * 2**level)."""
    size = 1 << level
    half = size // 2
    h, w = image.shape
    row = np.zeros(w + 2, np.float32)
    for y in range(h * size):
        i, o = y // size, y % size
        other = i - 1 if o < half else i + 1
        part = np.float32((half - o - 0.5) / size if o < half else (o - half + 0.5) / size)
        own = np.float32((1.0 - part) / size)
        part = np.float32(part / size)
        first, last = w, -1
        for j in range(w):
            value = image[i, j] * own
            if 0 <= other < h:
                value += image[other, j] * part
            row[j + 1] = value
            if value != 0:
                first, last = min(first, j), j
        if last < 0:
            continue
        for j in range(max(first - 1, 0), min(last + 2, w)):
            before, here, after = row[j], row[j + 1], row[j + 2]
            x = j * size
            for k in range(half):
                t = np.float32((half - k - 0.5) / size)
                out[y, x + k] += here + (before - here) * t
            for k in range(half, size):
                t = np.float32((k - half + 0.5) / size)
                out[y, x + k] += here + (after - here) * t


@compiled
def _reduce(image: FloatArray, level: int, wanted: NDArray[np.bool_], out: FloatArray) -> None:
    size = 1 << level
    half = size // 2
    h, w = out.shape
    tent = np.empty(2 * size, np.float32)
    for k in range(2 * size):
        tent[k] = (1.0 - abs(k - size + 0.5) / size) / size
    for y in range(image.shape[0]):
        i, o = y // size, y % size
        other = min(max(i - 1 if o < half else i + 1, 0), h - 1)
        part = np.float32((half - o - 0.5) / size if o < half else (o - half + 0.5) / size)
        rest = np.float32(1.0 - part)
        inside = other != i
        for cell in range(w // 4):
            if not (wanted[i // 4, cell] or wanted[other // 4, cell]):
                continue
            for j in range(4 * cell, 4 * cell + 4):
                start = j * size - half
                low, high = max(-start, 0), min(image.shape[1] - start, 2 * size)
                total = np.float32(0.0)
                for k in range(low, high):
                    total += image[y, start + k] * tent[k]
                out[i, j] += total * rest
                if inside:
                    out[other, j] += total * part


@compiled
def _around(cells: NDArray[np.int64], out: NDArray[np.bool_]) -> None:
    """Mark what patches of cells cover, in cells."""
    h, w = out.shape
    for k in range(cells.shape[0]):
        y, x = cells[k] // w, cells[k] % w
        for a in range(max(y - 2, 0), min(y + 3, h)):
            for b in range(max(x - 2, 0), min(x + 3, w)):
                out[a, b] = True


def reduce(image: FloatArray, level: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
    """Return the adjoint of `add_enlarged`: pixels (H, W) as an image of a level.

    Where cells are not `wanted` (4 x 4 values each) it is left out.
    """
    if level == 0:
        return image
    out = np.zeros((image.shape[0] >> level, image.shape[1] >> level), np.float32)
    if wanted is None:
        wanted = np.ones((-(-out.shape[0] // STRIDE), -(-out.shape[1] // STRIDE)), np.bool_)
    _reduce(image, level, wanted, out)
    return out


@compiled
def _gather(padded: FloatArray, cells: NDArray[np.int64], width: int, out: FloatArray) -> None:
    for k in range(cells.shape[0]):
        y, x = cells[k] // width * 4, cells[k] % width * 4
        for a in range(16):
            for b in range(16):
                out[k, 16 * a + b] = padded[y + a, x + b]


class Patches:
    """What is around the cells of a level.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        Pixels; their sides are multiples of ``4 * 2**level``.
    level : int
        Which.
    cells : ndarray of int64
        Those that will be asked for, numbered row by row.
    """

    def __init__(self, image: FloatArray, level: int, cells: NDArray[np.int64]) -> None:
        wanted = np.zeros([n // (STRIDE << level) for n in image.shape], np.bool_)
        _around(cells, wanted)
        small = reduce(image, level, wanted)
        self._padded = np.pad(small, ((OFFSET, _MARGIN - OFFSET), (OFFSET, _MARGIN - OFFSET)))
        self._width = small.shape[1] // STRIDE
        self._buffer = np.empty((_CHUNK, PATCH**2), np.float32)

    def project(self, cells: NDArray[np.int64], basis: FloatArray) -> FloatArray:
        """Return products (N, D) of at most 4096 cells with the basis."""
        rows = self._buffer[: len(cells)]
        _gather(self._padded, cells, self._width, rows)
        return np.asarray(rows @ basis.T)


def project(image: FloatArray, basis: FloatArray, level: int) -> FloatArray:
    """Return the latents (h, w, D) of pixels (H, W) at a level.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        Sides are multiples of ``4 * 2**level``.
    basis : ndarray of float32, shape (D, 256)
        Rows are patches, orthonormal.
    level : int
        Which.
    """
    h, w = (n // (STRIDE << level) for n in image.shape)
    cells = np.arange(h * w)
    patches, out = Patches(image, level, cells), np.empty((h * w, len(basis)), np.float32)
    for first in range(0, h * w, _CHUNK):
        part = cells[first : first + _CHUNK]
        out[part] = patches.project(part, basis)
    return out.reshape(h, w, -1)


@compiled
def _place(
    image: FloatArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    codes: NDArray[np.int64],
    gains: FloatArray,
    drawn: FloatArray,
) -> None:
    h, w = image.shape
    for t in range(rows.shape[0]):
        top, left, gain = rows[t] * 4 - 6, columns[t] * 4 - 6, gains[t]
        low, high = max(-left, 0), min(w - left, 16)
        for a in range(max(-top, 0), min(h - top, 16)):
            for b in range(low, high):
                image[top + a, left + b] += drawn[codes[t], 16 * a + b] * gain


def draw(
    out: FloatArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    codes: NDArray[np.int64],
    gains: FloatArray,
    drawn: FloatArray,
    level: int,
) -> None:
    """Add patches to pixels.

    Parameters
    ----------
    out : ndarray of float32, shape (H, W)
        Pixels; changed in place. Sides are multiples of ``4 * 2**level``.
    rows, columns : ndarray of int64, shape (T,)
        Cells.
    codes : ndarray of int64, shape (T,)
        What to draw there.
    gains : ndarray of float32, shape (T,)
        How bright.
    drawn : ndarray of float32, shape (N, 256)
        Patch of each code.
    level : int
        Which.
    """
    if level == 0:
        _place(out, rows, columns, codes, gains, drawn)
        return
    image = np.zeros((out.shape[0] >> level, out.shape[1] >> level), np.float32)
    _place(image, rows, columns, codes, gains, drawn)
    add_enlarged(out, image, level)
