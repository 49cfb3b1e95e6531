"""Integer logarithms and the choice of tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.entropy import tables
from astro_vq.entropy.local_scale import (
    LOG_STEPS,
    ScaleModel,
    integer_log2,
    local_logs,
    place_tables,
    predict_scale,
    select_tables,
    table_of,
)

PLAIN = ScaleModel((0, 0, 0, 0), (0, 64, 0), 0, ((0, 0),))


@given(st.lists(st.integers(1, 2**52), min_size=1, max_size=30))
def test_integer_logarithms_are_close_and_never_too_large(values):
    got = integer_log2(np.array(values, np.int64)) / LOG_STEPS
    wanted = np.log2(np.array(values, float))
    assert (got <= wanted + 1e-9).all()
    assert (got > wanted - 0.006).all()


def test_no_entry_of_the_logarithms_is_near_a_rounding_edge():
    exact = LOG_STEPS * np.log2(1 + np.arange(1, 1024) / 1024)
    assert np.abs(exact - np.rint(exact)).min() > 1e-6


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_local_scales_are_sums_of_distances_to_the_prediction(dtype):
    rng = np.random.default_rng(0)
    near = rng.integers(-500, 500, (24, 7)).astype(dtype)
    prediction = rng.integers(-8000, 8000, 7)
    far = np.abs(16 * near.astype(np.int64) - prediction)
    sums = np.stack([far[:4].sum(0) + 16, far[:12].sum(0) + 48, far[12:].sum(0) + 48])
    np.testing.assert_array_equal(local_logs(near, prediction), integer_log2(sums))


def test_scale_indices_follow_the_model():
    logs = np.full((3, 2), 5 * LOG_STEPS)
    assert predict_scale(logs, PLAIN, 0).tolist() == [64, 64]
    shifted = ScaleModel((0, 32, 0, 0), (0, 64, 0), 0, ((0, 0),))
    assert predict_scale(logs, shifted, 1).tolist() == [72, 72]


def test_wide_densities_drop_low_bits_and_narrow_ones_keep_the_fraction():
    prediction = np.array([16 * 7 + 5, 16 * 7 - 5, 16 * 7 + 5])
    chosen = place_tables(np.zeros(3, np.int64), np.array([10, 10, 80]), prediction)
    assert chosen.middle.tolist() == [7, 7, 7]
    assert chosen.flipped.tolist() == [False, True, False]
    assert chosen.shift.tolist() == [0, 0, 3]
    assert [table_of(n) for n in chosen.table.tolist()] == [(0, 10, 10), (0, 10, 10), (0, 56, -14)]
    assert chosen.far.tolist() == [tables.reach(10), tables.reach(10), tables.reach(56)]


def test_classes_choose_shape_and_correction():
    logs = np.stack([np.zeros(3), np.array([-2, 0, 2]) * LOG_STEPS, np.zeros(3)]).astype(np.int64)
    model = ScaleModel((0, 0, 0, 0), (0, 64, 0), 5, ((1, -2), (4, 3)))
    chosen = select_tables(logs, np.zeros(3, np.int64), model, 0)
    picked = [table_of(n)[:2] for n in chosen.table.tolist()]
    assert picked == [(1, 8 - 2), (4, 24 + 3), (4, 40 + 3)]
