"""The coder of wavelet bands: what goes in comes out, empty ones cost nothing, damage is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.entropy.detail_bands import (
    CONTEXTS,
    LARGEST,
    decode_bands,
    encode_bands,
    first_contexts,
)
from astro_vq.errors import FormatError

HALVES = np.full(CONTEXTS, 2**14, np.int64)


def make_bands(sides, share, scale, seed=0):
    rng = np.random.default_rng(seed)
    bands = []
    for shape in sides:
        values = np.rint(rng.standard_cauchy(shape) * scale).clip(1 - LARGEST, LARGEST - 1)
        bands.append(np.where(rng.random(shape) < share, values, 0).astype(np.int32))
    return bands


def sides_of(h, w):
    return [(h, w), (h, w), (h, w), (h, w), (2 * h, 2 * w - 1), (2 * h, 2 * w), (2 * h, 2 * w)]


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 20),
    w=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    scale=st.sampled_from([1.0, 100.0, 1e9]),
    seed=st.integers(0, 999),
)
def test_bands_come_back(h, w, share, scale, seed):
    bands = make_bands(sides_of(h, w), share, scale, seed)
    data = encode_bands(bands, first_contexts())
    assert (data == b"") == (not any(band.any() for band in bands))
    found = decode_bands(data, [band.shape for band in bands], first_contexts())
    for ours, theirs in zip(bands, found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_lonely_coefficient_is_cheap_and_the_extremes_fit():
    bands = [np.zeros(shape, np.int32) for shape in sides_of(64, 64)]
    bands[5][100, 3] = -1
    assert len(encode_bands(bands, first_contexts())) <= 8
    bands[0][0, 0], bands[3][5, 5] = LARGEST - 1, 1 - LARGEST
    data = encode_bands(bands, first_contexts())
    found = decode_bands(data, [band.shape for band in bands], first_contexts())
    assert found[0][0, 0] == LARGEST - 1
    assert found[3][5, 5] == 1 - LARGEST
    bands[0][0, 0] = LARGEST
    with pytest.raises(ValueError, match="not below"):
        encode_bands(bands, first_contexts())


def test_a_coefficient_long_before_the_end_comes_back():
    bands = [np.zeros(shape, np.int32) for shape in sides_of(512, 512)]
    bands[0][0, 0] = 1
    data = encode_bands(bands, first_contexts())
    found = decode_bands(data, [band.shape for band in bands], first_contexts())
    assert all(np.array_equal(a, b) for a, b in zip(bands, found, strict=True))


def test_the_rate_of_independent_bits_is_their_entropy():
    rng = np.random.default_rng(0)
    signs = np.where(rng.random((256, 256)) < 0.5, -1, 1)
    band = np.where(rng.random((256, 256)) < 0.2, signs, 0).astype(np.int32)
    data = encode_bands([band], HALVES.copy())
    entropy = -(0.2 * np.log2(0.2) + 0.8 * np.log2(0.8)) + 0.2
    assert 8 * len(data) / band.size == pytest.approx(entropy, rel=0.02)


def test_the_code_never_changes():
    bands = [np.zeros(shape, np.int32) for shape in sides_of(2, 2)]
    bands[0][0, 0], bands[1][1, 1], bands[6][3, 2] = 200, -3, 1
    assert encode_bands(bands, HALVES.copy()).hex() == "fffffce812d38ee123f804"


def test_damage_is_an_error_or_other_bands_but_never_a_crash():
    bands = make_bands(sides_of(20, 30), 0.3, 1e8)
    data = encode_bands(bands, first_contexts())
    shapes = [band.shape for band in bands]
    refused = 0
    for cut in range(0, len(data), 211):
        for broken in (data[:cut], data[:cut] + bytes([data[cut] ^ 255]) + data[cut + 1 :]):
            try:
                decode_bands(broken, shapes, first_contexts())
            except FormatError as error:
                refused += 1
                assert "damaged token stream" in str(error)  # noqa: PT017
    assert refused
