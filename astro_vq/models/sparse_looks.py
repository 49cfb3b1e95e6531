"""Looks at latents: which code explains most of a cell, and which cells are worth a full search.

A cell is looked at with a few codes that stand for all; a full search follows where one of them
sees enough. Loops are compiled, for the encoder alone.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import ALONE
from astro_vq.models.sparse_atoms import FloatArray

IntArray = NDArray[np.int64]


class Criterion(NamedTuple):
    """When a code is worth its bits: ``(abs(gain) * weight / threshold)**2 - cost`` exceeds 1.

    Attributes
    ----------
    weights : ndarray of float32, shape (N,)
        Of the codes.
    first_weights : ndarray of float32, shape (M,)
        Of the few codes that cells are looked through with first.
    cost : ndarray of float32, shape (N,)
        Of each code.
    """

    weights: FloatArray
    first_weights: FloatArray
    cost: FloatArray


@compiled_in_any_order
def largest(values: FloatArray, number: int) -> float:
    """Return the largest of a few values, which are overwritten: halved until one is left."""
    while number > 1:
        half = (number + 1) // 2
        for k in range(number - half):
            values[k] = values[k] if values[k] > values[k + half] else values[k + half]
        number = half
    return float(values[0])


@compiled_in_any_order
def choose(
    products: FloatArray,
    weights: FloatArray,
    cost: FloatArray,
    factor: float,
    worth: FloatArray,
    spare: FloatArray,
) -> tuple[int, float]:
    """Return the code most worth its bits given products with all, and what is to exceed 1."""
    scale = np.float32(factor)
    for k in range(cost.shape[0]):
        v = products[k] * weights[k] * scale
        worth[k] = spare[k] = v * v - cost[k]
    best = np.float32(largest(spare, cost.shape[0]))
    for k in range(cost.shape[0]):
        if worth[k] >= best:
            return k, float(best)
    return 0, -1e30


@compiled
def look(
    z: FloatArray,
    cells: IntArray,
    first: FloatArray,
    weights: FloatArray,
    best: FloatArray,
) -> None:
    """Write what the first look at some cells finds.

    Parameters
    ----------
    z : ndarray of float32, shape (N, D)
        Latents.
    cells : ndarray of int64, shape (n,)
        Which.
    first : ndarray of float32, shape (M, D)
        Codes of the first look.
    weights : ndarray of float32, shape (M,)
        Of these.
    best : ndarray of float32, shape (2, at least n)
        Largest size of the gains, as they are, and weighted.
    """
    count, dim = cells.shape[0], z.shape[1]
    columns = np.empty((dim, count), np.float32)
    for k in range(count):
        cell = cells[k]
        for d in range(dim):
            columns[d, k] = z[cell, d]
    products = np.empty((first.shape[0], count), np.float32)
    np.dot(first, columns, products)
    _weigh(products, weights, best[0], best[1])


@compiled_in_any_order
def _weigh(
    products: FloatArray,
    weights: FloatArray,
    even: FloatArray,
    weighted: FloatArray,
) -> None:
    """Write the largest sizes in each column of products, two rows at a time."""
    number, count = products.shape
    even[:count] = weighted[:count] = 0
    for c in range(0, number, 2):
        d = min(c + 1, number - 1)
        row, other = products[c], products[d]
        weight, weight_other = weights[c], weights[d]
        for k in range(count):
            size, size_other = abs(row[k]), abs(other[k])
            x, x_other = size * weight, size_other * weight_other
            size = size if size > size_other else size_other
            x = x if x > x_other else x_other
            even[k] = size if size > even[k] else even[k]
            weighted[k] = x if x > weighted[k] else weighted[k]


@compiled
def look_again(
    z: FloatArray,
    cells: IntArray,
    first: FloatArray,
    weights: FloatArray,
    near: FloatArray,
    threshold: float,
    share: float,
    score: FloatArray,
) -> None:
    """Write the scores of some cells; all arrays are flat."""
    together = max(ALONE // first.size, 1)
    best = np.empty((2, together), np.float32)
    for start in range(0, cells.shape[0], together):
        part = cells[start : start + together]
        look(z, part, first, weights, best)
        for k in range(part.shape[0]):
            factor = 1 / (threshold * math.sqrt(1 + (share * near[part[k]]) ** 2))
            score[part[k]] = best[1, k] * factor
