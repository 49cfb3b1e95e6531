import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astro_vq.metrics.noise_floor import (
    innovation_variance,
    measure_noise,
    quantized_noise_bits,
)


def test_fine_steps_cost_the_differential_entropy():
    for sigma in (32.0, 1e3, 1e7):
        assert quantized_noise_bits(sigma, 1.0) == pytest.approx(
            math.log2(sigma) + 2.0471, abs=1e-3
        )


def test_noise_at_a_quarter_sigma_costs_the_known_bits():
    assert quantized_noise_bits(1.0, 0.25) == pytest.approx(4.05, abs=0.005)


def test_coarse_steps_cost_the_entropy_counted_over_all_positions_of_the_grid():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200_000)
    entropies = []
    for offset in np.linspace(0, 3, 16, endpoint=False):
        counts = np.unique(np.rint((noise + offset) / 3), return_counts=True)[1]
        share = counts / counts.sum()
        entropies.append(-(share * np.log2(share)).sum())
    assert quantized_noise_bits(1.0, 3.0) == pytest.approx(np.mean(entropies), abs=0.005)


def test_no_noise_costs_nothing_and_bad_arguments_are_refused():
    assert quantized_noise_bits(0.0, 1.0) == 0
    with pytest.raises(ValueError, match="step > 0"):
        quantized_noise_bits(1.0, 0.0)
    with pytest.raises(ValueError, match="sigma must be"):
        quantized_noise_bits(-1.0, 1.0)
    with pytest.raises(ValueError, match="must be positive"):
        measure_noise(np.arange(64.0).reshape(8, 8)).floor(0.0)
    with pytest.raises(ValueError, match=r"2 L \+ 1"):
        innovation_variance(np.ones((2, 2)))


def test_the_innovation_of_a_separable_autoregression_is_known():
    rho = 0.8
    lags = np.abs(np.arange(-8, 9))
    covariance = rho ** (lags[:, None] + lags[None, :]).astype(float)
    # each axis is predicted by itself: what is left is (1 - rho^2) twice
    assert innovation_variance(covariance) == pytest.approx((1 - rho**2) ** 2, rel=1e-3)


def test_white_noise_has_the_same_floor_either_way():
    image = np.random.default_rng(1).normal(50, 4, (256, 256))
    floor = measure_noise(image).floor(1.0)
    assert floor.sigma == pytest.approx(4, rel=0.01)
    assert floor.white_bits == pytest.approx(quantized_noise_bits(4, 1), abs=0.02)
    assert floor.correlated_bits == pytest.approx(floor.white_bits, abs=0.02)
    assert abs(floor.correlation) < 0.02


def test_correlated_noise_costs_less_by_its_spectral_flatness():
    noise = gaussian_filter(np.random.default_rng(2).normal(size=(512, 512)), 0.6, mode="wrap")
    noise *= 32 / noise.std()
    impulse = np.zeros((512, 512))
    impulse[0, 0] = 1
    spectrum = np.abs(np.fft.fft2(gaussian_filter(impulse, 0.6, mode="wrap"))) ** 2
    flatness = math.exp(np.mean(np.log(spectrum))) / spectrum.mean()
    floor = measure_noise(noise).floor(0.5)
    assert floor.innovation_sigma == pytest.approx(32 * math.sqrt(flatness), rel=0.02)
    expected = quantized_noise_bits(32 * math.sqrt(flatness), 0.5)
    assert floor.correlated_bits == pytest.approx(expected, abs=0.04)


def test_integers_are_not_charged_for_their_own_rounding():
    noise = np.random.default_rng(3).normal(0, 0.8, (300, 300))
    entropies, floors = [], []
    for offset in (0.0, 0.25, 0.5, 0.75):
        image = np.rint(noise + offset)
        counts = np.unique(image, return_counts=True)[1]
        entropies.append(-(counts / counts.sum() * np.log2(counts / counts.sum())).sum())
        floors.append(measure_noise(image).floor(1.0, quantized=True).correlated_bits)
    assert np.mean(floors) == pytest.approx(np.mean(entropies), abs=0.03)


def test_floats_without_loss_cost_their_mantissa():
    image = np.random.default_rng(4).normal(1000, 1, (128, 128)).astype(np.float32)
    floor = measure_noise(image).lossless_floor()
    counts = np.unique(image, return_counts=True)[1]
    assert counts.max() > 1
    # spacing of float32 between 512 and 1024, and above: 2**-14 and 2**-13
    assert -14.1 < math.log2(floor.step) < -12.9
    assert floor.white_bits == pytest.approx(2.047 - math.log2(floor.step), abs=0.05)
    assert measure_noise(np.rint(image).astype(np.int32)).lossless_floor() is None


@pytest.mark.parametrize("image", [np.full((32, 32), np.nan), np.full((32, 32), 7.0)])
def test_images_without_noise_have_no_floor(image):
    assert measure_noise(image) is None


def test_one_row_has_a_floor_for_white_noise():
    floor = measure_noise(np.random.default_rng(5).normal(size=(1, 500))).floor(0.1)
    assert floor.correlated_bits <= floor.white_bits
    assert floor.white_bits == pytest.approx(quantized_noise_bits(1, 0.1), abs=0.2)
