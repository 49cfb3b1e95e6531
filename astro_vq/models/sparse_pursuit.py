"""Matching pursuit over a map of latents: which code explains most of what is left, and where.

A *cell* is a position of the map. Taking a code at a cell lowers the latents of the cells around
it by their overlap, so that what is left is known exactly and the next code is chosen on it:
fluxes converge, whatever the codes are. In a pass all cells that stand out among their
neighbours take one code each; cells that this changed are looked at again in the next pass.
Loops are compiled; they are for the encoder alone, so that rounding never matters to a decoder.

References
----------
Mallat & Zhang 1993, IEEE TSP 41, 3397; Krstulovic & Gribonval 2006, ICASSP (local updates).
"""

import math

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import FloatArray
from astro_vq.models.sparse_looks import Criterion, look_again
from astro_vq.models.sparse_products import LANES, ROWS
from astro_vq.models.sparse_refit import BAND, nearest, subtract
from astro_vq.models.sparse_search import NEVER, search

IntArray = NDArray[np.int64]

_WORTH = 1000  # cells to look at from which on threads are worth it
_SLIGHT = 0.1  # sigma: changes of latents that matter to no score


def pursue(
    z: FloatArray,
    overlaps: FloatArray,
    sizes: FloatArray,
    codes: FloatArray,
    first: FloatArray,
    criterion: Criterion,
    threshold: float,
    tolerance: float,
    looked: FloatArray,
    near: FloatArray,
    allowed: NDArray[np.bool_],
    free: IntArray,
    unscored: FloatArray,
    hopeless: FloatArray,
    values: FloatArray,
    least: float,
    steepest: float,
    most: int,
) -> tuple[IntArray, FloatArray]:
    """Take codes, the most significant first, until none is worth its bits.

    Bands of rows are taken in several threads, every other one first, then those between. What
    stands at a seam and waits for its neighbour is taken last.

    Parameters
    ----------
    z : ndarray of float32, shape (h, w, D)
        Products of what is left with the basis; updated in place.
    overlaps, sizes : ndarray of float32, shape (N, 49, D), (N, 49)
        See `astro_vq.models.sparse_books.Book`.
    codes, first : ndarray of float32
        Codes (D, N), and a few that stand for all (D, M), packed as
        `astro_vq.models.sparse_products` has it: a full search follows where one of them sees
        something.
    criterion : Criterion
        When codes are worth their bits; packed, too.
    threshold : float
        In sigma.
    tolerance : float
        Share of the gains nearby that may stay, at a threshold of 1.
    looked : ndarray of float32, shape (h, w)
        Largest gain of the first look at each cell, weighted.
    near : ndarray of float32, shape (h, w)
        Largest gain taken around each cell, 0 for none; updated.
    allowed : ndarray of bool, shape (h, w)
        Cells that may take codes.
    free : ndarray of int64, shape (h, w)
        How many more codes each cell may take; updated.
    unscored : ndarray of float32, shape (h, w)
        How far latents moved since the first look at most; updated.
    hopeless : ndarray of float32, shape (2, h, w)
        Thresholds from which on a full search of each cell found nothing worth its bits, before
        anything was taken around it and since; infinite where nobody searched; updated.
    values : ndarray of float32
        Of the gains.
    least : float
        Weighted gain of the first look, in thresholds, above which a full search follows.
    steepest : float
        How much that gain may change when latents change by one, at most.
    most : int
        Codes taken at most, in one band.

    Returns
    -------
    ndarray of int64, shape (T, 4)
        Row, column, code, and index of the gain with its sign, in the order taken.
    ndarray of float32, shape (T,)
        The threshold at which each would just have been taken.
    """
    h, w, _ = z.shape
    score = np.zeros((h, w), np.float32)
    waiting, changed = np.zeros((h, w), np.bool_), np.zeros((h, w), np.bool_)

    def work(rows: tuple[int, int]) -> tuple[IntArray, FloatArray]:
        return _pursue_rows(  # type: ignore[no-any-return]
            z,
            overlaps,
            sizes,
            codes,
            first,
            *criterion,
            threshold,
            tolerance,
            near,
            allowed,
            free,
            unscored,
            hopeless,
            values,
            least,
            steepest,
            most,
            score,
            waiting,
            changed,
            z.reshape(h * w, -1),
            near.reshape(-1),
            score.reshape(-1),
            *rows,
        )

    bands = [(k, min(k + BAND, h)) for k in range(0, h, BAND)]
    share = tolerance * threshold
    _first_scores(looked, near, allowed, hopeless, threshold, share, least, score)
    if len(bands) < 3:
        return work((0, h))
    worth = bool(np.count_nonzero(score > least) > _WORTH)
    parts = in_threads(work, bands[::2], worth=worth)
    parts += in_threads(work, bands[1::2], worth=worth)
    parts.append(work((0, h)))
    found, limits = zip(*parts, strict=True)
    return np.concatenate(found), np.concatenate(limits)


@compiled
def _first_scores(
    looked: FloatArray,
    near: FloatArray,
    allowed: NDArray[np.bool_],
    hopeless: FloatArray,
    threshold: float,
    share: float,
    least: float,
    score: FloatArray,
) -> None:
    """Write the scores of cells, no more than the least where nothing can be worth its bits."""
    for i in range(score.shape[0]):
        for j in range(score.shape[1]):
            if not allowed[i, j]:
                continue
            height = threshold * math.sqrt(1 + (share * near[i, j]) ** 2)
            score[i, j] = looked[i, j] / height
            if height >= hopeless[1 if near[i, j] > 0 else 0, i, j]:
                score[i, j] = min(score[i, j], least)


@compiled
def _stands_out(score: FloatArray, i: int, j: int) -> bool:
    """Tell whether a score is the largest of the 5 x 5 around, the first of equal ones."""
    h, w = score.shape
    own = score[i, j]
    for a in range(max(i - 2, 0), min(i + 3, h)):
        for b in range(max(j - 2, 0), min(j + 3, w)):
            if score[a, b] > own or (score[a, b] == own and (a < i or (a == i and b < j))):
                return False
    return True


@compiled
def _pursue_rows(
    z: FloatArray,
    overlaps: FloatArray,
    sizes: FloatArray,
    codes: FloatArray,
    first: FloatArray,
    weights: FloatArray,
    first_weights: FloatArray,
    cost: FloatArray,
    threshold: float,
    tolerance: float,
    near: FloatArray,
    allowed: NDArray[np.bool_],
    free: IntArray,
    unscored: FloatArray,
    hopeless: FloatArray,
    values: FloatArray,
    least: float,
    steepest: float,
    most: int,
    score: FloatArray,
    waiting: NDArray[np.bool_],
    changed: NDArray[np.bool_],
    cells_z: FloatArray,
    cells_near: FloatArray,
    cells_score: FloatArray,
    begin: int,
    end: int,
) -> tuple[IntArray, FloatArray]:
    """Take codes at some rows of cells; what changes lies at most three rows beyond them.

    Some arrays are there flat, too.
    """
    h, w, dim = z.shape
    out, limits = np.empty((256, 4), np.int64), np.empty(256, np.float32)
    taken = 0
    share = tolerance * threshold
    room = (end - begin + 6) * w
    queue, again = np.empty(room, np.int64), np.empty(room, np.int64)
    follow, tops = np.empty(room, np.int64), np.empty(room, np.int64)
    starts, factors = np.empty(ROWS, np.int64), np.empty(ROWS, np.float32)
    worths, gains = np.empty((2, ROWS, LANES), np.float32)
    chosen = np.empty((ROWS, LANES), np.int32)
    latents = z.reshape(-1)
    dearest = 0.0
    for k in range(cost.shape[0]):
        if cost[k] < NEVER:
            dearest = max(dearest, float(cost[k]))
    queued, altered = 0, 0
    for i in range(begin, end):
        for j in range(w):
            if score[i, j] > least:
                queue[queued] = i * w + j
                queued += 1
    following = queued
    follow, queue = queue, follow
    while taken < most:
        look_again(
            cells_z,
            again[:altered],
            first,
            first_weights,
            cells_near,
            threshold,
            share,
            cells_score,
        )
        for k in range(altered):
            i, j = again[k] // w, again[k] % w
            changed[i, j] = False
            if begin <= i < end and score[i, j] > least and not waiting[i, j]:
                follow[following] = again[k]
                following += 1
        for k in range(following):
            waiting[follow[k] // w, follow[k] % w] = False
        queue, follow = follow, queue
        queued, following, altered = following, 0, 0
        if queued == 0:
            break
        standing = 0
        for t in range(queued):
            i, j = queue[t] // w, queue[t] % w
            v = score[i, j]
            if v <= least:
                continue
            if _stands_out(score, i, j):
                tops[standing] = queue[t]
                standing += 1
            elif not waiting[i, j]:
                waiting[i, j] = True
                follow[following] = queue[t]
                following += 1
        if standing == 0:  # all wait for cells of other rows
            break
        key = np.empty(standing, np.float32)
        for k in range(standing):
            key[k] = -score[tops[k] // w, tops[k] % w]
        order = np.argsort(key)
        for start in range(0, standing, ROWS):
            for k in range(ROWS):
                cell = tops[order[min(start + k, standing - 1)]]
                starts[k] = cell * dim
                factors[k] = 1 / (threshold * math.sqrt(1 + (share * cells_near[cell]) ** 2))
            search(latents, starts, codes, weights, cost, factors, worths, gains, chosen)
            for k in range(min(ROWS, standing - start)):
                i, j = tops[order[start + k]] // w, tops[order[start + k]] % w
                if changed[i, j]:
                    continue  # looked at again in the next pass
                factor, code = float(factors[k]), int(chosen[k, 0])
                worth, gain = float(worths[k, 0]), float(gains[k, 0])
                index = nearest(abs(gain), values)
                if worth <= 1:
                    # at a lower threshold the worth of every code grows by its ratio squared
                    ratio = max(worth + dearest, 0.0) / (1 + dearest)
                    hopeless[1 if near[i, j] > 0 else 0, i, j] = math.sqrt(ratio) / factor
                if worth <= 1 or free[i, j] <= 0 or taken >= most or index == 0:
                    score[i, j] = min(score[i, j], least)
                    continue
                square = (gain * weights[code]) ** 2 / (1 + cost[code])
                bend = 2 * (tolerance * near[i, j]) ** 2
                if bend > 0:
                    square = (math.sqrt(1 + 2 * bend * square) - 1) / bend
                value = float(values[index])
                if gain < 0:
                    value, index = -value, -index
                if taken == out.shape[0]:
                    larger = np.empty((2 * taken, 4), np.int64)
                    longer = np.empty(2 * taken, np.float32)
                    for n in range(taken):
                        longer[n] = limits[n]
                        for m in range(4):
                            larger[n, m] = out[n, m]
                    out, limits = larger, longer
                out[taken, 0], out[taken, 1], out[taken, 2], out[taken, 3] = i, j, code, index
                limits[taken] = math.sqrt(square)
                taken += 1
                free[i, j] -= 1
                for a in range(max(i - 2, 0), min(i + 3, h)):
                    for b in range(max(j - 2, 0), min(j + 3, w)):
                        near[a, b] = max(near[a, b], abs(value))
                subtract(z, overlaps, sizes, unscored, i, j, code, value)
                for a in range(max(i - 3, 0), min(i + 4, h)):
                    for b in range(max(j - 3, 0), min(j + 4, w)):
                        if not allowed[a, b] or changed[a, b]:
                            continue
                        size = sizes[code, (a - i + 3) * 7 + b - j + 3] * abs(value)
                        if size <= _SLIGHT:
                            continue
                        hopeless[0, a, b] = hopeless[1, a, b] = np.inf
                        most_now = score[a, b] + size * steepest / threshold
                        if most_now <= least:
                            score[a, b] = most_now
                            continue
                        changed[a, b] = True
                        again[altered] = a * w + b
                        altered += 1
    for k in range(following):
        waiting[follow[k] // w, follow[k] % w] = False
    for k in range(altered):
        changed[again[k] // w, again[k] % w] = False
    return out[:taken], limits[:taken]
