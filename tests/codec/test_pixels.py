"""Streams of tiles: exact or bounded, self-describing, and safe to decode when damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from astro_vq.codec.coders import CODERS
from astro_vq.codec.pixels import DTYPES, PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.errors import FormatError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)


def sky(shape, dtype, seed=0, smoothing=1.0, sigma=8.0):
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.normal(size=shape), smoothing)
    image = 100 + image * sigma / max(image.std(), 1e-9)
    y, x = np.indices(shape)
    image += 900 * np.exp(-((y - shape[0] / 3) ** 2 + (x - shape[1] / 2) ** 2) / 8)
    return np.rint(image).astype(dtype) if np.dtype(dtype).kind != "f" else image.astype(dtype)


def round_trip(tiles, spec, effort=5):
    shared = fit_shared(tiles, spec, effort=effort)
    streams = encode_tiles(tiles, spec, shared=shared, effort=effort)
    return decode_tiles(streams, [t.shape for t in tiles], spec, shared=shared), streams, shared


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_tiles_of_any_bits_come_back_bit_for_bit(dtype, data):
    width = np.dtype(dtype).itemsize
    tiles = [
        b.view(dtype) for b in data.draw(st.lists(hnp.arrays(f"u{width}", SHAPES), max_size=3))
    ]
    decoded, _, _ = round_trip(tiles, PixelSpec(dtype))
    assert [t.tobytes() for t in decoded] == [t.tobytes() for t in tiles]
    assert all(t.dtype == dtype for t in decoded)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 64), (33, 70), (1, 50), (50, 1), (1, 1), (7, 9), (8, 8)])
def test_sky_tiles_of_any_shape_come_back_bit_for_bit(dtype, shape):
    tile = sky(shape, "float64", smoothing=0.5).clip(0, 100).astype(dtype)
    decoded, _, _ = round_trip([tile], PixelSpec(dtype))
    assert decoded[0].tobytes() == tile.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
@pytest.mark.parametrize("bound", [0.4, 1.0, 3.0, 20.0])
def test_every_pixel_is_within_the_bound(dtype, bound):
    tiles = [sky((64, 64), dtype), sky((40, 64), dtype, 1)]
    if np.dtype(dtype).kind == "f":
        tiles[0][:20] = np.nan
        tiles[1][3, 4:9] = np.inf
        tiles[1][30, 30] = 1e30
    decoded, _, _ = round_trip(tiles, PixelSpec(dtype, bound))
    for tile, out in zip(tiles, decoded, strict=True):
        finite = np.isfinite(tile)
        assert np.abs(out[finite].astype(float) - tile[finite]).max() <= bound
        assert out[~finite].tobytes() == tile[~finite].tobytes()


def test_correlated_noise_costs_less_than_its_white_floor():
    tiles = [sky((128, 128), "int16", seed) for seed in range(4)]
    _, streams, shared = round_trip(tiles, PixelSpec("int16"))
    bits = 8 * (len(shared) + sum(map(len, streams))) / (4 * 128**2)
    white = np.log2(8) + 2.047
    assert bits < white - 0.8


def test_a_constant_tile_takes_a_few_bytes_and_so_does_one_of_nan():
    spec = PixelSpec("float32", 0.1)
    tiles = [np.full((256, 256), 3.25, np.float32), np.full((256, 256), np.nan, np.float32)]
    decoded, streams, _ = round_trip(tiles, spec)
    assert [len(s) for s in streams] == [5, 5]
    assert decoded[0].tobytes() == tiles[0].tobytes()
    assert decoded[1].tobytes() == tiles[1].tobytes()


def test_a_wide_border_of_nan_costs_almost_nothing():
    tile = sky((256, 256), "float32")
    spec = PixelSpec("float32", 1.0)
    shared = fit_shared([tile], spec)
    inner = len(encode_tiles([tile[40:200, 30:220].copy()], spec, shared=shared)[0])
    framed = np.full((256, 256), np.nan, np.float32)
    framed[40:200, 30:220] = tile[40:200, 30:220]
    assert len(encode_tiles([framed], spec, shared=shared)[0]) < inner * 1.06 + 100


def test_blank_pixels_come_back_in_place():
    tile = sky((64, 64), "int16")
    tile[10:30, 5:20] = -32768
    spec = PixelSpec("int16", 5.0, blank=-32768)
    decoded, _, _ = round_trip([tile], spec)
    np.testing.assert_array_equal(decoded[0] == -32768, tile == -32768)


def test_a_tile_decodes_alone_as_well_as_with_others():
    tiles = [sky((48, 64), "int16", seed) for seed in range(3)]
    spec = PixelSpec("int16")
    decoded, streams, shared = round_trip(tiles, spec)
    for tile, stream in zip(decoded, streams, strict=True):
        (alone,) = decode_tiles([stream], [tile.shape], spec, shared=shared)
        np.testing.assert_array_equal(alone, tile)
    one_by_one = [encode_tiles([t], spec, shared=shared)[0] for t in tiles]
    assert one_by_one == streams


def test_every_stream_begins_with_the_id_of_a_known_coder():
    tiles = [sky((64, 64), "int16"), np.zeros((4, 4), np.int16)]
    _, streams, _ = round_trip(tiles, PixelSpec("int16"))
    assert all(s[0] in CODERS for s in streams)
    assert streams[1][0] == 1


def test_an_unknown_coder_is_named():
    with pytest.raises(FormatError, match="unknown coder 250"):
        decode_tiles([b"\xfaabc"], [(2, 2)], PixelSpec("int16"))
    with pytest.raises(FormatError, match="empty"):
        decode_tiles([b""], [(2, 2)], PixelSpec("int16"))


def test_specs_survive_json_and_refuse_nonsense():
    spec = PixelSpec("int16", 2.5, -32768)
    assert PixelSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ValueError, match="float16"):
        PixelSpec("float16")
    with pytest.raises(ValueError, match="bound must be finite"):
        PixelSpec("float32", -1)
    with pytest.raises(ValueError, match="BLANK"):
        PixelSpec("float32", blank=3)


def test_wrong_tiles_are_refused():
    spec = PixelSpec("int16")
    with pytest.raises(TypeError, match="must be int16, got int32"):
        encode_tiles([np.zeros((2, 2), np.int32)], spec)
    with pytest.raises(ValueError, match="two axes"):
        encode_tiles([np.zeros(4, np.int16)], spec)
    with pytest.raises(ValueError, match="effort"):
        encode_tiles([np.zeros((2, 2), np.int16)], spec, effort=0)
    with pytest.raises(ValueError, match="1 streams but 0 shapes"):
        decode_tiles([b"\0"], [], spec)


def damaged(blob, rng):
    out = bytearray(blob)
    kind = rng.integers(3)
    if kind == 0:
        return bytes(out[: rng.integers(len(out))])
    for _ in range(rng.integers(1, 4)):
        span = min(len(out), 60) if rng.integers(2) else len(out)
        out[rng.integers(span)] = rng.integers(256)
    if kind == 2:
        at = rng.integers(len(out))
        out[at:at] = rng.bytes(rng.integers(1, 9))
    return bytes(out)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_damaged_streams_end_in_a_format_error_or_in_a_tile(dtype):
    rng = np.random.default_rng(7)
    spec = PixelSpec(dtype, 0.0 if dtype == "int16" else 0.5)
    tile = sky((32, 32), dtype)
    if dtype == "float32":
        tile[3:9] = np.nan
        tile[12, 5:9] = np.arange(4) * 1e30
    shared = fit_shared([sky((80, 80), dtype)], spec)
    good = encode_tiles([tile], spec, shared=shared)[0]
    outcomes = {True: 0, False: 0}
    for coder_id in CODERS:
        stream = bytes([coder_id]) + good[1:]
        for _ in range(150):
            in_shared = rng.integers(5) == 0
            blob = damaged(shared, rng) if in_shared else shared
            body = stream if in_shared else damaged(stream, rng)
            try:
                (out,) = decode_tiles([body], [tile.shape], spec, shared=blob)
            except FormatError:
                outcomes[False] += 1
            else:
                outcomes[True] += 1
                assert out.shape == tile.shape
                assert out.dtype == tile.dtype
    assert outcomes[False] > outcomes[True] / 4
