"""The scales of sparse tokens: images of a level in pixels, and pixels in products with patches.

A value of level ``l`` is drawn over 2**l pixels, linearly in between: continuous at any level.
The way down is the adjoint, so that products with patches of a level are products with what they
draw. Loops are compiled; those that decode add in the same order everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import STRIDE, FloatArray

_BAND = 32  # rows of cells that a thread takes at once
_DRAWN = 128  # rows of pixels, too
_WORTH = 1 << 20  # pixels from which on threads are worth it
_PART = 3072  # cells, too
_ALONE = 1 << 18  # multiplications up to which BLAS takes no threads of its own


def add_enlarged(out: FloatArray, image: FloatArray, level: int) -> None:
    """Add an image (h, w) of a level to pixels (h * 2**level, w * 2**level), in several threads."""
    begin, end = _extents(image)
    step = max(_DRAWN >> level, 1)
    filled = end > begin
    starts = [k for k in range(0, len(image), step) if filled[k : k + step + 2].any()]
    pixels = int(np.maximum(end - begin, 0).sum()) << 2 * level

    def work(k: int) -> None:
        _enlarge(out, image, level, begin, end, k, min(k + step, len(image)))

    in_threads(work, starts, worth=pixels > _WORTH)


@compiled
def _extents(image: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each row begins and ends to hold something, an empty row before and after."""
    h, w = image.shape
    begin, end = np.full(h + 2, w, np.int64), np.zeros(h + 2, np.int64)
    for y in range(h):
        for j in range(w):
            if image[y, j] != 0:
                begin[y + 1] = min(begin[y + 1], j)
                end[y + 1] = j + 1
    return begin, end


@compiled
def _enlarge(
    out: FloatArray,
    image: FloatArray,
    level: int,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    start: int,
    stop: int,
) -> None:
    size = 1 << level
    half = size // 2
    h, w = image.shape
    row = np.zeros(w + 2, np.float32)
    for y in range(start * size, stop * size):
        i, o = y // size, y % size
        other = i - 1 if o < half else i + 1
        first, last = min(begin[i + 1], begin[other + 1]), max(end[i + 1], end[other + 1])
        if last <= first:
            continue
        part = np.float32((half - o - 0.5) / size if o < half else (o - half + 0.5) / size)
        own = np.float32((1.0 - part) / size)
        part = np.float32(part / size)
        row[first] = row[last + 1] = 0
        for j in range(first, last):
            row[j + 1] = image[i, j] * own
        if 0 <= other < h:
            for j in range(first, last):
                row[j + 1] += image[other, j] * part
        for j in range(max(first - 1, 0), min(last + 1, w)):
            before = row[j] if j > first else np.float32(0)
            here = row[j + 1] if first <= j < last else np.float32(0)
            after = row[j + 2] if j + 1 < last else np.float32(0)
            if before == 0 and here == 0 and after == 0:
                continue
            x = j * size
            for k in range(half):
                t = np.float32((half - k - 0.5) / size)
                out[y, x + k] += here + (before - here) * t
            for k in range(half, size):
                t = np.float32((k - half + 0.5) / size)
                out[y, x + k] += here + (after - here) * t


@compiled_in_any_order
def _reduce(
    image: FloatArray,
    level: int,
    wanted: NDArray[np.bool_],
    out: FloatArray,
    first: int,
    stop: int,
) -> None:
    """Write rows of cells of an image of a level, each a run of wanted cells at a time."""
    size = 1 << level
    half = size // 2
    height, width = image.shape
    tent = np.empty(2 * size, np.float32)
    for k in range(2 * size):
        tent[k] = 1.0 - abs(k - size + 0.5) / size
    across = tent / np.float32(size)
    sums = np.empty(width + 2 * size, np.float32)
    for row in range(first, stop):
        begin = 0
        while begin < wanted.shape[1]:
            if not wanted[row, begin]:
                begin += 1
                continue
            end = begin
            while end < wanted.shape[1] and wanted[row, end]:
                end += 1
            origin = 4 * begin * size - half
            low, high = max(origin, 0), min(4 * end * size + half, width)
            for i in range(4 * row, 4 * row + 4):
                top = i * size - half
                sums[: 4 * (end - begin) * size + size] = 0
                part = sums[low - origin : high - origin]
                for k in range(max(-top, 0), min(height - top, 2 * size)):
                    pixels = image[top + k, low:high]
                    weight = tent[k]
                    for x in range(high - low):
                        part[x] += pixels[x] * weight
                for j in range(4 * (end - begin)):
                    total = np.float32(0.0)
                    for k in range(2 * size):
                        total += sums[j * size + k] * across[k]
                    out[i, 4 * begin + j] = total
            begin = end


def reduce_into(out: FloatArray, image: FloatArray, level: int, wanted: NDArray[np.bool_]) -> None:
    """Write the adjoint of `add_enlarged` where cells are wanted, in several threads.

    Parameters
    ----------
    out : ndarray of float32, shape (h, w)
        Image of a level; nothing changes where it is not wanted.
    image : ndarray of float32, shape (H, W)
        Pixels.
    level : int
        At least 1.
    wanted : ndarray of bool, shape (h / 4, w / 4)
        Cells of 4 x 4 values.
    """
    starts = [k for k in range(0, len(wanted), _BAND) if wanted[k : k + _BAND].any()]

    def work(k: int) -> None:
        _reduce(image, level, wanted, out, k, min(k + _BAND, len(wanted)))

    pixels = int(np.count_nonzero(wanted)) * STRIDE**2 << 2 * level
    in_threads(work, starts, worth=pixels > _WORTH)


def reduce(image: FloatArray, level: int) -> FloatArray:
    """Return the adjoint of `add_enlarged`: pixels (H, W) as an image of a level."""
    if level == 0:
        return image
    out = np.zeros((image.shape[0] >> level, image.shape[1] >> level), np.float32)
    cells = (out.shape[0] // STRIDE, out.shape[1] // STRIDE)
    reduce_into(out, image, level, np.ones(cells, np.bool_))
    return out


@compiled
def _project(
    image: FloatArray,
    cells: NDArray[np.int64],
    columns: FloatArray,
    out: FloatArray,
    together: int,
) -> None:
    height, width = image.shape
    patches = np.empty((together, 256), np.float32)
    products = np.empty((together, columns.shape[1]), np.float32)
    for start in range(0, cells.shape[0], together):
        count = min(together, cells.shape[0] - start)
        for k in range(count):
            cell = cells[start + k]
            y, x = cell // (width // 4) * 4 - 6, cell % (width // 4) * 4 - 6
            if y >= 0 and x >= 0 and y + 16 <= height and x + 16 <= width:
                for a in range(16):
                    for b in range(16):
                        patches[k, 16 * a + b] = image[y + a, x + b]
                continue
            for a in range(16):
                for b in range(16):
                    inside = 0 <= y + a < height and 0 <= x + b < width
                    patches[k, 16 * a + b] = image[y + a, x + b] if inside else 0.0
        np.dot(patches[:count], columns, products[:count])
        for k in range(count):
            cell = cells[start + k]
            for d in range(columns.shape[1]):  # a slice would count references
                out[cell, d] = products[k, d]


def project_cells(
    image: FloatArray, cells: NDArray[np.int64], columns: FloatArray, out: FloatArray
) -> None:
    """Write the products of patches with a basis, in several threads.

    Parameters
    ----------
    image : ndarray of float32, shape (h, w)
        Image of a level; zero beyond.
    cells : ndarray of int64
        Those wanted, numbered row by row.
    columns : ndarray of float32, shape (256, D)
        The basis.
    out : ndarray of float32, shape (h / 4 * w / 4, D)
        Products; nothing changes where they are not wanted.
    """
    together = at_once(*columns.shape)
    in_threads(lambda part: _project(image, part, columns, out, together), parts_of(cells))


def at_once(*sides: int) -> int:
    """Return how many rows to multiply with a matrix at once, for BLAS to stay in its thread."""
    return max(_ALONE // int(np.prod(sides)), 1)


def parts_of(cells: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return cells in parts for threads."""
    return [cells[k : k + _PART] for k in range(0, len(cells), _PART)]


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
    out = np.empty((h * w, len(basis)), np.float32)
    project_cells(reduce(image, level), np.arange(h * w), np.ascontiguousarray(basis.T), out)
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
