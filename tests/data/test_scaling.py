import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.data.scaling import Scaling

finite = st.floats(-1e30, 1e30)
positive = st.floats(1e-30, 1e30)


def test_forward_is_asinh_of_sigma():
    scaling = Scaling(10.0, 2.0)
    x = np.array([[10.0, 12.0], [4.0, 1e6]])
    y = scaling.forward(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.arcsinh((x - 10) / 2), rtol=1e-7)


@settings(deadline=None)
@given(sky=finite, sigma=positive, y=st.floats(-40, 40))
def test_inverse_undoes_forward_to_float64_rounding(sky, sigma, y):
    scaling = Scaling(sky, sigma)
    x = scaling.inverse(y)
    again = scaling.inverse(scaling.forward(x, dtype=np.float64))
    offset = np.hypot(x - sky, sigma)
    assert abs(again - x) <= 60 * np.finfo(float).eps * (offset + abs(sky))


@settings(deadline=None)
@given(sky=st.floats(-1e4, 1e4), sigma=st.floats(1e-3, 1e4), y=st.floats(-15, 15))
def test_inverse_undoes_forward_to_float32_rounding(sky, sigma, y):
    scaling = Scaling(sky, sigma)
    x = float(scaling.inverse(y))
    error = abs(float(scaling.inverse(scaling.forward(x))) - x)
    assert error <= 6.1e-8 * (abs(y) + 1e-9) * np.hypot(x - sky, sigma) + 1e-12 * abs(sky)


def test_nan_and_inf_stay_in_place():
    scaling = Scaling(0.0, 1.0)
    np.testing.assert_array_equal(
        scaling.forward([np.nan, np.inf, -np.inf]), np.float32([np.nan, np.inf, -np.inf])
    )
    np.testing.assert_array_equal(scaling.inverse([np.nan, np.inf]), [np.nan, np.inf])
    assert scaling.inverse(1e4) == np.inf


def test_quotients_that_overflow_have_a_finite_asinh():
    scaling = Scaling(0.0, 1e-300)
    y = scaling.forward([1e300, -1e300], dtype=np.float64)
    np.testing.assert_allclose(y, [np.log(2) + 600 * np.log(10), -(np.log(2) + 600 * np.log(10))])
    assert scaling.forward(1e300, dtype=np.float64) == y[0]


def test_scaling_survives_json_exactly():
    scaling = Scaling(0.1 + 0.2, 1 / 3)
    assert Scaling.from_dict(json.loads(json.dumps(scaling.to_dict()))) == scaling
    with pytest.raises(ValueError, match="keys sky and sigma"):
        Scaling.from_dict({"sky": 1.0})


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_impossible_sigma_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma must be positive"):
        Scaling(0.0, sigma)


def test_measure_always_gives_a_usable_scaling():
    image = np.random.default_rng(0).normal(50, 4, (300, 300))
    scaling = Scaling.measure(image)
    assert scaling.sky == pytest.approx(50, abs=0.1)
    assert scaling.sigma == pytest.approx(4, rel=0.02)
    assert Scaling.measure(np.full((5, 5), 3.0)) == Scaling(3.0, 1.0)
    assert Scaling.measure(np.full((5, 5), np.nan)) == Scaling(0.0, 1.0)
    with pytest.raises(ValueError, match="sky must be finite"):
        Scaling(np.inf, 1.0)
