"""Images that were fpacked come back as funpack gives them, from fewer bytes."""

import base64
import hashlib
import io
import json
import warnings
from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits

import astro_vq
from astro_vq.codec.hidden_grid import HiddenGrid
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.planes import Plane
from astro_vq.codec.shared import Shared
from astro_vq.codec.transformed import TransformedPlanes, fit_transform
from astro_vq.errors import FormatError

GOLDEN = Path(__file__).parents[1] / "golden" / "fpacked_streams.json"
TRANSFORMED = 8


def sky(shape=(80, 90), seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(100, 3, shape) + 3000 * np.exp(-((y - 60) ** 2 + (x - 40) ** 2) / 8)
    return image.astype("f4")


def holed(image):
    image = image.copy()
    image[10:13, 20:60] = np.nan
    image[70] = 0
    image[50:60, 7] = 0
    return image


def fpacked(path, image, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.CompImageHDU(image, **options).writeto(path, overwrite=True)
    return path


def data_bytes(path):
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
        return header["NAXIS1"] * header["NAXIS2"] + header["PCOUNT"]


def recoded(path, **options):
    """Return result and pixels of a file that was compressed and decompressed."""
    out, back = io.BytesIO(), io.BytesIO()
    result = astro_vq.compress(path, out, tokens=False, effort=2, **options)
    out.seek(0)
    astro_vq.decompress(out, back)
    back.seek(0)
    with fits.open(back) as hdus:
        return result, hdus[1].data.astype("f4")


@pytest.mark.parametrize(
    ("kind", "tile", "loss", "method"),
    [
        ("RICE_1", (1, 90), 0, -1),
        ("RICE_1", (1, 90), 0, 1),
        ("GZIP_2", (32, 40), 0, 2),
        ("HCOMPRESS_1", (16, 90), 2, 1),
        ("HCOMPRESS_1", (16, 90), 2, -1),
        ("HCOMPRESS_1", (16, 90), 0, 2),
    ],
)
def test_lossless_is_what_funpack_gives(tmp_path, kind, tile, loss, method):
    image = sky() if kind == "HCOMPRESS_1" else holed(sky())
    options = {"hcomp_scale": loss} if kind == "HCOMPRESS_1" else {}
    path = fpacked(
        tmp_path / "a.fits",
        image,
        compression_type=kind,
        tile_shape=tile,
        quantize_method=method,
        quantize_level=4,
        dither_seed=77,
        **options,
    )
    result, pixels = recoded(path, fidelity="lossless")
    wanted = fitsio.read(str(path), ext=1)
    np.testing.assert_array_equal(pixels, wanted)
    with fits.open(path) as hdus:
        assert pixels.tobytes() == hdus[1].data.astype("f4").tobytes()
    assert result.pixel_bytes < 0.93 * data_bytes(path)


def test_a_bound_finer_than_the_steps_costs_no_more_than_lossless(tmp_path):
    path = fpacked(tmp_path / "a.fits", sky(), quantize_level=4, tile_shape=(1, 90))
    lossless, wanted = recoded(path, fidelity="lossless")
    bounded, pixels = recoded(path, max_error=0.05)
    np.testing.assert_array_equal(pixels, wanted)
    assert bounded.pixel_bytes <= 1.01 * lossless.pixel_bytes


def test_a_bound_of_several_steps_holds(tmp_path):
    image = holed(sky())
    path = fpacked(
        tmp_path / "a.fits", image, quantize_level=40, tile_shape=(1, 90), quantize_method=2
    )
    _, wanted = recoded(path, fidelity="lossless")
    _, pixels = recoded(path, max_error=0.25)
    there = np.isfinite(wanted)
    assert np.abs(pixels[there].astype(float) - wanted[there]).max() <= 0.25
    assert pixels[~there].tobytes() == wanted[~there].tobytes()
    np.testing.assert_array_equal(pixels == 0, wanted == 0)


def transformed(shape=(96, 112), scale=6, seed=3):
    """Return integers as HCOMPRESS with loss leaves them."""
    rng = np.random.default_rng(seed)
    image = rng.normal(300, 4, shape).round().astype("i4")
    image[30:34, 40:44] += 900
    hdu = fits.CompImageHDU(
        image, compression_type="HCOMPRESS_1", hcomp_scale=scale, tile_shape=shape
    )
    file = io.BytesIO()
    hdu.writeto(file)
    file.seek(0)
    with fits.open(file) as hdus:
        return hdus[1].data.astype(np.int64)


@pytest.mark.parametrize("cut", [(0, 0), (1, 0), (3, 2), (5, 7)])
def test_planes_of_hcompress_come_back_from_few_bits(cut):
    indices = transformed()[cut[0] :, cut[1] :]
    indices[40, 50] += 1  # a stray
    mask = np.zeros(indices.shape, bool)
    mask[60, 10:20] = True
    plane = Plane(indices, mask)
    shared = Shared(bands=fit_transform([plane]))
    assert Shared.from_bytes(shared.to_bytes()) == shared
    (payload,) = TransformedPlanes().encode([plane], shared, 5)
    (decoded,) = TransformedPlanes().decode([payload], [mask], shared)
    np.testing.assert_array_equal(decoded[~mask], indices[~mask])
    assert 8 * len(payload) < 2.9 * indices.size  # differences need 4 bit/pixel


def test_planes_without_transform_are_refused():
    noise = np.random.default_rng(0).integers(0, 50, (64, 64))
    plane = Plane(noise, np.zeros(noise.shape, bool))
    assert fit_transform([plane]) == b""
    bands = fit_transform([Plane(transformed(), np.zeros((96, 112), bool))])
    assert TransformedPlanes().encode([plane], Shared(bands=bands), 5) == [None]


def test_damaged_details_are_refused_or_come_out_as_something():
    indices = transformed((48, 48))
    mask = np.zeros(indices.shape, bool)
    shared = Shared(bands=fit_transform([Plane(indices, mask)]))
    (payload,) = TransformedPlanes().encode([Plane(indices, mask)], shared, 5)
    rng = np.random.default_rng(1)
    for i in range(80):
        broken = bytearray(payload)
        at = i if i < 40 else int(rng.integers(len(broken)))
        broken[at] ^= int(rng.integers(1, 256))
        try:
            (out,) = TransformedPlanes().decode([bytes(broken)], [mask], shared)
        except FormatError:
            continue
        assert out.shape == mask.shape


def golden_cases():
    """Tiles that never change: from integer arithmetic and one rounding each."""
    from astro_vq.codec.haar import Level, join_level

    y, x = np.mgrid[:40, :40]
    total = 4 * (100 + (y * 7 + x * 5) % 9) + 8 * (y // 8)
    details = [8 * (((y * a + x * b) ** 2 >> 3) % 5 - 2) for a, b in ((3, 5), (7, 2), (1, 6))]
    integers = join_level(Level(total, *details), 0)
    scale = (1 + np.arange(80) % 3 / 8) * 0.1
    grid = HiddenGrid(80, 90, (1, 90), (0, 0), 1, 99, scale, np.full(80, -2.0) * scale, 5.0)
    on_grid = grid.steps(0, 10, (80, 80)).values(integers // 40).astype("f4")
    on_grid[3, 4] = np.nan
    return {
        "transformed": (integers.astype("i4"), PixelSpec("int32"), None),
        "hidden": (on_grid, PixelSpec("float32"), grid),
    }


def digest(tile):
    return hashlib.sha256(tile.astype(tile.dtype.newbyteorder("<")).tobytes()).hexdigest()


def write_golden():
    """Make the file anew: only ever together with a new version of the format."""
    rows = []
    for name, (tile, spec, grid) in golden_cases().items():
        shared = fit_shared([tile], spec, grid=grid, places=[(0, 10)])
        (stream,) = encode_tiles([tile], spec, shared=shared, places=[(0, 10)])
        texts = {
            key: base64.b64encode(value).decode()
            for key, value in (("shared", shared), ("stream", stream))
        }
        rows.append({"name": name, **texts, "sha256": digest(tile)})
    GOLDEN.write_text(json.dumps(rows, indent=0))


@pytest.mark.parametrize("row", json.loads(GOLDEN.read_text()) if GOLDEN.exists() else [])
def test_golden_streams_decode_to_the_same_bits(row):
    tile, spec, _ = golden_cases()[row["name"]]
    stream, shared = (base64.b64decode(row[key]) for key in ("stream", "shared"))
    (decoded,) = decode_tiles([stream], [tile.shape], spec, shared=shared)
    assert digest(decoded) == row["sha256"]
    assert decoded.tobytes() == tile.tobytes()


def test_golden_streams_cover_the_coder_of_details():
    streams = {r["name"]: base64.b64decode(r["stream"]) for r in json.loads(GOLDEN.read_text())}
    assert streams["transformed"][0] == TRANSFORMED
    assert {"transformed", "hidden"} <= set(streams)
