"""Kinds of images that are unlike a noisy sky: what they may cost, and that they come back."""

import io

import numpy as np
import pytest
from astropy.io import fits

import astro_vq
from astro_vq.codec.pixels import DTYPES, PixelSpec, decode_tiles, encode_tiles, fit_shared


def coded_size(tiles, bound=0.0):
    """Return the bytes of tiles with what they share, after a checked round trip."""
    spec = PixelSpec(tiles[0].dtype.name, bound)
    shared = fit_shared(tiles, spec)
    streams = encode_tiles(tiles, spec, shared=shared)
    decoded = decode_tiles(streams, [tile.shape for tile in tiles], spec, shared=shared)
    for tile, found in zip(tiles, decoded, strict=True):
        if bound:
            assert np.abs(found.astype(float) - tile).max() <= bound
        else:
            assert found.tobytes() == tile.tobytes()
    return len(shared) + sum(map(len, streams))


def entropy_bits(p):
    p = np.asarray(p)[np.asarray(p) > 0]
    return float(-(p * np.log2(p)).sum())


def smooth_noise(rng, shape, sigma=5.0):
    noise = rng.normal(0, sigma, (shape[0] + 1, shape[1] + 1))
    return noise[1:, 1:] + 0.6 * noise[1:, :-1] + 0.6 * noise[:-1, 1:] + 0.36 * noise[:-1, :-1]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_masks_of_few_values_cost_their_borders_only(dtype):
    ys, xs = np.mgrid[:128, :128]
    mask = np.zeros((128, 128), dtype)
    for y, x, r, bit in ((30, 40, 9, 1), (90, 80, 25, 4), (60, 100, 14, 64)):
        mask[(ys - y) ** 2 + (xs - x) ** 2 < r * r] |= bit
    mask[:, 70] |= 2
    assert coded_size([mask]) < 0.06 / 8 * mask.size + 150


@pytest.mark.parametrize("share", [0.002, 0.03, 0.3])
def test_counts_that_are_mostly_zero_cost_about_their_entropy(share):
    counts = np.random.default_rng(0).poisson(share, (160, 160)).astype(np.int16)
    frequencies = np.bincount(counts.ravel()) / counts.size
    assert coded_size([counts]) < 1.06 * entropy_bits(frequencies) / 8 * counts.size + 60


@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_and_ramps_cost_next_to_nothing(dtype):
    ys, xs = np.mgrid[:96, :96]
    constant = np.full((96, 96), 77, dtype)
    ramp = (ys + xs // 4).astype(dtype)
    assert coded_size([constant]) <= 16
    assert coded_size([ramp]) < 400


def test_stars_that_are_saturated_cost_no_more_than_the_rest():
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[:160, :160]
    image = rng.normal(300, 5, (160, 160))
    for y, x in rng.uniform(10, 150, (12, 2)):
        image += 4e5 / (1 + ((ys - y) ** 2 + (xs - x) ** 2) / 4) ** 2.5
    clipped = np.clip(image, 0, 4000).astype(np.int16)
    assert (clipped == 4000).sum() > 300
    assert coded_size([clipped]) < coded_size([image.astype(np.int32)])


@pytest.mark.parametrize("dtype", [name for name in DTYPES if "int" in name])
def test_integers_of_the_full_range_come_back(dtype):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    noise = rng.integers(info.min, info.max, (40, 60), dtype, endpoint=True)
    low, high = np.array([info.min, info.max], dtype)
    halves = np.where(np.arange(60) % 30 < 15, low, high) * np.ones((40, 1), dtype)
    near = halves.copy()
    near[noise % 5 == 0] ^= np.array(1, dtype)
    assert coded_size([noise]) < noise.nbytes + 30
    assert coded_size([halves]) < 120
    assert coded_size([near]) < noise.nbytes / 2
    file = io.BytesIO()
    astro_vq.compress(fits.PrimaryHDU(near), file, tokens=False)
    file.seek(0)
    with astro_vq.open(file) as opened:
        assert opened.data.dtype == near.dtype
        np.testing.assert_array_equal(opened.data, near)


@pytest.mark.parametrize("shape", [(1, 1), (1, 63), (63, 1), (2, 2), (5, 7), (3, 400), (20, 50)])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_the_smallest_images_come_back_and_cost_no_more_than_they_did(shape, dtype):
    image = np.random.default_rng(2).normal(100, 9, shape).astype(dtype)
    assert coded_size([image]) <= image.nbytes + 1
    if dtype == "float32":
        coded_size([image], 3.0)


def test_what_is_fitted_pays_for_images_of_less_than_64_pixels_a_side():
    image = np.rint(smooth_noise(np.random.default_rng(4), (48, 48))).astype(np.int16)
    spec = PixelSpec("int16")
    alone = len(encode_tiles([image], spec)[0])  # without anything fitted
    assert coded_size([image]) < 0.98 * alone


def test_cutouts_of_a_stack_share_what_is_fitted():
    rng = np.random.default_rng(5)
    stack = [smooth_noise(rng, (24, 24)).astype(np.float32) + np.float32(100) for _ in range(24)]
    together = coded_size(stack, 1.0)
    apart = sum(coded_size([cutout], 1.0) for cutout in stack)
    assert together < 0.95 * apart
    cube, file = np.stack(stack), io.BytesIO()
    result = astro_vq.compress(cube, file, max_error=1.0, tokens=False, verify=True)
    assert result.hdus[0]["tiles"] == 24
    assert result.pixel_bytes < 1.02 * together
