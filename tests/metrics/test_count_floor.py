import numpy as np
import pytest
from scipy import stats

from astro_vq.metrics.count_floor import CountNoise, poisson_bits


@pytest.mark.parametrize("rate", [0.01, 0.5, 3.0, 400.0])
def test_the_floor_is_the_entropy_of_a_poisson_distribution(rate):
    expected = float(stats.poisson(rate).entropy()) / np.log(2)
    assert poisson_bits(rate) == pytest.approx(expected, rel=1e-6)
    assert CountNoise(rate).lossless_floor().correlated_bits == poisson_bits(rate)


def test_a_wider_step_tells_less_apart():
    counts = np.random.default_rng(0).poisson(7.0, 400_000) // 3
    share = np.bincount(counts) / counts.size
    share = share[share > 0]
    assert poisson_bits(7.0, 3) == pytest.approx(-(share * np.log2(share)).sum(), abs=0.005)
    assert CountNoise(7.0).floor(3.0).white_bits == poisson_bits(7.0, 3)
    assert CountNoise(0.0).floor(0.5).white_bits == 0
