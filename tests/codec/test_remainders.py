"""The second part of lossless floats: exact for any float and step, and dense."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.remainders import decode_remainders, encode_remainders
from astro_vq.errors import FormatError


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_float_comes_back_from_its_index_and_remainder(dtype, data):
    width = np.dtype(dtype).itemsize
    values = data.draw(hnp.arrays(f"u{width}", st.integers(1, 30))).view(dtype)
    step = data.draw(st.sampled_from([0.25, 0.3, 1.0, 1e-3, 2.0**-20, 1e6]))
    values = values[np.isfinite(values) & (np.abs(values.astype(float)) < step * 2.0**50)]
    special = np.array([0.0, -0.0, step / 2, -step / 2, step, 1.5 * step, 1e-45], dtype)
    values = np.concatenate([values, special])
    indices = np.rint(values.astype(float) / step).astype(np.int64)
    reader = ByteReader(encode_remainders(values, indices, step))
    assert decode_remainders(reader, indices, step, dtype).tobytes() == values.tobytes()


def test_a_step_of_a_power_of_two_wastes_nothing():
    values = np.random.default_rng(0).uniform(64, 128, 20_000).astype(np.float32)
    indices = np.rint(values.astype(float) / 0.25).astype(np.int64)
    blob = encode_remainders(values, indices, 0.25)
    floats_per_step = 0.25 / np.spacing(np.float32(100))
    assert len(blob) * 8 < len(values) * (np.log2(floats_per_step) + 0.01)


def test_damaged_remainders_are_noticed():
    values = np.random.default_rng(0).normal(0, 1, 50).astype(np.float32)
    indices = np.rint(values.astype(float) / 0.25).astype(np.int64)
    blob = encode_remainders(values, indices, 0.25)
    for cut in (0, 3, len(blob) // 2, len(blob) - 2):
        with pytest.raises(FormatError, match="pixel stream"):
            decode_remainders(ByteReader(blob[:cut]), indices, 0.25, "float32")
