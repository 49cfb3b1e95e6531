"""Previews: the model's mean at every fidelity, and scaled down."""

import io

import numpy as np
import pytest

import astro_vq
from astro_vq.codec.preview import average_blocks


def opened(image, **choices):
    packed = io.BytesIO()
    astro_vq.compress(image, packed, device="cpu", **choices)
    packed.seek(0)
    return astro_vq.open(packed)


def pixels(*shape):
    return np.random.default_rng(3).normal(100, 5, shape).astype(np.float32)


def test_it_is_the_same_at_every_fidelity_and_what_a_tokens_file_decodes_to():
    image = pixels(30, 41)
    tokens = opened(image, fidelity="tokens")
    np.testing.assert_array_equal(tokens.preview, tokens.data)
    for choices in ({"fidelity": "lossless"}, {"max_error": 0.5}):
        np.testing.assert_array_equal(opened(image, **choices).preview, tokens.preview)


@pytest.mark.parametrize("shape", [(30, 41), (2, 16, 25), (40,)])
def test_scaled_down_it_is_the_mean_of_blocks(shape, monkeypatch):
    file = opened(pixels(*shape), fidelity="tokens")
    whole = file.preview
    assert whole.shape == shape
    monkeypatch.setattr("astro_vq.codec.preview._STRIP_PIXELS", 200)
    for side in (1, 4, 7, 64):
        small = file.read_preview(side)
        axes = [-(-length // side) for length in shape[-2:]]
        assert small.shape == (*shape[:-2], *axes)
        corner = (..., *(slice(0, side) for _ in axes))
        first = small[(..., *(0 for _ in axes))]
        expected = whole[corner].astype(np.float64).mean(axis=tuple(range(-len(axes), 0)))
        np.testing.assert_allclose(first, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="cannot be shrunk by 0"):
        file.read_preview(0)


def test_blocks_at_the_edges_are_averaged_over_what_they_hold():
    values = np.arange(15.0).reshape(3, 5)
    expected = [[values[y : y + 2, x : x + 2].mean() for x in (0, 2, 4)] for y in (0, 2)]
    np.testing.assert_allclose(average_blocks(values, 2), expected)
