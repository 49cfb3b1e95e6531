"""How far latents move at most when pixels change: the root of the energy under their patches."""

from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import in_bands
from astro_vq.models.sparse_atoms import LEVELS, PATCH, STRIDE, FloatArray
from astro_vq.models.sparse_scales import RUN, find_filled

IntArray = NDArray[np.int64]


def edges_of(patches: FloatArray, level: int) -> FloatArray:
    """Return the norm of what patches (N, 256) add to latents of cells four away, at most."""
    if level == 0:
        return np.zeros(len(patches), np.float32)
    images = patches.reshape(-1, PATCH, PATCH)
    sides = images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]
    norms = [np.sqrt(np.square(side).sum(1)) for side in sides]
    # a value is drawn half a value beyond its own place, a sixth of which its neighbour sees
    return np.asarray(np.maximum.reduce(norms) / 6, np.float32)


@compiled
def add_energy(out: FloatArray, image: FloatArray) -> None:
    """Add the squares of the pixels (H, W) of each finest cell to their sums."""
    for y in range(image.shape[0]):
        row, to = image[y], out[y // 4]
        for x in range(row.shape[0]):
            to[x // 4] += row[x] * row[x]


def energy_of_patches(
    shape: tuple[int, ...],
    rows: IntArray,
    columns: IntArray,
    codes: IntArray,
    gains: FloatArray,
    patches: FloatArray,
) -> FloatArray:
    """Return the energies at most of the finest cells (h, w) that patches of level 0 change.

    Parameters
    ----------
    shape : (int, int)
        Of the cells.
    rows, columns, codes, gains, patches
        See `astro_vq.models.sparse_scales.draw`.
    """
    out = np.zeros((shape[0], shape[1]), np.float32)
    _sum_patches(out, rows, columns, codes, gains, patches)
    return np.square(out, out=out)


@compiled
def _sum_patches(
    out: FloatArray,
    rows: IntArray,
    columns: IntArray,
    codes: IntArray,
    gains: FloatArray,
    patches: FloatArray,
) -> None:
    h, w = out.shape
    sums = np.empty((5, 5), np.float32)
    for t in range(rows.shape[0]):
        sums[:] = 0
        for a in range(16):
            for b in range(16):
                value = patches[codes[t], 16 * a + b]
                sums[(a + 2) // 4, (b + 2) // 4] += value * value
        size = abs(gains[t])
        for a in range(max(2 - rows[t], 0), min(h + 2 - rows[t], 5)):
            for b in range(max(2 - columns[t], 0), min(w + 2 - columns[t], 5)):
                out[rows[t] + a - 2, columns[t] + b - 2] += size * np.sqrt(sums[a, b])


def energy_of_image(
    image: FloatArray, level: int, filled: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Return the energies at most of the finest cells that an image of a level from 1 on changes.

    Parameters
    ----------
    image : ndarray of float32, shape (H >> level, W >> level)
        Drawn by `astro_vq.models.sparse_scales.add_enlarged`.
    level : int
        Of the image.
    filled : ndarray of bool, optional
        Where it is, see `astro_vq.models.sparse_scales.find_filled`.

    Returns
    -------
    ndarray of float32, shape (H / 4, W / 4)
        No pixel is taken to be smaller than it may be between its value and the next.
    """
    filled = find_filled(image) if filled is None else filled
    h, w = ((n << level) // STRIDE for n in image.shape)
    out = np.zeros((h, w), np.float32)
    in_bands(partial(_sum_image, image, level, filled, out), image.shape, 2)
    return out


@compiled
def _is_near(filled: NDArray[np.bool_], row: int, run: int) -> bool:
    """Tell whether a run, or one of the eight around it, is filled."""
    for a in range(row, row + 3):
        if filled[a, run] or filled[a, run + 1] or filled[a, run + 2]:
            return True
    return False


@compiled_in_any_order
def _sum_image(
    image: FloatArray,
    level: int,
    filled: NDArray[np.bool_],
    out: FloatArray,
    start: int,
    stop: int,
) -> None:
    h, w = image.shape
    side = max((1 << level) // 4, 1)  # cells that a value covers
    part = np.float32(1.0 if level == 1 else 16.0 / (1 << 2 * level))
    half = np.float32(0.5)
    tall = np.zeros(w + 2, np.float32)
    runs = filled.shape[1] - 2
    for i in range(start, stop):
        # pixels of a value lie at most half of the way to the next one, in either direction
        above, here, below = image[max(i - 1, 0)], image[i], image[min(i + 1, h - 1)]
        run = 0
        while run < runs:
            if not _is_near(filled, i, run):
                run += 1
                continue
            begin = run * RUN
            while run < runs and _is_near(filled, i, run):
                run += 1
            end = min(run * RUN, w)
            tall[begin] = tall[end + 1] = 0
            for j in range(begin, end):
                own, other = abs(here[j]), max(abs(above[j]), abs(below[j]))
                tall[j + 1] = max(own, (own + other) * half)
            for j in range(begin, end):
                own, other = tall[j + 1], max(tall[j], tall[j + 2])
                most = max(own, (own + other) * half)
                energy = most * most * part
                if level == 1:
                    out[i // 2, j // 2] += energy
                    continue
                for a in range(i * side, (i + 1) * side):
                    for b in range(j * side, (j + 1) * side):
                        out[a, b] = energy


def raise_drifts(drifts: list[FloatArray], energy: FloatArray, *, but: int | None = None) -> None:
    """Add to the drift of the cells of all levels what changes of pixels move them by at most.

    Parameters
    ----------
    drifts : list of ndarray of float32, shapes (h >> n, w >> n)
        Of the levels, the finest first; changed in place.
    energy : ndarray of float32, shape (h, w)
        Sum of squares of what changed in each finest cell.
    but : int, optional
        A level to leave as it is.
    """
    energies = [energy, *(np.zeros(drift.shape, np.float32) for drift in drifts[1:])]
    in_bands(lambda first, stop: _sum_fours(energies, first, stop), energy.shape, 1 << LEVELS - 1)
    for n, (drift, part) in enumerate(zip(drifts, energies, strict=True)):
        if n != but:
            in_bands(partial(_add_roots, part, drift), drift.shape)


def _sum_fours(energies: list[FloatArray], first: int, stop: int) -> None:
    for n, (finer, out) in enumerate(pairwise(energies)):
        _sum_four(finer, out, first >> n + 1, stop >> n + 1)


@compiled_in_any_order
def _sum_four(finer: FloatArray, out: FloatArray, first: int, stop: int) -> None:
    for i in range(first, stop):
        one, two = finer[2 * i], finer[2 * i + 1]
        for j in range(out.shape[1]):
            out[i, j] = one[2 * j] + one[2 * j + 1] + two[2 * j] + two[2 * j + 1]


@compiled_in_any_order
def _add_roots(energy: FloatArray, drift: FloatArray, first: int, stop: int) -> None:
    """Add the roots of the energies of the 5 x 5 cells that a patch lies in, to some rows."""
    h, w = energy.shape
    filled = np.zeros(h, np.bool_)
    for i in range(max(first - 2, 0), min(stop + 2, h)):
        most = np.float32(0)
        for value in energy[i]:
            most = value if value > most else most
        filled[i] = most > 0
    sums = np.zeros(w + 4, np.float32)
    inside = sums[2 : w + 2]
    for i in range(first, stop):
        if not filled[max(i - 2, 0) : min(i + 3, h)].any():
            continue
        sums[:] = 0
        for a in range(max(i - 2, 0), min(i + 3, h)):
            if filled[a]:
                row = energy[a]
                for j in range(w):
                    inside[j] += row[j]
        to = drift[i]
        for j in range(w):
            to[j] += np.sqrt(sums[j] + sums[j + 1] + sums[j + 2] + sums[j + 3] + sums[j + 4])
