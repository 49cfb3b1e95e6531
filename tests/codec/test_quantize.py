"""The bound holds for every finite pixel in the stored dtype, whatever the numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.mappings.mapping import IDENTITY, ORDERED, RATIO, SCALE, STEP, Mapping
from astro_vq.codec.quantize import quantize_tile, restore_tile
from astro_vq.errors import FormatError

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
BOUNDS = st.one_of(
    st.floats(0, 1e300), st.sampled_from([0.0, 5e-324, 0.5, 1.0, 2.0, 7.0, 1e-30, 1e30, 1e308])
)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)


def round_trip(values, bound, mapping=None, blank=None):
    mapping = mapping or default_mapping(values, bound)
    tile = quantize_tile(values, bound, mapping, blank=blank)
    return restore_tile(tile, mapping, values.dtype), tile


def check(values, restored, bound):
    assert restored.dtype == values.dtype
    for a, b in zip(restored.ravel().tolist(), values.ravel().tolist(), strict=True):
        if isinstance(b, int) or np.isfinite(b):
            assert abs(Fraction(a) - Fraction(b)) <= Fraction(bound)
    if values.dtype.kind == "f":
        odd = ~np.isfinite(values)
        assert restored[odd].tobytes() == values[odd].tobytes()
        if bound == 0:
            assert restored.tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_floats_of_any_bit_pattern_keep_the_bound_exactly(dtype, data):
    width = np.dtype(dtype).itemsize
    bits = data.draw(hnp.arrays(f"u{width}", SHAPES))
    values = bits.view(dtype)
    bound = data.draw(BOUNDS)
    check(values, round_trip(values, bound)[0], bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_floats_of_mixed_magnitudes_keep_the_bound_exactly(dtype, data):
    width = 32 if dtype == "float32" else 64
    usual = st.floats(-1000, 1000, width=width)
    odd = st.sampled_from([1e-30, -1e30, 1e30, -0.0, 1e-44, np.nan, np.inf, -np.inf])
    values = data.draw(
        hnp.arrays(dtype, SHAPES, elements=st.one_of(usual, odd.map(np.dtype(dtype).type)))
    )
    bound = data.draw(st.sampled_from([0.0, 1e-6, 0.1, 0.25, 0.3, 1.0, 1e3]))
    check(values, round_trip(values, bound)[0], bound)


@pytest.mark.parametrize("dtype", INTEGERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_integers_of_any_range_keep_the_bound(dtype, data):
    values = data.draw(hnp.arrays(dtype, SHAPES))
    bound = data.draw(BOUNDS)
    check(values, round_trip(values, bound)[0], bound)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_blank_stays_in_place_and_no_other_pixel_becomes_blank(data):
    values = data.draw(hnp.arrays("int16", SHAPES, elements=st.integers(-40, 40)))
    blank = data.draw(st.integers(-40, 40))
    bound = data.draw(st.integers(0, 20))
    restored, _ = round_trip(values, float(bound), blank=blank)
    np.testing.assert_array_equal(restored == blank, values == blank)
    check(values, restored, bound)


def test_values_in_general_position_need_no_exceptions():
    values = np.random.default_rng(1).normal(1000, 30, (256, 256)).astype(np.float32)
    restored, tile = round_trip(values, 1.0)
    assert not tile.exceptions.bits.size
    assert np.abs(restored.astype(float) - values).max() <= 1.0
    assert np.ptp(tile.indices) < 200


def test_zeros_stay_zero_and_non_negative_values_stay_so():
    values = np.abs(np.random.default_rng(2).normal(0, 1, (64, 64))).astype(np.float32)
    values[::3] = 0
    restored, _ = round_trip(values, 0.3)
    assert (restored[::3] == 0).all()
    assert restored.min() >= 0


def test_floats_that_are_integers_times_a_scale_come_back_bit_for_bit():
    counts = np.random.default_rng(3).poisson(20, (32, 32))
    for mapping, values in [
        (Mapping(SCALE, 0.1), (counts * 0.1).astype(np.float32)),
        (Mapping(SCALE, 0.1, 5.0), (counts * 0.1 + 5.0).astype(np.float32)),
        (Mapping(RATIO, 1700.25), (counts / 1700.25).astype(np.float32)),
    ]:
        restored, tile = round_trip(values, 0.0, mapping)
        assert restored.tobytes() == values.tobytes()
        assert not tile.exceptions.bits.size
        np.testing.assert_array_equal(tile.indices, counts)


def test_ordered_integers_follow_the_order_of_floats():
    values = np.array([[-np.float32(2), -1e-45, -0.0, 0.0, 1e-45, 3.0]], np.float32)
    tile = quantize_tile(values, 0.0, Mapping(ORDERED))
    assert (np.diff(tile.indices[0]) > 0).all()
    assert tile.indices[0, 2] == -1
    assert tile.indices[0, 3] == 0


@pytest.mark.parametrize(
    "mapping",
    [Mapping(IDENTITY), Mapping(ORDERED), Mapping(STEP, 2**63 - 1), Mapping(SCALE, 0.1, -3.5, 7)],
)
def test_mappings_survive_their_bytes(mapping):
    reader = ByteReader(mapping.to_bytes())
    assert Mapping.read(reader) == mapping
    reader.finish()


@pytest.mark.parametrize("blob", [b"", b"\x09", b"\x02" + b"\0" * 16 + b"\x01", b"\x02\0\0"])
def test_damaged_mappings_are_refused(blob):
    with pytest.raises(FormatError, match="pixel stream"):
        Mapping.read(ByteReader(blob))


def test_a_mapping_of_the_other_kind_of_pixels_is_refused():
    tile = quantize_tile(np.zeros((2, 2), np.int16), 0.0, Mapping(IDENTITY))
    with pytest.raises(FormatError, match="mapping 0 for float32"):
        restore_tile(tile, Mapping(IDENTITY), "float32")
