"""The wavelet transform against its definition: reconstruction, known filters, closed forms."""

import numpy as np
import pytest

from astro_vq.codec.wavelet import band_shapes, forward, inverse, level_count

LOW = [0.602949018236, 0.266864118443, -0.078223266529, -0.016864118443, 0.026748757411]
HIGH = [0.557543526229, -0.295635881557, -0.028771763114, 0.045635881557]


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (8, 8), (37, 50), (256, 129), (3, 400)])
def test_planes_of_any_shape_come_back(shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    bands = forward(image)
    assert [band.shape for band in bands] == band_shapes(shape)
    assert len(bands) == 1 + 3 * level_count(shape)
    np.testing.assert_allclose(inverse(bands), image, atol=5e-6)


def test_coefficients_are_products_with_the_published_filters():
    # analysis filters of ISO/IEC 15444-1, table F.4; ours are scaled by the root of two
    image = np.zeros((64, 64), np.float32)
    image[32, 32] = 1
    bands = forward(image)
    rows, columns, both = bands[-3:]
    low, high = np.sqrt(2) * np.array(LOW), np.sqrt(2) * np.array(HIGH)
    low_at = {2 * k: low[abs(2 * k)] for k in range(-2, 3)}
    # even place: means see the even taps of the low filter, differences the odd ones of the high
    step = [high[1], high[1], high[3], high[3]]
    np.testing.assert_allclose(rows[16, [15, 16, 14, 17]], low_at[0] * np.array(step), atol=1e-6)
    np.testing.assert_allclose(columns.T, rows, atol=1e-6)
    np.testing.assert_allclose(both[16, 16], high[1] ** 2, atol=1e-6)


def test_a_constant_is_in_the_mean_alone_and_energy_is_about_kept():
    bands = forward(np.full((128, 192), 3, np.float32))
    np.testing.assert_allclose(bands[0], 3 * 2.0 ** level_count((128, 192)), rtol=1e-5)
    assert max(np.abs(band).max() for band in bands[1:]) < 1e-4
    noise = np.random.default_rng(1).normal(size=(256, 256)).astype(np.float32)
    energy = sum(float(np.square(band).sum()) for band in forward(noise))
    assert energy == pytest.approx(256 * 256, rel=0.05)
