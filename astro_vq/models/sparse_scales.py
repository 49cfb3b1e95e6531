"""The scales of sparse tokens: images of a level in pixels, and pixels in products with patches.

A value of level ``l`` is drawn over 2**l pixels, linearly in between: continuous at any level.
The way down is the adjoint, so that products with patches of a level are products with what they
draw. Loops are compiled; those that decode add in the same order everywhere.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import in_bands, in_threads
from astro_vq.models.sparse_atoms import STRIDE, FloatArray
from astro_vq.models.sparse_products import ROWS, WIDE, multiply, pack

RUN = 16
"""Values of a row that are looked at together."""

_BAND = 32  # rows of cells that a thread takes at once
_DRAWN = 128  # rows of pixels, too
_WORTH = 1 << 20  # pixels from which on threads are worth it
_PART, _FEWEST = 3072, 384  # cells, too, at most and at least
_PARTS = 8  # of cells, between these bounds


def add_enlarged(
    out: FloatArray, image: FloatArray, level: int, filled: NDArray[np.bool_] | None = None
) -> None:
    """Add an image (h, w) of a level to pixels (h * 2**level, w * 2**level), in several threads.

    Where it is filled may be told; see `find_filled`.
    """
    filled = find_filled(image) if filled is None else filled
    step = max(_DRAWN >> level, 1)
    around = np.asarray(filled.any(1))
    starts = [k for k in range(0, len(image), step) if np.any(around[k : k + step + 2])]
    pixels = int(np.count_nonzero(filled)) * RUN << 2 * level

    def work(k: int) -> None:
        _enlarge(out, image, level, filled, k, min(k + step, len(image)))

    in_threads(work, starts, worth=pixels > _WORTH)


def find_filled(image: FloatArray) -> NDArray[np.bool_]:
    """Return which runs of 16 values of each row hold something, with an empty border."""
    out = nothing_filled(image.shape)
    in_bands(partial(_find_filled, image, out), image.shape)
    return out


def nothing_filled(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return what `find_filled` returns for an image (h, w) of zeros."""
    return np.zeros((shape[0] + 2, -(-shape[1] // RUN) + 2), np.bool_)


@compiled
def fill(
    filled: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    width: int,
) -> None:
    """Mark the runs that patches of cells reach, in an image so wide."""
    for t in range(rows.shape[0]):
        top, left = rows[t] * 4 - 6, columns[t] * 4 - 6
        for y in range(max(top, 0), min(top + 16, filled.shape[0] - 2)):
            for run in range(max(left, 0) // RUN, (min(left + 16, width) - 1) // RUN + 1):
                filled[y + 1, run + 1] = True


@compiled
def clear(image: FloatArray, filled: NDArray[np.bool_]) -> None:
    """Write zeros to the runs that are filled."""
    for y in range(image.shape[0]):
        for run in range(filled.shape[1] - 2):
            if filled[y + 1, run + 1]:
                image[y, run * RUN : (run + 1) * RUN] = 0


@compiled
def _find_filled(image: FloatArray, out: NDArray[np.bool_], first: int, stop: int) -> None:
    w = image.shape[1]
    for y in range(first, stop):
        for k in range(out.shape[1] - 2):
            some = False
            for value in image[y, k * RUN : min((k + 1) * RUN, w)]:
                some |= value != 0
            out[y + 1, k + 1] = some


@compiled
def _enlarge(
    out: FloatArray,
    image: FloatArray,
    level: int,
    filled: NDArray[np.bool_],
    start: int,
    stop: int,
) -> None:
    size = 1 << level
    half = size // 2
    h, w = image.shape
    values = np.empty(w + 2, np.float32)
    shares = np.empty(half, np.float32)  # of the value before, for the first half of a value's
    for k in range(half):
        shares[k] = np.float32((half - k - 0.5) / size)
    runs = filled.shape[1] - 2
    for y in range(start * size, stop * size):
        i, o = y // size, y % size
        other = i - 1 if o < half else i + 1
        here, there = filled[i + 1], filled[other + 1]
        part = np.float32((half - o - 0.5) / size if o < half else (o - half + 0.5) / size)
        own = np.float32((1.0 - part) / size)
        part = np.float32(part / size)
        run = 0
        while run < runs:
            begin = run
            while run < runs and (
                here[run]
                or here[run + 1]
                or here[run + 2]
                or there[run + 1]
                or there[run]
                or there[run + 2]
            ):
                run += 1
            if run == begin:
                run += 1
                continue
            left, right = begin * RUN, min(run * RUN, w)
            n = right - left
            row, source = values[: n + 2], image[i, left:right]
            row[0] = row[n + 1] = 0  # next to a run that holds nothing
            for j in range(n):
                row[j + 1] = source[j] * own
            if 0 <= other < h:
                source = image[other, left:right]
                for j in range(n):
                    row[j + 1] += source[j] * part
            _add_row(out[y, left * size : right * size], row, shares)


@compiled
def _add_row(to: FloatArray, row: FloatArray, shares: FloatArray) -> None:
    """Add the values of a row, with one more at either end, drawn linearly in between."""
    half = shares.shape[0]
    if half == 1:
        for j in range(row.shape[0] - 2):
            before, here, after = row[j], row[j + 1], row[j + 2]
            to[2 * j] += here + (before - here) * shares[0]
            to[2 * j + 1] += here + (after - here) * shares[0]
        return
    for j in range(row.shape[0] - 2):
        before, here, after = row[j], row[j + 1], row[j + 2]
        if before == 0 and here == 0 and after == 0:
            continue
        first = to[2 * j * half : (2 * j + 1) * half]
        second = to[(2 * j + 1) * half : (2 * j + 2) * half]
        for k in range(half):
            first[k] += here + (before - here) * shares[k]
        for k in range(half):
            second[k] += here + (after - here) * shares[half - 1 - k]


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
                k, stop_k = max(-top, 0), min(height - top, 2 * size)
                while k + 4 <= stop_k:
                    one, two = image[top + k, low:high], image[top + k + 1, low:high]
                    three, four = image[top + k + 2, low:high], image[top + k + 3, low:high]
                    for x in range(high - low):
                        pair = one[x] * tent[k] + two[x] * tent[k + 1]
                        part[x] += pair + (three[x] * tent[k + 2] + four[x] * tent[k + 3])
                    k += 4
                while k < stop_k:
                    one = image[top + k, low:high]
                    for x in range(high - low):
                        part[x] += one[x] * tent[k]
                    k += 1
                if level == 1:
                    to = out[i, 4 * begin : 4 * end]
                    for j in range(to.shape[0]):
                        ends = sums[2 * j] + sums[2 * j + 3]
                        inner = sums[2 * j + 1] + sums[2 * j + 2]
                        to[j] = ends * across[0] + inner * across[1]
                    continue
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
def locate(
    image: FloatArray,
    cells: NDArray[np.int64],
    first: int,
    patches: FloatArray,
    starts: NDArray[np.int64],
) -> bool:
    """Write where the patches of some cells begin in an image, from one cell on.

    Where one of them reaches over the border, all are copied to `patches`, (ROWS, 256), and begin
    there. Beyond the last cell it is that again.
    """
    height, width = image.shape
    across = width // 4
    inside = True
    for k in range(ROWS):
        cell = cells[min(first + k, cells.shape[0] - 1)]
        y, x = cell // across * 4 - 6, cell % across * 4 - 6
        inside = inside and y >= 0 and x >= 0 and y + 16 <= height and x + 16 <= width
        starts[k] = y * width + x
    if inside:
        return True
    for k in range(ROWS):
        cell = cells[min(first + k, cells.shape[0] - 1)]
        y, x = cell // across * 4 - 6, cell % across * 4 - 6
        patches[k] = 0
        for a in range(max(-y, 0), min(height - y, 16)):
            for b in range(max(-x, 0), min(width - x, 16)):
                patches[k, 16 * a + b] = image[y + a, x + b]
        starts[k] = 256 * k
    return False


@compiled
def _project(
    image: FloatArray, cells: NDArray[np.int64], matrix: FloatArray, out: FloatArray
) -> None:
    flat = image.reshape(-1)
    patches, starts = np.empty((ROWS, 256), np.float32), np.empty(ROWS, np.int64)
    products = np.empty((ROWS, matrix.shape[0] * WIDE), np.float32)
    for start in range(0, cells.shape[0], ROWS):
        if locate(image, cells, start, patches, starts):
            multiply(flat, starts, image.shape[1], 16, matrix, products)
        else:
            multiply(patches.reshape(-1), starts, 16, 16, matrix, products)
        for k in range(min(ROWS, cells.shape[0] - start)):
            to, product = out[cells[start + k]], products[k]
            for d in range(to.shape[0]):
                to[d] = product[d]


def parts_of(cells: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return cells in parts for threads, several for each."""
    part = min(max(-(-len(cells) // _PARTS), _FEWEST), _PART)
    return [cells[k : k + part] for k in range(0, len(cells), part)]


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
    reduced = np.ascontiguousarray(reduce(image, level))
    matrix = pack(basis.T)
    in_threads(lambda part: _project(reduced, part, matrix, out), parts_of(np.arange(h * w)))
    return out.reshape(h, w, -1)


@compiled
def place(
    image: FloatArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    codes: NDArray[np.int64],
    gains: FloatArray,
    drawn: FloatArray,
) -> None:
    """Add patches to an image of their level; see `draw`."""
    h, w = image.shape
    for t in range(rows.shape[0]):
        top, left, gain = rows[t] * 4 - 6, columns[t] * 4 - 6, gains[t]
        low, high = max(-left, 0), min(w - left, 16)
        for a in range(max(-top, 0), min(h - top, 16)):
            to = image[top + a, left + low : left + high]
            part = drawn[codes[t], 16 * a + low : 16 * a + high]
            for b in range(to.shape[0]):
                to[b] += part[b] * gain


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
        place(out, rows, columns, codes, gains, drawn)
        return
    image = np.zeros((out.shape[0] >> level, out.shape[1] >> level), np.float32)
    place(image, rows, columns, codes, gains, drawn)
    add_enlarged(out, image, level)
