"""Linear prediction alone: there and back, and against the definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astro_vq.entropy.linear import guess_pixels, predict, restore
from astro_vq.entropy.mixing import Mixing, default_mixing, neighbours
from astro_vq.entropy.mixing_kernel import LARGEST


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.int64,
        st.tuples(st.integers(1, 12), st.integers(1, 40)),
        elements=st.one_of(st.integers(-5, 5), st.integers(1 - LARGEST, LARGEST - 1)),
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_integers_come_back(plane, seed):
    mask = np.random.default_rng(seed).random(plane.shape) < 0.2
    width = default_mixing().width
    most = (1 << 17) - 1
    wild = Mixing(np.array([[most, -most] * 20 + [most]]), width, limit=1 << 44)
    two = Mixing(np.array([[most] * 25, [-most] * 25]), width, np.array([300]), limit=0)
    for mixing in (default_mixing(), wild, two):
        residuals = predict(np.where(mask, 0, plane), mask, mixing)
        back = restore(residuals, mask, mixing)
        assert (back == plane)[~mask].all()


def test_predictions_are_sums_of_weighted_neighbours():
    plane = np.random.default_rng(4).integers(-50, 50, (12, 14))
    taps = np.zeros((1, 41), np.int64)
    taps[0, :40] = np.random.default_rng(5).integers(-2000, 2000, 40)
    found = guess_pixels(plane, Mixing(taps, default_mixing().width))
    for y, x in ((5, 5), (11, 9), (8, 4)):
        total = sum(
            weight * plane[y + dy, x + dx]
            for weight, (dy, dx) in zip(taps[0], neighbours(40).tolist(), strict=False)
        )
        assert found[y, x] == (128 + total) >> 8


def test_the_background_is_a_running_mean_that_stars_do_not_move():
    rng = np.random.default_rng(6)
    plane = np.rint(rng.normal(0, 8, (200, 100))).astype(np.int64)
    taps = np.zeros((1, 25), np.int64)
    taps[0, 24] = 1 << 14
    mixing = Mixing(taps, default_mixing().width, limit=24 << 12)
    level = guess_pixels(plane, mixing)[100:, 20:-20] / 64
    assert abs(level.mean()) < 0.2
    # 16 rows of memory (31 of their sum of squares), 32 columns
    assert level.std() < 2 * 8 / np.sqrt(31 * 32)
    plane[:, 40] += 100_000
    moved = guess_pixels(plane, mixing)[150, 60] / 64
    assert abs(moved - level[50, 40]) < 0.01  # far from the star, nothing changes
    near = guess_pixels(plane, mixing)[150, 45] / 64
    assert near < 24 * 150 / 16 / 32 + 2  # at most the limit, a sixteenth each row
