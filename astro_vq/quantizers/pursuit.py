"""Matching pursuit over a map of latents: which code explains most of what is left, and where.

A *cell* is a position of the map. Taking a code at a cell lowers the latents of the cells around
it by their overlap, so that what is left is known exactly and the next code is chosen on it:
fluxes converge, whatever the codes are. Loops are compiled (numba); they are for the encoder
alone, so that rounding never matters to a decoder.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

REACH = 3
"""Cells around one that its codes overlap with."""

LINEAR_STEP, LOG_RATIO, LINEAR_GAINS = 1.2, 1.25, 5
GAINS = 64
"""Gains are 1.2, 2.4 ... 6, then each 1.25 times the one before; there are 63, of either sign."""


class Criterion(NamedTuple):
    """When a code is worth its bits; the square of ``abs(gain) * weight`` less cost exceeds 1.

    Attributes
    ----------
    far, near : ndarray of float32, shape (N,)
        Weights of the codes away from and close to codes that are taken already.
    first_far, first_near : ndarray of float32, shape (M,)
        Those of the few codes that cells are looked through with first.
    cost : ndarray of float32, shape (2, N)
        Of each code, far and near.
    tolerance : float
        Share of the gains nearby that may stay.
    """

    far: FloatArray
    near: FloatArray
    first_far: FloatArray
    first_near: FloatArray
    cost: FloatArray
    tolerance: float


def gain_values() -> FloatArray:
    """Return the value of each gain, index 0 (no gain) to 63."""
    index = np.arange(GAINS, dtype=np.float64)
    logarithmic = LINEAR_STEP * LINEAR_GAINS * LOG_RATIO ** (index - LINEAR_GAINS)
    return np.where(index < LINEAR_GAINS, index * LINEAR_STEP, logarithmic).astype(np.float32)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gain_index(size: float) -> int:
    if size < LINEAR_STEP * (LINEAR_GAINS - 0.5):
        return max(int(size / LINEAR_STEP + 0.5), 1)
    steps = math.log(size / (LINEAR_STEP * LINEAR_GAINS)) / math.log(LOG_RATIO)
    return min(max(LINEAR_GAINS + math.floor(steps + 0.5), LINEAR_GAINS), GAINS - 1)


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _first_look(z: FloatArray, codes: FloatArray, weights: FloatArray, damp: float) -> float:
    """Return the largest weighted gain among the codes of the first look."""
    best = 0.0
    for k in range(codes.shape[0]):
        a = np.float32(0.0)
        for d in range(codes.shape[1]):
            a += z[d] * codes[k, d]
        best = max(best, float(abs(a) * weights[k]))
    return best * damp


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _search(
    z: FloatArray, codes: FloatArray, weights: FloatArray, cost: FloatArray, damp: float
) -> tuple[int, float, float]:
    """Return the best code, its gain, and what is to exceed 1."""
    best, code, gain = -1e30, -1, 0.0
    for k in range(codes.shape[0]):
        a = np.float32(0.0)
        for d in range(codes.shape[1]):
            a += z[d] * codes[k, d]
        v = (a * weights[k] * damp) ** 2 - cost[k]
        if v > best:
            best, code, gain = v, k, float(a)
    return code, gain, best


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pursue(
    z: FloatArray,
    gram: FloatArray,
    codes: FloatArray,
    first: FloatArray,
    far: FloatArray,
    near_w: FloatArray,
    first_far: FloatArray,
    first_near: FloatArray,
    cost: FloatArray,
    tolerance: float,
    near: FloatArray,
    allowed: NDArray[np.bool_],
    count: NDArray[np.int64],
    free: NDArray[np.int64],
    values: FloatArray,
    look: float,
    most: int,
) -> tuple[NDArray[np.int64], int]:
    h, w, dim = z.shape
    out = np.empty((256, 4), np.int64)
    taken = 0
    score = np.zeros((h, w), np.float32)
    queue = np.empty(h * w, np.int64)
    queued = 0
    for i in range(h):
        for j in range(w):
            if allowed[i, j]:
                damp = 1 / math.sqrt(1 + (tolerance * near[i, j]) ** 2)
                weights = first_near if near[i, j] > 0 else first_far
                score[i, j] = _first_look(z[i, j], first, weights, damp)
                if score[i, j] > look:
                    queue[queued] = i * w + j
                    queued += 1
    waiting = np.zeros((h, w), np.bool_)
    follow = np.empty(h * w, np.int64)
    while queued > 0 and taken < most:
        key = np.empty(queued, np.float32)
        for k in range(queued):
            key[k] = -score[queue[k] // w, queue[k] % w]
        order = np.argsort(key)
        following = 0
        waiting[:] = False
        progress = False
        for t in range(queued):
            i, j = queue[order[t]] // w, queue[order[t]] % w
            v = score[i, j]
            if v <= look:
                continue
            top = True
            for a in range(max(i - 2, 0), min(i + 3, h)):
                for b in range(max(j - 2, 0), min(j + 3, w)):
                    if score[a, b] > v:
                        top = False
            if not top:
                if not waiting[i, j]:
                    waiting[i, j] = True
                    follow[following] = i * w + j
                    following += 1
                continue
            progress = True
            close = 1 if near[i, j] > 0 else 0
            damp = 1 / math.sqrt(1 + (tolerance * near[i, j]) ** 2)
            code, gain, worth = _search(z[i, j], codes, near_w if close else far, cost[close], damp)
            if worth <= 1 or free[i, j] <= 0 or taken >= most:
                score[i, j] = 0
                continue
            index = _gain_index(abs(gain))
            value = values[index]
            if gain < 0:
                value, index = -value, -index
            if taken == out.shape[0]:
                larger = np.empty((2 * taken, 4), np.int64)
                larger[:taken] = out
                out = larger
            out[taken, 0], out[taken, 1], out[taken, 2], out[taken, 3] = i, j, code, index
            taken += 1
            count[i, j] += 1
            free[i, j] -= 1
            for a in range(max(i - 2, 0), min(i + 3, h)):
                for b in range(max(j - 2, 0), min(j + 3, w)):
                    near[a, b] = max(near[a, b], abs(value))
            for a in range(max(i - REACH, 0), min(i + REACH + 1, h)):
                for b in range(max(j - REACH, 0), min(j + REACH + 1, w)):
                    overlap = gram[a - i + REACH, b - j + REACH]
                    for e in range(dim):
                        u = np.float32(0.0)
                        for m in range(dim):
                            u += overlap[e, m] * codes[code, m]
                        z[a, b, e] -= u * value
                    if allowed[a, b]:
                        damp = 1 / math.sqrt(1 + (tolerance * near[a, b]) ** 2)
                        weights = first_near if near[a, b] > 0 else first_far
                        score[a, b] = _first_look(z[a, b], first, weights, damp)
                        if score[a, b] > look and not waiting[a, b]:
                            waiting[a, b] = True
                            follow[following] = a * w + b
                            following += 1
        if not progress:
            break
        queue, follow = follow, queue
        queued = following
    return out, taken


def pursue(
    latents: FloatArray,
    gram: FloatArray,
    codes: FloatArray,
    first: FloatArray,
    criterion: Criterion,
    *,
    near: FloatArray,
    allowed: NDArray[np.bool_],
    count: NDArray[np.int64],
    free: NDArray[np.int64],
    look: float = 0.75,
    most: int = 2**20,
) -> NDArray[np.int64]:
    """Take codes, the most significant first, until none is worth its bits.

    Parameters
    ----------
    latents : ndarray of float32, shape (h, w, D)
        Products of what is left with the basis; updated in place.
    gram : ndarray of float32, shape (7, 7, D, D)
        What a basis vector at the middle adds to the latents around it.
    codes : ndarray of float32, shape (N, D)
        Of unit norm as images.
    first : ndarray of float32, shape (M, D)
        A few codes that stand for all: a full search follows where one of them sees something.
    criterion : Criterion
        When a code is taken.
    near : ndarray of float32, shape (h, w)
        Largest gain taken around each cell, 0 for none; updated.
    allowed : ndarray of bool, shape (h, w)
        Cells that may take codes.
    count, free : ndarray of int64, shape (h, w)
        Codes of each cell, and how many more it may take; updated.
    look : float
        Weighted gain of the first look above which a full search follows.
    most : int
        Codes taken at most.

    Returns
    -------
    ndarray of int64, shape (T, 4)
        Row, column, code, and index of the gain with its sign, in the order taken.
    """
    out, taken = _pursue(
        latents,
        gram,
        codes,
        first,
        criterion.far,
        criterion.near,
        criterion.first_far,
        criterion.first_near,
        criterion.cost,
        criterion.tolerance,
        near,
        allowed,
        count,
        free,
        gain_values(),
        look,
        most,
    )
    return np.asarray(out[:taken], np.int64)
