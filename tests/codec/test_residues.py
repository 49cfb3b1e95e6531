"""Views into residue planes are the neighbours, in 32 bits and in 64."""

import numpy as np
import pytest

from astro_vq.codec.lattice import count_levels, phases
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
        weights = rng.integers(-200, 300, 24)
        weights[0] += 1024 - weights.sum()
        prediction = predict(slow, weights)
        np.testing.assert_array_equal(predict(fast, weights), prediction)
        np.testing.assert_array_equal(local_logs(fast, prediction), local_logs(slow, prediction))
        residues.close(phase)
