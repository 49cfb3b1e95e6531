"""The coder whose probabilities adapt, alone."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astro_vq.entropy.mixing import Mixing, decode_plane, default_mixing, encode_plane
from astro_vq.entropy.mixing_kernel import LARGEST
from astro_vq.errors import FormatError

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
BORDERS = [0, 1, -1, LARGEST - 1, 1 - LARGEST]


def round_trip(plane, mask=None, mixing=None, **choices):
    mask = np.zeros(plane.shape, bool) if mask is None else mask
    mixing = mixing or default_mixing()
    code, plain, known = encode_plane(plane, mask, mixing, **choices)
    back = decode_plane(code, plain, mask, mixing, **choices)
    assert (back == known).all()
    return code, plain, back


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.int64,
        SHAPES,
        elements=st.one_of(
            st.integers(-5, 5), st.integers(1 - LARGEST, LARGEST - 1), st.sampled_from(BORDERS)
        ),
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_integers_come_back(plane, seed):
    mask = np.random.default_rng(seed).random(plane.shape) < 0.2
    _, _, back = round_trip(plane, mask)
    assert (back == plane)[~mask].all()


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.int64, SHAPES, elements=st.integers(-(2**20), 2**20)))
def test_weights_at_their_limits_do_no_harm(plane):
    width = np.array([1 << 19, *[(1 << 20) - 1] * 5])
    most = (1 << 17) - 1
    wild = Mixing(np.array([[most, -most] * 20 + [most]]), width, limit=1 << 44)
    two = Mixing(np.array([[most] * 25, [-most] * 25]), width, np.array([300]), limit=0)
    first = Mixing(np.array([[most, -most] * 12 + [0]]), width, version=1)
    for mixing in (wild, two, first):
        _, _, back = round_trip(plane, mixing=mixing)
        assert (back == plane).all()


@pytest.mark.parametrize("loop", [3, 15, 255])
def test_a_loop_keeps_integers_within_half_of_it(loop):
    plane = np.random.default_rng(0).normal(0, 40, (40, 30)).astype(np.int64)
    code, _, back = round_trip(plane, loop=loop)
    assert np.abs(back - plane).max() <= loop // 2
    assert len(code) < plane.size * (np.log2(1 + 40 / loop) + 3) / 8


def test_white_noise_costs_little_more_than_its_entropy():
    plane = np.rint(np.random.default_rng(1).normal(0, 8, (256, 256))).astype(np.int64)
    code, plain, _ = round_trip(plane)
    bits = 8 * (len(code) + len(plain)) / plane.size
    assert bits < np.log2(8) + 2.047 + 0.2  # without anything fitted to the image


def test_a_constant_plane_costs_next_to_nothing():
    code, plain, _ = round_trip(np.full((128, 128), 7))
    assert len(code) + len(plain) < 300


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_code_of_another_length_is_refused(cut):
    plane = np.rint(np.random.default_rng(2).normal(0, 30, (16, 16))).astype(np.int64)
    mask = np.zeros(plane.shape, bool)
    code, plain, _ = encode_plane(plane, mask, default_mixing())
    with pytest.raises(FormatError, match="last pixel"):
        decode_plane(code[:cut], plain, mask, default_mixing())
    with pytest.raises(FormatError, match="last pixel"):
        decode_plane(code, plain + b"\0", mask, default_mixing())


def test_bytes_are_those_of_the_format():
    steps = np.arange(40 * 50, dtype=np.int64)
    plane = ((steps * 7919) % 23 + (steps * 104729) % 31 + steps // 100 - 35).reshape(40, 50)
    code, plain, _ = round_trip(plane)
    digest = hashlib.sha256(code + plain).hexdigest()
    assert digest == "4dc3f8e2c064c02108756fa7fa24c0de1740aa8565acfbb0d8aaffcf4686e171"


def test_a_spike_is_told_first_and_pays():
    rng = np.random.default_rng(3)
    plane = np.rint(rng.normal(500, 90, (96, 96))).astype(np.int64)
    plane[rng.random(plane.shape) < 0.5] = 0
    plain = sum(len(part) for part in round_trip(plane)[:2])
    code, rest, back = round_trip(plane, spike=0)
    assert (back == plane).all()
    # a bit for each pixel, and half of them as noise
    floor = plane.size * (1 + 0.5 * (np.log2(90) + 2.047)) / 8
    assert floor < len(code) + len(rest) < min(1.35 * floor, plain)


def test_a_huge_plane_from_a_few_bytes_is_given_up_at_once():
    mask = np.zeros((4000, 4000), bool)
    with pytest.raises(FormatError, match="last pixel"):
        decode_plane(b"\x55" * 9, b"", mask, default_mixing())
