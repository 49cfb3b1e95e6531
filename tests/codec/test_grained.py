"""Floats that are multiples of a power of two are numbered without gaps, and come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.grained import (
    find_grain,
    from_numbers,
    join_numbers,
    split_numbers,
    to_numbers,
)
from astro_vq.codec.mappings.mapping import GRAINED, SPLIT, Mapping
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.quantize import quantize_tile, restore_tile
from astro_vq.codec.shared import Shared
from astro_vq.errors import FormatError


def coded(image):
    spec = PixelSpec(image.dtype.name)
    shared = fit_shared([image], spec)
    (stream,) = encode_tiles([image], spec, shared=shared)
    (found,) = decode_tiles([stream], [image.shape], spec, shared=shared)
    assert found.tobytes() == image.tobytes()
    mapping = Shared.from_bytes(shared).mapping
    return len(shared) + len(stream), mapping and mapping.kind


def test_numbers_count_the_floats_that_are_left():
    # float32, grain 1/4: multiples up to 2**22, then every float
    edge = 2.0**22
    values = [-1.0, -0.25, 0, 0.25, 2.5, edge - 0.25, edge, edge + 0.5, edge + 1, 2 * edge + 1]
    numbers = to_numbers(np.array(values, "f4"), -2).tolist()
    assert numbers[:6] == [-4, -1, 0, 1, 10, 2**24 - 1]
    assert numbers[6:] == [2**24, 2**24 + 1, 2**24 + 2, 2**24 + 2**23 + 1]
    assert from_numbers(np.array(numbers), -2, "f4").tolist() == values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bits_come_back_under_any_grain(dtype, data):
    width = np.dtype(dtype).itemsize
    values = data.draw(hnp.arrays(f"u{width}", hnp.array_shapes(min_dims=2, max_dims=2))).view(
        dtype
    )
    grain, bits = data.draw(st.integers(-1074, 1030)), data.draw(st.integers(0, 52))
    mapping = Mapping(GRAINED, grain=grain, bits=bits)
    assert Mapping.read(ByteReader(mapping.to_bytes())) == mapping
    tile = quantize_tile(values, 0.0, mapping)
    assert restore_tile(tile, mapping, dtype).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("dtype", "grain"),
    [("float32", -10), ("float32", -149), ("float32", 120), ("float64", -1074), ("float64", 900)],
)
def test_numbers_are_in_the_order_of_the_values_and_none_is_left_out(dtype, grain):
    numbers = np.unique(np.arange(-5, 6) + 2 ** np.arange(3, 60)[:, None])
    values = from_numbers(numbers, grain, dtype)
    inside = values < np.finfo(dtype).max
    assert np.count_nonzero(inside) > 20
    assert (np.diff(values[inside]) > 0).all()
    np.testing.assert_array_equal(to_numbers(values[inside], grain), numbers[inside])


def test_plain_bits_are_cut_off_and_joined():
    numbers = np.array([[-(2**40), 5, 2**50 + 3], [0, -1, 77]])
    indices, data = split_numbers(numbers, 7)
    assert indices.tolist() == [[-(2**33), 0, 2**43], [0, -1, 0]]
    np.testing.assert_array_equal(join_numbers(indices, data, 7), numbers)
    with pytest.raises(FormatError, match="missing or left over"):
        join_numbers(indices, data[:-1], 7)


def test_a_sky_that_was_subtracted_costs_no_zeros():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 5, (128, 129))
    before = (1000 + noise[:, 1:] + noise[:, :-1] / 2).astype("f4")  # multiples of 2**-14
    image = before - np.float32(1000)
    found = find_grain(image.ravel())
    assert found.exponent == -14
    assert 7 < found.saved < 9
    size, kind = coded(image)
    assert kind == GRAINED
    floor = np.log2(5 * 2**14) + 2.047  # bits of what is new, in units of the grain
    assert 8 * size / image.size < floor + 0.2


def test_doubles_made_from_others_are_shorter_too():
    rng = np.random.default_rng(2)
    image = (rng.normal(0, 0.01, (144, 144)) + 3.0) - 3.0  # multiples of 2**-51
    size, kind = coded(image)
    assert kind == GRAINED
    assert 8 * size / image.size < np.log2(0.01 * 2**51) + 2.047 + 0.25
    assert coded(rng.normal(0, 0.01, (144, 144)))[1] != GRAINED


def test_exact_zeros_among_small_floats_are_told_apart():
    rng = np.random.default_rng(3)
    image = np.exp(rng.normal(-9, 1, (96, 96))).astype("f4")
    image[rng.random(image.shape) < 0.4] = 0
    tile = quantize_tile(image, 0.0, Mapping(SPLIT, 2.0**-16))
    np.testing.assert_array_equal(tile.exceptions.mask, image == 0)
    coded(image)
