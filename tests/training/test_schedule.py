"""The course of a run: progress and learning rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.config import TrainingConfig
from astro_vq.training.schedule import SHORTEST_WARMUP, Schedule


def schedule(**changes):
    values = {"steps": 1000, "time_budget": None, "learning_rate": 2.0, "warmup": 10}
    return Schedule(**(values | changes))


def test_progress_is_the_larger_share_of_steps_and_time():
    both = schedule(steps=100, time_budget=50.0)
    assert both.progress(20, 5.0) == 0.2
    assert both.progress(20, 40.0) == 0.8
    assert both.progress(100, 0.0) == 1.0
    assert both.progress(0, 80.0) == 1.0
    assert schedule(steps=None, time_budget=50.0).progress(10**9, 25.0) == 0.5


def test_time_plays_no_part_without_a_time_budget():
    assert schedule(steps=100).progress(25, 1e9) == 0.25


def test_the_rate_rises_over_the_warm_up_then_follows_half_a_cosine():
    s = schedule(warmup=9)
    assert s.rate(0, 0.0) == pytest.approx(2.0 / 10)
    assert s.rate(4, 0.0) == pytest.approx(2.0 * 5 / 10)
    assert s.rate(500, 0.5) == pytest.approx(1.0)
    assert s.rate(750, 0.75) == pytest.approx(1.0 + math.cos(0.75 * math.pi))
    assert s.rate(1000, 1.0) == pytest.approx(0.0, abs=1e-15)


def test_a_long_warm_up_ends_early_in_a_short_run():
    s = schedule(steps=20, warmup=1000, shape="constant")
    assert s.rate(0, 0.0) == pytest.approx(2.0 / 1001)
    assert s.rate(1, SHORTEST_WARMUP) == 2.0


@given(step=st.integers(0, 10**6), progress=st.floats(0, 1))
def test_the_rate_is_never_negative_nor_above_its_peak(step, progress):
    assert 0 <= schedule().rate(step, progress) <= 2.0
    assert 0 < schedule(shape="constant").rate(step, progress) <= 2.0


def test_a_schedule_without_an_end_is_refused():
    with pytest.raises(ValueError, match="give steps or time_budget"):
        schedule(steps=None)
    with pytest.raises(ValueError, match="shape must be 'cosine' or 'constant', got 'linear'"):
        schedule(shape="linear")


def test_a_schedule_comes_from_a_configuration():
    config = TrainingConfig(steps=7, time_budget=3.0, learning_rate=0.1, warmup=2)
    assert Schedule.from_config(config) == Schedule(7, 3.0, 0.1, 2, "cosine")
