"""The description of the format is enough for a reader: another one, written from it, agrees."""

import ast
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_vq
from astro_vq.codec.pixels import PixelSpec, encode_tiles, fit_shared

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"


def load_reader():
    spec = importlib.util.spec_from_file_location("independent", HERE / "independent_reader.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READER = load_reader()


def sky(rows=24, columns=30):
    rng = np.random.default_rng(5)
    ys, xs = np.mgrid[:rows, :columns]
    noise = rng.normal(200, 4, (rows, columns))
    return noise + 30000 / (3 + (ys - 9) ** 2 + (xs - 12) ** 2)


def holes():
    image = sky().astype("f4")
    image[4:6, 3:20] = np.nan
    image.view("u4")[10, 10] = 0x7FA00001  # a signalling NaN
    image[20, 4] = np.inf
    return image


def pack(image, **choices):
    packed = io.BytesIO()
    hdus = fits.HDUList([fits.PrimaryHDU(image)])
    file = io.BytesIO()
    hdus.writeto(file)
    file.seek(0)
    astro_vq.compress(file, packed, tokens=False, **choices)
    return packed.getvalue()


def decoded(packed):
    """Return the pixels of the first HDU as astro-vq restores them, as bytes."""
    target = io.BytesIO()
    astro_vq.decompress(io.BytesIO(packed), target)
    with fits.open(io.BytesIO(target.getvalue()), do_not_scale_image_data=True) as hdus:
        start = hdus.fileinfo(0)["datLoc"]
        size = hdus[0].data.nbytes
    return target.getvalue()[start : start + size]


def coder_of(packed):
    hdu = READER.split_file(packed)[1]
    return hdu.data[int(hdu.value("NAXIS1")) * int(hdu.value("NAXIS2"))] % 32


def test_the_other_reader_shares_no_code():
    tree = ast.parse((HERE / "independent_reader.py").read_text())
    names = [n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.startswith("astro_vq")]


@pytest.mark.parametrize(
    ("image", "choices", "coders"),
    [
        (sky().astype("i2"), {"fidelity": "lossless"}, {10, 11}),
        (sky().astype("i2"), {"max_error": 2.0}, {10, 11}),
        (sky().astype("f4"), {"max_error": 0.5}, {10, 11}),
        (holes(), {"max_error": 0.5}, {10, 11}),
        (sky(), {"max_error": 1e-4}, {4, 7, 10, 11}),
        ((sky(16, 16) * 1e5).astype("i4"), {"fidelity": "lossless"}, {4, 7, 10, 11}),
        ((sky(72, 72) + 2.0**20) - 2.0**20 - 200, {"fidelity": "lossless"}, {10, 11}),
        ((sky(72, 72) + 8e3).astype("f4") - np.float32(8200), {"fidelity": "lossless"}, {10, 11}),
        (sky().astype("u2") % 50, {"max_error": 3, "non_negative": True}, {4, 7, 10, 11}),
        (holes(), {"max_error": 2.0, "non_negative": True}, {10, 11}),
        (holes(), {"max_error": 0.5, "dither": 3}, {10, 11}),
        (sky(72, 72) - 198, {"max_error": 20.0}, {10, 11}),
        (sky(72, 72).astype("f4"), {"max_error": 9.0}, {10, 11}),
        (
            sky(80, 64).astype("f4"),
            {"max_error": 4.0, "dither": 2**32 - 1, "tile_size": 32},
            {10, 11},
        ),
        (sky(80, 64).clip(198) - 198, {"max_error": 6.0, "non_negative": True}, {10, 11}),
    ],
)
def test_the_other_reader_gets_the_same_pixels(image, choices, coders):
    packed = pack(image, **choices)
    assert coder_of(packed) in coders
    assert READER.read_images(packed)[0].tobytes() == decoded(packed)


@pytest.mark.parametrize("name", ["several-lossless", "several-max-error"])
def test_golden_files_are_read_alike(name):
    path = GOLDEN / f"{name}.avq"
    target = io.BytesIO()
    astro_vq.decompress(path, target)
    hdus = READER.split_file(target.getvalue()[: -len(b"bytes behind the end")])
    compared = 0
    for index, hdu in enumerate(READER.split_file(path.read_bytes())[1:]):
        if hdu.value("AVQTILE", "") == "":
            continue
        try:
            pixels = READER.read_image(hdu)
        except AssertionError as err:  # coders of before the first release
            assert str(err) in ("coder 6", "coder 2", "mapping 5")  # noqa: PT017
            continue
        assert pixels.tobytes() == hdus[index].data[: pixels.nbytes]
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize(
    ("tile", "spec"),
    [
        (sky().astype("i2"), PixelSpec("int16")),
        (holes(), PixelSpec("float32", 0.5)),
        ((np.rint(sky() / 20) * 0.7).astype("f4"), PixelSpec("float32")),
        (np.full((5, 6), 7, "u1"), PixelSpec("uint8")),
        (np.random.default_rng(0).integers(0, 2**62, (8, 8)), PixelSpec("int64")),
    ],
)
def test_streams_of_every_coder_are_read_alike(tile, spec):
    from astro_vq.codec.coders import MAPPED_CODERS, WHOLE_TILE_CODERS
    from astro_vq.codec.mappings.default import default_mapping
    from astro_vq.codec.mappings.mapping import SPLIT
    from astro_vq.codec.pixels import decode_tiles
    from astro_vq.codec.quantize import quantize_tile
    from astro_vq.codec.shared import Shared

    blob = fit_shared([tile], spec, effort=9)
    side = Shared.from_bytes(blob)
    if side.mapping and side.mapping.kind == SPLIT:
        blob, side = b"", Shared()
    mapping = side.mapping or default_mapping(tile, spec.bound)
    quantized = [quantize_tile(tile, spec.bound, mapping)]
    streams = [(c.id, c.encode([tile], 5)[0]) for c in WHOLE_TILE_CODERS]
    streams += [
        (c.id, c.encode_quantized(quantized, [mapping], side, 5)[0])
        for c in MAPPED_CODERS
        if c.id != 8
    ]
    short = tile.dtype.str[1:]
    for number, body in streams:
        if body is not None:
            stream = bytes([number]) + body
            (due,) = decode_tiles([stream], [tile.shape], spec, shared=blob)
            found = READER.read_tile(stream, tile.shape, short, READER.read_shared(blob))
            assert found.tobytes() == due.tobytes(), number


def test_a_spike_and_two_sets_of_forty_weights_are_read_alike():
    from astro_vq.codec.coders import MAPPED_CODERS
    from astro_vq.codec.mappings.mapping import IDENTITY, Mapping
    from astro_vq.codec.mixed import ImageModel
    from astro_vq.codec.quantize import quantize_tile
    from astro_vq.codec.shared import Shared
    from astro_vq.entropy.mixing import Mixing, default_mixing

    tile = np.where(sky() > 201, sky(), 7).astype("i2")
    taps = np.zeros((2, 41), np.int64)
    taps[0, [0, 30, 40]] = 2**13, 2**12, 2**12
    taps[1, [1, 2, 7, 40]] = 3 * 2**12, 2**12, -(2**10), 2**10
    mixing = Mixing(taps, default_mixing().width, np.array([290]), 5 << 12)
    side = Shared(mixing=ImageModel(mixing, 190, 7).to_bytes())
    mapping = Mapping(IDENTITY)
    (coder,) = (coder for coder in MAPPED_CODERS if coder.id == 10)
    (body,) = coder.encode_quantized([quantize_tile(tile, 0, mapping)], [mapping], side, 5)
    found = READER.read_tile(b"\n" + body, tile.shape, "i2", READER.read_shared(side.to_bytes()))
    assert found.tobytes() == tile.tobytes()


def test_the_smallest_stream_of_a_palette_is_read():
    tile = (np.rint(sky(16, 16) / 20) * 0.7).astype("f4")
    spec = PixelSpec("float32")
    blob = fit_shared([tile], spec)
    (stream,) = encode_tiles([tile], spec, shared=blob)
    found = READER.read_tile(stream, tile.shape, "f4", READER.read_shared(blob))
    assert found.tobytes() == tile.tobytes()
