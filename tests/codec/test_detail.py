"""The detail of tiles: errors within its step, noise left out, drawn where it is asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from astro_vq.codec.detail import (
    DetailDrawer,
    band_noises,
    count_bits,
    decode_detail,
    encode_detail,
)
from astro_vq.codec.wavelet import forward
from astro_vq.types import TileGeometry

WHITE = band_noises(np.ones((1, 1)))


def nebula(shape=(160, 192), peak=300.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (peak * np.exp(-((y - 70) ** 2 + (x - 90) ** 2) / 2 / 30**2)).astype(np.float32)


def test_noise_is_left_out_and_light_comes_back():
    noise = np.random.default_rng(0).normal(size=(160, 192)).astype(np.float32)
    stream, decoded = encode_detail(noise, 10.0, 5.0, WHITE)
    assert stream == b""
    assert not decoded.any()
    image = nebula() + noise
    stream, decoded = encode_detail(image, 10.0, 5.0, WHITE)
    np.testing.assert_array_equal(decode_detail(stream, image.shape, 10.0), decoded)
    assert np.sqrt(np.mean((decoded - nebula()) ** 2)) < 0.5
    assert 8 * len(stream) / image.size < 0.06


def test_coefficients_are_wrong_by_a_part_of_a_step():
    image = np.random.default_rng(1).normal(0, 40, (128, 128)).astype(np.float32)
    _, decoded = encode_detail(image, 3.0, 0.0, WHITE)
    for ours, theirs in zip(forward(image), forward(decoded), strict=True):
        assert np.abs(ours - theirs).max() <= 0.7 * 3 + 1e-3


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_noise_of_bands_is_that_of_frames(power):
    # noise with a Gaussian spectrum of that width, and its autocovariance
    axis = np.arange(-8, 9)
    kernel = np.exp(-(axis**2) / 4.0) if power else (axis == 0).astype(float)
    covariance = np.outer(kernel, kernel)
    rng = np.random.default_rng(2)
    full = np.zeros((512, 512))
    full[np.ix_(axis, axis)] = covariance
    spectrum = np.maximum(np.fft.fft2(full).real, 0)
    frame = np.fft.ifft2(np.fft.fft2(rng.normal(size=(512, 512))) * np.sqrt(spectrum)).real
    measured = [float(band.std()) for band in forward(frame.astype(np.float32))][-12:]
    np.testing.assert_allclose(band_noises(covariance), measured, rtol=0.12, atol=0.02)


def test_large_noise_of_coarse_bands_is_left_out_too():
    axis = np.arange(-8, 9)
    covariance = np.exp(-(axis[:, None] ** 2 + axis**2) / 18.0)
    full = np.zeros((256, 256))
    full[np.ix_(axis, axis)] = covariance
    spectrum = np.maximum(np.fft.fft2(full).real, 0)
    rng = np.random.default_rng(3)
    frame = np.fft.ifft2(np.fft.fft2(rng.normal(size=(256, 256))) * np.sqrt(spectrum)).real
    frame = frame.astype(np.float32)
    blind, _ = encode_detail(frame, 10.0, 5.0, WHITE)
    seeing, _ = encode_detail(frame, 10.0, 5.0, band_noises(covariance))
    assert len(seeing) < 0.2 * len(blind)


def test_bits_are_about_what_the_stream_takes():
    image = nebula() + np.random.default_rng(0).normal(size=(160, 192)).astype(np.float32)
    blocks = count_bits(forward(image), image.shape, 6.0)
    assert blocks.shape == (3, 3)
    assert blocks[1, 1] > blocks[2, 0]
    stream, _ = encode_detail(image, 6.0, 0.0, WHITE)
    assert blocks.sum() == pytest.approx(8 * len(stream), rel=0.4)


def test_any_rectangle_is_drawn_from_its_tiles():
    image = nebula((100, 130), 900.0)
    tiles = [
        TileGeometry(0, y, x, min(64, 100 - y), min(64, 130 - x))
        for y in (0, 64)
        for x in (0, 64, 128)
    ]
    coded = [encode_detail(np.ascontiguousarray(image[t.slices]), 5.0, 0.0, WHITE) for t in tiles]
    whole = np.zeros((100, 130))
    drawer = DetailDrawer(tiles, lambda k: coded[k][0], 5.0)
    drawer.add(whole, slice(0, 100), slice(0, 130), 2.0)
    for tile, (_, decoded) in zip(tiles, coded, strict=True):
        np.testing.assert_allclose(whole[tile.slices], 2 * decoded, rtol=1e-6)
    part = np.zeros((30, 50))
    drawer.add(part, slice(50, 80), slice(40, 90), 2.0)
    np.testing.assert_array_equal(part, whole[50:80, 40:90])


def test_several_threads_may_draw_at_once():
    rng = np.random.default_rng(6)
    tiles = [TileGeometry(0, y, x, 64, 64) for y in range(0, 256, 64) for x in range(0, 256, 64)]
    image = nebula((256, 256))
    coded = [encode_detail(image[tile.slices].copy(), 5.0, 5.0, WHITE) for tile in tiles]
    whole = np.zeros_like(image)
    for tile, (_, decoded) in zip(tiles, coded, strict=True):
        whole[tile.slices] = decoded
    drawer = DetailDrawer(tiles, lambda k: coded[k][0], 5.0)
    corners = [(int(y), int(x)) for y, x in rng.integers(0, 180, (60, 2))]

    def draw(corner):
        y, x = corner
        out = np.zeros((70, 70), np.float32)
        drawer.add(out, slice(y, y + 70), slice(x, x + 70), 1.0)
        return np.array_equal(out, whole[y : y + 70, x : x + 70])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(draw, corners))
