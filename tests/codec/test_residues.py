"""Views into residue planes are the neighbours, in 32 bits and in 64."""

import numpy as np
import pytest

from astro_vq.codec.lattice import count_levels, phases, wide_means
from astro_vq.codec.predict import predict
from astro_vq.codec.residues import Residues
from astro_vq.entropy.local_scale import local_logs


@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 37, 50), (1, 8, 9), (3, 16, 11)])
@pytest.mark.parametrize("size", [1000, 1 << 26])
def test_neighbours_predictions_and_scales_are_the_same(shape, size):
    rng = np.random.default_rng(0)
    work = rng.integers(-size, size, shape)
    for phase in phases(count_levels(shape[1:])):
        if phase.number == 0:
            residues = Residues(work, phase.level)
        slow, fast = phase.neighbours(work), residues.neighbours(phase)
        for a, b in zip(slow, fast, strict=True):
            np.testing.assert_array_equal(a, b)
        weights = rng.integers(-200, 300, 25)
        weights[0] += 1024 - weights.sum()
        h, w = phase.pixels(work).shape[1:]
        means = wide_means(work, phase.level)[:, :h, :w]
        prediction = predict(slow, weights, means)
        again = predict(fast, weights, residues.means(phase))
        np.testing.assert_array_equal(again, prediction)
        np.testing.assert_array_equal(local_logs(fast, prediction), local_logs(slow, prediction))
        residues.close(phase)


def test_wide_means_are_means_of_known_pixels():
    rng = np.random.default_rng(1)
    work = rng.integers(-500, 500, (1, 64, 64))
    means = wide_means(work, 0)
    assert means.shape == (1, 16, 16)
    known = work[0, ::2, ::2].astype(float)
    cell = 8
    block = known[2 * (cell - 3) : 2 * (cell + 4), 2 * (cell - 3) : 2 * (cell + 4)]
    assert abs(means[0, cell, cell] - 16 * block.mean()) <= 0.5
    work[0, 1::2] += 10_000  # not known when the level begins
    np.testing.assert_array_equal(wide_means(work, 0), means)
