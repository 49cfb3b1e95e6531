"""Products of rows that lie anywhere with packed matrices: as numpy has them."""

import numpy as np
import pytest

from astro_vq.models.sparse_products import (
    LANES,
    ROWS,
    WIDE,
    find_largest,
    multiply,
    pack,
    pack_weights,
)
from astro_vq.models.sparse_scales import project
from astro_vq.models.sparse_search import pack_cost, search


@pytest.mark.parametrize(("length", "number"), [(40, 91), (12, 5), (1, 48), (7, 97)])
def test_products_are_those_of_numpy(length, number):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(length, number)).astype(np.float32)
    source = rng.normal(size=500).astype(np.float32)
    starts = rng.integers(0, 500 - length, ROWS)
    packed = pack(matrix)
    assert packed.shape == (-(-number // WIDE), length, WIDE)
    out = np.full((ROWS, packed.shape[0] * WIDE), np.nan, np.float32)
    multiply(source, starts, 0, length, packed, out)
    true = np.array([source[k : k + length] for k in starts]) @ matrix
    np.testing.assert_allclose(out[:, :number], true, rtol=1e-5, atol=1e-5)
    assert not out[:, number:].any()
    weights = rng.uniform(0.5, 2, number).astype(np.float32)
    even, weighted = np.full((2, ROWS), np.nan, np.float32)
    find_largest(source, starts, packed, pack_weights(weights), even, weighted)
    np.testing.assert_allclose(even, np.abs(true).max(1), rtol=1e-5)
    np.testing.assert_allclose(weighted, (np.abs(true) * weights).max(1), rtol=1e-5)


def test_rows_are_multiplied_alike_whatever_they_are_taken_with():
    rng = np.random.default_rng(1)
    packed = pack(rng.normal(size=(33, 60)).astype(np.float32))
    source = rng.normal(size=200).astype(np.float32)
    one, other = np.empty((2, ROWS, packed.shape[0] * WIDE), np.float32)
    multiply(source, np.full(ROWS, 17), 0, 33, packed, one)
    multiply(source, np.arange(ROWS) + 18 - ROWS, 0, 33, packed, other)
    np.testing.assert_array_equal(other[-1], one[0])


def test_patches_at_the_border_see_zeros_beyond():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(20, 28)).astype(np.float32)
    basis = rng.normal(size=(5, 256)).astype(np.float32)
    padded = np.pad(image, 6 + 4)
    true = [
        [basis @ padded[4 * i + 4 : 4 * i + 20, 4 * j + 4 : 4 * j + 20].ravel() for j in range(7)]
        for i in range(5)
    ]
    np.testing.assert_allclose(project(image, basis, 0), true, rtol=1e-4, atol=1e-4)


def test_the_code_found_is_the_first_of_the_best():
    rng = np.random.default_rng(3)
    codes = rng.normal(size=(130, 9)).astype(np.float32)
    codes[100], codes[7] = codes[120], codes[120]  # equal ones, in several strips
    weights = rng.uniform(0.5, 2, 130).astype(np.float32)
    cost = rng.uniform(-1, 1, 130).astype(np.float32)
    weights[[7, 100, 120]], cost[[7, 100, 120]] = 5.0, -0.5
    latents = rng.normal(size=(ROWS, 9)).astype(np.float32)
    latents[1], latents[2] = 9 * codes[120], 0
    factors = rng.uniform(0.1, 1, ROWS).astype(np.float32)
    worth, gains = np.empty((2, ROWS, LANES), np.float32)
    found = np.empty((ROWS, LANES), np.int32)
    packed = pack(codes.T), pack_weights(weights), pack_cost(cost)
    search(latents.ravel(), np.arange(ROWS) * 9, *packed, factors, worth, gains, found)
    true = np.square(latents @ codes.T * weights * factors[:, None]) - cost
    best = true.argmax(1)
    assert best[1] == 7
    np.testing.assert_array_equal(found[:, 0], best)
    np.testing.assert_allclose(worth[:, 0], true.max(1), rtol=1e-5)
    np.testing.assert_allclose(gains[:, 0], (latents @ codes.T)[np.arange(ROWS), best], rtol=1e-5)
