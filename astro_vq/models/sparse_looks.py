"""Looks at latents: which code explains most of a cell, and which cells are worth a full search.

A cell is looked at with a few codes that stand for all; a full search follows where one of them
sees enough. Loops are compiled, for the encoder alone.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.models.sparse_atoms import FloatArray
from astro_vq.models.sparse_products import ROWS, WIDE, find_largest, multiply
from astro_vq.models.sparse_scales import locate

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


@compiled
def make_latents(
    image: FloatArray,
    cells: IntArray,
    matrix: FloatArray,
    z: FloatArray,
    first: FloatArray,
    weights: FloatArray,
    strength: FloatArray,
    looked: FloatArray,
) -> None:
    """Write the latents of some cells, and look at them.

    Parameters
    ----------
    image : ndarray of float32, shape (h, w)
        Of the level; zero beyond.
    cells : ndarray of int64, shape (n,)
        Which, numbered row by row.
    matrix : ndarray of float32
        The basis (256, D), packed.
    z : ndarray of float32, shape (N, D)
        Latents; written.
    first, weights, strength, looked
        See `look`.
    """
    dim = z.shape[1]
    flat, latents = image.reshape(-1), z.reshape(-1)
    patches, starts = np.empty((ROWS, 256), np.float32), np.empty(ROWS, np.int64)
    products = np.empty((ROWS, matrix.shape[0] * WIDE), np.float32)
    best = np.empty((2, ROWS), np.float32)
    for start in range(0, cells.shape[0], ROWS):
        if locate(image, cells, start, patches, starts):
            multiply(flat, starts, image.shape[1], 16, matrix, products)
        else:
            multiply(patches.reshape(-1), starts, 16, 16, matrix, products)
        for k in range(ROWS):
            cell = cells[min(start + k, cells.shape[0] - 1)]
            to, product = z[cell], products[k]
            for d in range(dim):
                to[d] = product[d]
            starts[k] = cell * dim
        find_largest(latents, starts, first, weights, best[0], best[1])
        for k in range(min(ROWS, cells.shape[0] - start)):
            strength[cells[start + k]], looked[cells[start + k]] = best[0, k], best[1, k]


@compiled
def look(
    z: FloatArray,
    cells: IntArray,
    first: FloatArray,
    weights: FloatArray,
    strength: FloatArray,
    looked: FloatArray,
) -> None:
    """Write what the first look at some cells finds.

    Parameters
    ----------
    z : ndarray of float32, shape (N, D)
        Latents.
    cells : ndarray of int64, shape (n,)
        Which.
    first : ndarray of float32
        Codes of the first look (D, M), packed.
    weights : ndarray of float32
        Of these, packed.
    strength, looked : ndarray of float32, shape (N,)
        Largest size of the gains, as they are, and weighted; written.
    """
    dim = z.shape[1]
    latents = z.reshape(-1)
    starts = np.empty(ROWS, np.int64)
    best = np.empty((2, ROWS), np.float32)
    for start in range(0, cells.shape[0], ROWS):
        for k in range(ROWS):
            starts[k] = cells[min(start + k, cells.shape[0] - 1)] * dim
        find_largest(latents, starts, first, weights, best[0], best[1])
        for k in range(min(ROWS, cells.shape[0] - start)):
            strength[cells[start + k]], looked[cells[start + k]] = best[0, k], best[1, k]


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
    dim = z.shape[1]
    latents = z.reshape(-1)
    starts = np.empty(ROWS, np.int64)
    best = np.empty((2, ROWS), np.float32)
    for start in range(0, cells.shape[0], ROWS):
        for k in range(ROWS):
            starts[k] = cells[min(start + k, cells.shape[0] - 1)] * dim
        find_largest(latents, starts, first, weights, best[0], best[1])
        for k in range(min(ROWS, cells.shape[0] - start)):
            cell = cells[start + k]
            factor = 1 / (threshold * math.sqrt(1 + (share * near[cell]) ** 2))
            score[cell] = best[1, k] * factor
