"""Hidden structure is found: few levels, transformed plates, outliers."""

import numpy as np
import pytest

from astro_vq.codec.mappings.mapping import PALETTE, SPLIT
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.shared import Shared


def size_and_mapping(image, spec):
    shared = fit_shared([image], spec)
    streams = encode_tiles([image], spec, shared=shared)
    (decoded,) = decode_tiles(streams, [image.shape], spec, shared=shared)
    if spec.is_lossless:
        assert decoded.tobytes() == image.tobytes()
    mapping = Shared.from_bytes(shared).mapping
    return len(shared) + len(streams[0]), mapping and mapping.kind


def test_floats_of_few_levels_are_coded_as_ranks():
    counts = np.random.default_rng(0).poisson(30, (96, 96))
    image = (np.sinh(counts / 10) * 0.37).astype(np.float32)
    size, kind = size_and_mapping(image, PixelSpec("float32"))
    assert kind == PALETTE
    entropy = 0.5 * np.log2(2 * np.pi * np.e * 30) / 8
    assert size < entropy * image.size * 1.1 + 300


def test_integers_with_missing_levels_are_coded_as_ranks():
    image = (np.random.default_rng(0).poisson(30, (96, 96)) * 7 + 3).astype(np.int16)
    size, kind = size_and_mapping(image, PixelSpec("int16"))
    assert kind == PALETTE
    assert size < 4.75 / 8 * image.size


def test_floats_of_a_noisy_sky_are_split():
    noise = np.random.default_rng(0).normal(0, 5, (96, 97))
    image = (1000 + noise[:, 1:]).astype(np.float32)
    size, _ = size_and_mapping(image, PixelSpec("float32"))
    floor = np.log2(5 / np.spacing(np.float32(900))) + 2.047
    assert size < image.size * (floor + 0.25) / 8
    # neighbours that share noise can be predicted, which plain coders do not
    image = (1000 + noise[:, 1:] + noise[:, :-1] / 2).astype(np.float32)
    size, kind = size_and_mapping(image, PixelSpec("float32"))
    assert kind == SPLIT
    assert size < image.size * (floor + 0.25) / 8  # the innovations are those of the noise


def test_images_that_were_transformed_and_rounded_are_coded_by_differences():
    rng = np.random.default_rng(0)
    steps = rng.choice([0, 0, 0, 0, 363, -363], (96, 96))
    image = (np.cumsum(np.cumsum(steps, axis=0), axis=1) % 20000).astype(np.int16)
    size, _ = size_and_mapping(image, PixelSpec("int16"))
    assert size < image.size * 2.2 / 8


@pytest.mark.parametrize("value", [1e30, -3e12])
def test_a_few_outliers_do_not_spoil_their_tile(value):
    image = np.random.default_rng(0).normal(0, 1, (96, 96)).astype(np.float32)
    spec = PixelSpec("float32", 0.1)
    clean, _ = size_and_mapping(image, spec)
    image[5, 7] = image[60, 60] = value
    spoilt, _ = size_and_mapping(image, spec)
    assert spoilt < clean + 80
