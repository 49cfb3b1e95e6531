"""Floats that are integers times a scale are told by the gaps between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astro_vq.codec.find_scale import Scale, find_scale
from astro_vq.codec.mappings.mapping import RATIO, SCALE
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.shared import Shared


def counts(size=4000, spread=900):
    return np.rint(np.random.default_rng(0).normal(20000, spread, size))


@pytest.mark.parametrize(
    ("values", "due"),
    [
        ((counts() * 1.7312).astype("f4"), Scale(1.7312)),
        (counts() * 1.7312, Scale(1.7312)),
        ((counts() / 23).astype("f4"), Scale(23.0, is_ratio=True)),
        (counts() / 1437.5, Scale(1437.5, is_ratio=True)),
        (((counts() - 20000) * -0.37).astype("f4"), Scale(0.37)),
        ((counts() * 3 * 0.11).astype("f4"), Scale(0.33)),
        (counts() * 0.25 - 0.125, Scale(0.25, 0.125)),
    ],
)
def test_the_scale_comes_out_to_the_last_bit(values, due):
    found = find_scale(values)
    assert found.is_ratio == due.is_ratio
    assert found.step == due.step
    assert abs(found.offset - due.offset) % due.step == 0
    restored = found.values_of(found.index_of(values.astype(float))).astype(values.dtype)
    np.testing.assert_array_equal(restored, values)


def test_an_offset_is_found_with_the_step():
    values = (counts() * 0.37 - 1234.5).astype("f4")
    found = find_scale(values)
    restored = found.values_of(found.index_of(values.astype(float))).astype("f4")
    assert np.mean(restored == values) >= 0.99


def test_gaps_of_several_steps_do_not_mislead():
    values = np.cumsum(np.random.default_rng(1).choice([2, 3, 5], 200)) * 0.7
    assert find_scale(values.astype("f4")).step == pytest.approx(0.7)


def test_other_floats_have_no_scale():
    rng = np.random.default_rng(2)
    assert find_scale(rng.normal(100, 5, 5000).astype("f4")) is None
    assert find_scale(counts() * 1.7312 * np.where(np.arange(4000) < 2000, 1, 1.013)) is None
    assert find_scale(np.zeros(100, "f4")) is None
    assert find_scale(np.array([-1.7e308, 0, 1.7e308] * 20 + list(range(40)))) is None


@settings(max_examples=60, deadline=None)
@given(hnp.arrays("u4", st.integers(0, 90)))
def test_any_floats_are_taken(bits):
    values = bits.view("f4")
    find_scale(values[np.isfinite(values)])


@pytest.mark.parametrize(("divided", "kind"), [(False, SCALE), (True, RATIO)])
def test_calibrated_counts_cost_what_the_counts_cost(divided, kind):
    sky = counts((128, 128), 400)
    image = (sky / 23 if divided else sky * 1.7312).astype("f4")
    image[3, 4:9] = np.nan
    spec = PixelSpec("float32")
    shared = fit_shared([image], spec)
    streams = encode_tiles([image], spec, shared=shared)
    (found,) = decode_tiles(streams, [image.shape], spec, shared=shared)
    assert found.tobytes() == image.tobytes()
    assert Shared.from_bytes(shared).mapping.kind == kind
    bits = 8 * (len(shared) + len(streams[0])) / image.size
    assert bits < np.log2(400) + 2.047 + 0.12
