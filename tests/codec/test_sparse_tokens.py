"""Sparse tokens in files: rates that are asked for, tiles, blocks, sections and damage."""

import io
import threading
import time

import numpy as np
import pytest
import torch
from astropy.io import fits

import astro_vq
from astro_vq.checkpoint import load_model
from astro_vq.codec import sparse_frame, sparse_windows
from astro_vq.codec.sparse_frame import FrameEncoder
from astro_vq.codec.sparse_side import SparseSide, pack_star, unpack_star
from astro_vq.codec.sparse_windows import SparseWindowedModel
from astro_vq.codec.windows import token_size
from astro_vq.data.scaling import Scaling
from astro_vq.entropy.map_shape import MapShape
from astro_vq.errors import FormatError
from astro_vq.models.sparse_atoms import StarShape
from astro_vq.models.sparse_encoder import Quality
from astro_vq.models.token_maps import fill_map
from astro_vq.training.fit_sparse import make_piece, start_model, write_run
from astro_vq.types import TileGeometry


def sky(shape, number, *, seed=0, level=100.0, sigma=5.0):
    rng = np.random.default_rng(seed)
    image = level + sigma * rng.normal(size=shape)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    places = rng.uniform(8, np.array(shape) - 8, (number, 2))
    for (y, x), flux in zip(places, sigma * 10 ** rng.uniform(1, 2.5, number), strict=True):
        part = np.s_[max(int(y) - 9, 0) : int(y) + 10, max(int(x) - 9, 0) : int(x) + 10]
        image[part] += flux * np.exp(-((yy[part] - y) ** 2 + (xx[part] - x) ** 2) / 2 / 1.4**2)
    return image.astype(np.float32), places


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pieces = [make_piece((sky((128, 128), 6, seed=s)[0].astype(float) - 100) / 5) for s in (1, 2)]
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, start_model(pieces, dim=16, codes=32, tokens=6, seed=0), [], name="tiny")
    return folder


def pack(image, run, **options):
    file = io.BytesIO()
    result = astro_vq.compress(image, file, model=run, **options)
    file.seek(0)
    return file, result


def test_sources_come_back_and_noise_does_not(run):
    image, places = sky((200, 232), 8)
    file, result = pack(image, run, fidelity="tokens")
    with astro_vq.open(file, model=run) as opened:
        decoded = opened.data
        assert opened.tokens.shape == (12, 50, 58)
        part = opened.section[90:150, 100:170]
    np.testing.assert_allclose(part, decoded[90:150, 100:170], rtol=1e-5)
    assert 8 * result.token_bytes / image.size < 0.25
    assert decoded.std() < image.std()
    for y, x in places:
        around = np.s_[int(y) - 4 : int(y) + 6, int(x) - 4 : int(x) + 6]
        left = (decoded[around] - image[around]).sum() / (5 * 10)
        flux = (image[around] - 100).sum() / (5 * 10)
        assert abs(left) < 5 + 0.03 * abs(flux)  # sigma of the sum of a hundred pixels


def test_rates_and_qualities_are_kept(run):
    image, _ = sky((192, 192), 20)
    sizes = [pack(image, run, fidelity="tokens", quality=q)[1].token_bytes for q in (5, 20, 80)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    _, result = pack(image, run, fidelity="tokens", bits_per_pixel=0.06)
    assert 0.03 < 8 * result.token_bytes / image.size <= 0.06


def test_tokens_beside_pixels_cost_little(run):
    image, _ = sky((192, 192), 6)
    file, result = pack(image, run)
    assert result.token_bytes < 0.05 * result.pixel_bytes
    with astro_vq.open(file, model=run) as opened:
        assert opened.preview.shape == image.shape
        assert np.abs(opened.data - image).max() <= result.max_error


def test_blocks_share_the_sources_on_their_seams(run, monkeypatch):
    image, _ = sky((160, 288), 30)
    size, scaling = image.shape, Scaling(100.0, 5.0)
    model = SparseWindowedModel(load_model(run))
    pixels = (image - np.float32(100)) / np.float32(5)
    results = []
    for block in (1024, 32):
        monkeypatch.setattr(sparse_windows, "_BLOCK", block)
        maps = np.zeros((model.layer.depth, *token_size(size, 4)), np.int32)
        tokens = model.encode_frame(
            lambda ys, xs: pixels[ys, xs],
            size,
            star=StarShape(),
            noise=np.ones((1, 1)),
            quality=Quality(5.0),
        ).tokens
        fill_map(maps, tokens.rows, model.codes_per_level)
        whole = slice(0, size[0]), slice(0, size[1])
        decoded = model.decode(lambda ys, xs, m=maps: m[:, ys, xs], size, [scaling], *whole)
        results.append(np.sqrt(np.mean((decoded[0] - image) ** 2)))
    assert results[1] == pytest.approx(results[0], rel=0.05)


@pytest.mark.parametrize("kept", [2**24, 0])
def test_frames_of_several_blocks_are_as_good(run, monkeypatch, kept):
    image, places = sky((256, 320), 30)
    y, x = np.mgrid[:256, :320]
    image += (5 * 200 * np.exp(-((y - 120) ** 2 + (x - 150) ** 2) / 2 / 25**2)).astype(np.float32)
    monkeypatch.setattr(sparse_frame, "_KEPT_PIXELS", kept)
    results = []
    for block in (1024, 32):
        monkeypatch.setattr(sparse_windows, "_BLOCK", block)
        file, result = pack(image, run, fidelity="tokens", tile_size=64)
        with astro_vq.open(file, model=run) as opened:
            left = opened.data - image
        fluxes = [left[int(v) - 4 : int(v) + 5, int(u) - 4 : int(u) + 5].sum() for v, u in places]
        assert np.median(np.abs(fluxes)) < 5 * 9  # the noise of as many pixels
        results.append((result.token_bytes, left.std()))
    for one, other in zip(*results, strict=True):
        assert other == pytest.approx(one, rel=0.1)


def test_pixels_are_read_by_one_thread_at_a_time(run, monkeypatch):
    monkeypatch.setattr(sparse_frame, "_KEPT_PIXELS", 0)
    monkeypatch.setattr(sparse_windows, "_BLOCK", 32)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    image, _ = sky((256, 256), 30)
    pixels, reading = (image - np.float32(100)) / np.float32(5), threading.Lock()

    def linear(ys, xs):
        assert reading.acquire(blocking=False)
        time.sleep(0.002)
        reading.release()
        return pixels[ys, xs]

    tiles = [TileGeometry(0, y, x, 64, 64) for y in range(0, 256, 64) for x in range(0, 256, 64)]
    model = SparseWindowedModel(load_model(run))
    encoder = FrameEncoder(
        model, linear, (256, 256), tiles, star=StarShape(), noise=np.ones((1, 1))
    )
    assert len(encoder.encode(5.0).tokens.rows)


def test_missing_pixels_and_constant_images_are_no_trouble(run):
    image, _ = sky((96, 96), 3)
    image[10:40, 20:30] = np.nan
    file, _ = pack(image, run, fidelity="tokens")
    with astro_vq.open(file, model=run) as opened:
        assert np.array_equal(np.isnan(opened.data), np.isnan(image))
    file, result = pack(np.full((64, 64), 3.0, np.float32), run)
    assert result.fidelity == "lossless"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0.5}, "quality must be at least 1"),
        ({"bits_per_pixel": 0.0}, "bits_per_pixel must be above 0"),
        ({"quality": 5, "bits_per_pixel": 0.1}, "exclude each other"),
    ],
)
def test_impossible_wishes_are_refused(run, options, message):
    with pytest.raises(ValueError, match=message):
        pack(np.zeros((64, 64), np.float32), run, **options)


def test_the_record_comes_back_or_is_refused():
    shape = MapShape(6, 1024, 184, 12)
    side = SparseSide(shape, (pack_star((21, -3, 2, 1)), pack_star((0, 0, 0, 0))))
    data = side.to_bytes()
    assert SparseSide.from_bytes(data, 24, 2) == side
    assert unpack_star(side.stars[0]) == (21, -3, 2, 1)
    for broken, stacks in ((data[:-1], 2), (data + b"x", 2), (data, 3)):
        with pytest.raises(FormatError):
            SparseSide.from_bytes(broken, 24, stacks)
    with pytest.raises(FormatError, match="stars of shape"):
        sparse_windows.star_of(pack_star((21, 0, 0, 9)))


def test_frames_are_encoded_in_whatever_float_they_come(run):
    model = SparseWindowedModel(load_model(run))
    assert model.is_sparse
    assert model.map_shape == MapShape(6, 32, 184, 6)
    assert next(model.loaded.model.parameters()).dtype == torch.float32


@pytest.fixture(scope="module")
def nebula(run):
    """An image with bright light at one end, and its file of tokens, in tiles of 64 x 1024."""
    image, _ = sky((64, 1600), 4)
    y, x = np.mgrid[:64, :1600]
    image += (5 * 300 * np.exp(-((y - 30) ** 2 + (x - 70) ** 2) / 2 / 20**2)).astype(np.float32)
    file, _ = pack(image, run, fidelity="tokens", tile_size=64)
    return image, file.getvalue()


def test_detail_keeps_bright_light_and_is_drawn_in_any_section(run, nebula):
    image, packed = nebula
    with astro_vq.open(io.BytesIO(packed), model=run) as opened:
        decoded = opened.data
        part = opened.section[10:60, 30:150]
        bits = opened[0].measure_tokens()
    assert bits["detail_bytes"] > 0
    assert np.sqrt(np.mean((decoded - image) ** 2)) < 1.3 * 5
    np.testing.assert_array_equal(part, decoded[10:60, 30:150])


def test_a_tile_whose_detail_is_damaged_is_lost_with_what_its_tokens_reach(run, nebula):
    _, packed = nebula
    with astro_vq.open(io.BytesIO(packed), model=run) as opened:
        whole = opened.data
    with fits.open(io.BytesIO(packed)) as file:
        column = next(hdu for hdu in file[1:] if "TOKENS" in hdu.columns.names).data["TOKENS"]
        stream = max((row.tobytes() for row in column), key=len)
    at = packed.index(stream) + len(stream) - 2
    broken = packed[:at] + bytes([packed[at] ^ 255]) + packed[at + 1 :]
    with pytest.raises(FormatError, match="damaged"):
        astro_vq.decompress(io.BytesIO(broken), io.BytesIO(), model=run)
    target = io.BytesIO()
    result = astro_vq.decompress(io.BytesIO(broken), target, model=run, keep_going=True)
    assert len(result.damaged) == 1
    rest = fits.getdata(io.BytesIO(target.getvalue()))
    lost = np.isnan(rest).all(0)
    assert lost[:1024].all()
    assert not lost[1024 + 384 :].any()
    np.testing.assert_allclose(rest[:, ~lost], whole[:, ~lost], rtol=1e-5)
