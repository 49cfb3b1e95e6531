"""What the fuzzer feeds: each target makes inputs from a seed and takes them.

A target raises `AstroVQError` for what it refuses; anything else that it raises is a fault, and
so are wrong pixels (`WrongError`).
"""

import base64
import io
import json
import random
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from astropy.io import fits
from inputs import mutate, mutate_cards, mutate_safetensors, mutate_value

import astro_vq
from astro_vq import config
from astro_vq.codec import coders, container, pixels, shared
from astro_vq.codec.array_bytes import decode_array, encode_array
from astro_vq.codec.edit_header import update_checksums
from astro_vq.codec.header import restore_header
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.quantize import quantize_tile
from astro_vq.codec.stored import StoredFile
from astro_vq.io.byte_source import FileObject
from astro_vq.io.checksum import sum_bytes
from astro_vq.io.hdf5 import open_hdf5

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MAX_PIXELS = 2**20
Target = Callable[[random.Random], None]


class WrongError(AssertionError):
    """Something came out that should not have."""


class Stream(NamedTuple):
    stream: bytes
    shared: bytes
    shape: tuple[int, int]
    spec: pixels.PixelSpec


def _tiles() -> list[tuple[np.ndarray, pixels.PixelSpec]]:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:20, :18]
    sky = rng.normal(100, 5, ys.shape) + 3000 / (4 + (ys - 7) ** 2 + (xs - 9) ** 2)
    holes = sky.astype("f4")
    holes[3:5, 2:9] = np.nan
    spiky = np.where(sky > 100, sky, 0)
    made: list[tuple[np.ndarray, pixels.PixelSpec]] = [
        (sky.astype("i2"), pixels.PixelSpec("int16")),
        (sky.astype("i2"), pixels.PixelSpec("int16", 3.0, blank=100)),
        (holes, pixels.PixelSpec("float32", 0.5)),
        (holes, pixels.PixelSpec("float32")),
        (sky, pixels.PixelSpec("float64", 1e-3)),
        ((sky * 1e15).astype("u8"), pixels.PixelSpec("uint64")),
        (np.tile(spiky, (4, 4)).astype("i2"), pixels.PixelSpec("int16")),
        (np.rint(sky / 9).astype("f4") * 9, pixels.PixelSpec("float32")),
        (np.full((3, 4), 5, "u1"), pixels.PixelSpec("uint8")),
        (np.maximum(sky - 100, 0).astype("f4"), pixels.PixelSpec("float32", 0.5, floor=0)),
        (sky.astype("u1"), pixels.PixelSpec("uint8", 3.0, floor=0)),
        (sky.astype("f4"), pixels.PixelSpec("float32", 4.0, dither=7)),
    ]
    return made


@cache
def streams() -> list[Stream]:
    """Return a stream of every coder for tiles of several types, and the golden ones."""
    found = []
    for tile, spec in _tiles():
        for effort in (4, 9):
            blob = pixels.fit_shared([tile], spec, effort=effort)
            side = shared.Shared.from_bytes(blob)
            choices = {"floor": spec.floor, "dither": spec.dither}
            mapping = side.mapping or default_mapping(tile, spec.bound, **choices)
            quantized = [quantize_tile(tile, spec.bound, mapping, blank=spec.blank)]
            coded = [(c.id, c.encode([tile], effort)[0]) for c in coders.WHOLE_TILE_CODERS]
            coded += [
                (c.id, c.encode_quantized(quantized, [mapping], side, effort)[0])
                for c in coders.MAPPED_CODERS
            ]
            found += [
                Stream(bytes([i]) + s, blob, tile.shape, spec) for i, s in coded if s is not None
            ]
    golden = {"integers": ("int16", 0.0, -1), "bounded": ("float32", 0.25, None)}
    for row in json.loads((GOLDEN / "pixel_streams.json").read_text()):
        if row["name"] in golden and len(row["stream"]) < 12000:
            stream, blob = (base64.b64decode(row[k]) for k in ("stream", "shared"))
            found.append(Stream(stream, blob, (64, 64), pixels.PixelSpec(*golden[row["name"]])))
    for row in json.loads((GOLDEN / "mappings.json").read_text()):
        stream, blob = (base64.b64decode(row[k]) for k in ("stream", "shared"))
        spec = pixels.PixelSpec(row["dtype"], row["bound"])
        found.append(Stream(stream, blob, tuple(row["shape"]), spec))
    for row in json.loads((GOLDEN / "fpacked_streams.json").read_text()):
        if "shape" in row and "spec" in row:
            stream, blob = (base64.b64decode(row[k]) for k in ("stream", "shared"))
            spec = pixels.PixelSpec.from_dict(row["spec"])
            found.append(Stream(stream, blob, tuple(row["shape"]), spec))
    return found


def fuzz_streams(rng: random.Random) -> None:
    """Pixel streams and what they share, without any CRC before them."""
    start = rng.choice(streams())
    other = rng.choice(streams())
    stream, blob, shape = start.stream, start.shared, start.shape
    kind = rng.randrange(5)
    if kind < 3:
        head = rng.choice((1, 1, 2, 12))  # the coder's number stays
        stream = stream[:head] + mutate(rng, stream[head:], other.stream)
    if kind in (2, 3):
        blob = mutate(rng, blob, other.shared)
    if kind == 4:
        shape = rng.choice([(1, 1), (shape[1], shape[0]), (1, 400), (300, 2), (64, 64)])
        blob = rng.choice((blob, other.shared, b""))
    (tile,) = pixels.decode_tiles([stream], [shape], start.spec, shared=blob)
    if tile.shape != shape or tile.dtype != np.dtype(start.spec.dtype):
        raise WrongError(f"{tile.dtype} {tile.shape} came out")


@cache
def original() -> bytes:
    """Return a small FITS file of several kinds of HDUs."""
    rng = np.random.default_rng(1)
    header = fits.Header()
    header["OBJECT"] = "M31"
    header["lowercas"] = 1
    table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(9))])
    hdus = [
        fits.PrimaryHDU(rng.normal(100, 4, (40, 24)).astype("f4"), header),
        fits.ImageHDU(rng.integers(0, 60, (2, 20, 20)).astype("i2"), name="CTS"),
        table,
    ]
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file)
    return file.getvalue().replace(b"LOWERCAS", b"lowercas") + b"something behind"


@cache
def packed() -> bytes:
    """Return it compressed, without loss."""
    file = io.BytesIO()
    choices: dict[str, Any] = {"fidelity": "lossless", "tokens": False, "tile_size": 16}
    astro_vq.compress(io.BytesIO(original()), file, **choices)
    return file.getvalue()


def unpack(content: bytes, *, keep_going: bool) -> tuple[bytes, bool]:
    """Return what comes out and whether it is said to be whole."""
    target = io.BytesIO()
    result = astro_vq.decompress(
        io.BytesIO(content), target, keep_going=keep_going, max_pixels=MAX_PIXELS
    )
    return target.getvalue(), result.ok


def fuzz_files(rng: random.Random) -> None:
    """Whole files: what comes out is the original, or something is said.

    A table that is no image is kept as it was and has its DATASUM alone, which cannot tell four
    bytes of zeros from four of ones; that is no fault here.
    """
    content = mutate(rng, packed(), original())
    back, whole = unpack(content, keep_going=rng.random() < 0.5)
    start = original().index(b"XTENSION= 'BINTABLE'") + 2880
    table = slice(start, start + 2880)
    unseen = sum_bytes(back[table]) == sum_bytes(original()[table])
    if unseen:
        back = back[:start] + original()[table] + back[start + 2880 :]
    if whole and back != original():
        raise WrongError("other bytes came out, and nothing was said")


def _places() -> list[tuple[int, int, int]]:
    """Return start and length of each header, and the DATASUM of its HDU."""
    file = StoredFile(FileObject(io.BytesIO(packed()), "x.avq"))
    first = packed().index(b"XTENSION")
    places = [(0, first, 0)]
    for hdu in [*file.hdus, *file.extras.values()]:
        size = len(hdu.header)
        places.append((hdu.offset - size, size, int(hdu.keywords.text("DATASUM"))))
    return places


def fuzz_headers(rng: random.Random) -> None:
    """Headers that say something else, with a right checksum."""
    start, size, data_sum = rng.choice(_places())
    header = packed()[start : start + size]
    for _ in range(rng.choice((1, 1, 2, 3))):
        header = mutate_cards(rng, header)
    content = packed()[:start] + update_checksums(header, data_sum) + packed()[start + size :]
    if rng.random() < 0.3:
        with astro_vq.open(io.BytesIO(content), max_pixels=MAX_PIXELS) as file:
            file.info()
            _ = [hdu.data for hdu in file if hdu.is_image]
    else:
        unpack(content, keep_going=rng.random() < 0.5)


def fuzz_sealed(rng: random.Random) -> None:
    """Streams and side information in a file, whose CRC is right although they are not."""
    file = StoredFile(FileObject(io.BytesIO(packed()), "x.avq"))
    hdu = file.hdus[rng.randrange(2)]
    layout = container.Layout(tokens=False, wide=False)
    count = hdu.keywords.integer("NAXIS2")
    rows = np.frombuffer(packed(), layout.dtype, count, hdu.offset).copy()
    heap = hdu.offset + rows.nbytes
    row = rows[rng.choice((rng.randrange(count), count - 1))]
    length, place = (int(v) for v in row["PIXELS"])
    stream = mutate(rng, packed()[heap + place : heap + place + length])[:length].ljust(length)
    if rng.random() < 0.3 and int(row["TILE"][0]) == container.SIDE_PLANE:
        body = container.unpack_bytes(packed()[heap + place : heap + place + length], 2**20)
        stream = container.pack_bytes(mutate(rng, body))
    row["PIXELS"][0] = len(stream)
    row["CRC"][0] = container.tile_crc(astro_vq.types.TileGeometry(*map(int, row["TILE"])), stream)
    content = bytearray(packed())
    content[hdu.offset : heap] = rows.tobytes()
    content[heap + place : heap + place + length] = stream[:length].ljust(length)
    unpack(bytes(content), keep_going=rng.random() < 0.5)


def fuzz_side(rng: random.Random) -> None:
    """Side information, patches of headers and scalings, unpacked."""
    records = {"HEAD": struct.pack(">IiIiI", 2, 0, 1, -1, 4) + b"ENDX", "PADD": b"padding"}
    if rng.random() < 0.5:
        container.unpack_side(mutate(rng, container.pack_side(records)))
    elif rng.random() < 0.5:
        restore_header([b"OBJECT  = 'M31'".ljust(80)], mutate(rng, records["HEAD"]))
    else:
        container.unpack_scalings(mutate(rng, container.pack_scalings(np.ones((3, 2)))))


@cache
def token_files() -> list[bytes]:
    """Return files of tokens: the golden one, and one of sparse tokens."""
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (48, 40)).astype("f4")
    image[20:23, 10:13] += 40
    sparse = io.BytesIO()
    astro_vq.compress(image, sparse, model="default", fidelity="tokens")
    return [(GOLDEN / "floats-tokens.avq").read_bytes(), sparse.getvalue()]


def fuzz_tokens(rng: random.Random) -> None:
    """Token streams and their tables in a file, whose CRC is right although they are not."""
    whole = rng.choice(token_files())
    hdu = StoredFile(FileObject(io.BytesIO(whole), "x.avq")).hdus[0]
    rows = np.frombuffer(whole, container.Layout(tokens=True, wide=False).dtype,
                         hdu.keywords.integer("NAXIS2"), hdu.offset).copy()  # fmt: skip
    heap = hdu.offset + rows.nbytes
    row = rows[rng.choice((rng.randrange(len(rows)), len(rows) - 1))]
    side = int(row["TILE"][0]) == container.SIDE_PLANE
    column = "PIXELS" if side else "TOKENS"
    length, place = (int(v) for v in row[column])
    stream = whole[heap + place : heap + place + length]
    if side:
        stream = container.pack_bytes(mutate(rng, container.unpack_bytes(stream, 2**20)))
    else:
        stream = mutate(rng, stream)
    stream = stream[:length]
    row[column][0] = len(stream)
    geometry = astro_vq.types.TileGeometry(*map(int, row["TILE"]))
    row["CRC"][int(side)] = container.tile_crc(geometry, stream)
    content = bytearray(whole)
    content[hdu.offset : heap] = rows.tobytes()
    content[heap + place : heap + place + len(stream)] = stream
    with astro_vq.open(io.BytesIO(bytes(content)), max_pixels=MAX_PIXELS) as file:
        _ = file.tokens


@cache
def _arrays() -> list[bytes]:
    return [encode_array(tile, max_error=spec.bound) for tile, spec in _tiles()]


def fuzz_arrays(rng: random.Random) -> None:
    """Chunks of Zarr arrays with a right CRC."""
    body = mutate(rng, rng.choice(_arrays())[:-4], rng.choice(_arrays()))
    decode_array(body + struct.pack(">I", zlib.crc32(body)))


@cache
def _model() -> bytes:
    from astro_vq.checkpoint import LoadedModel, content_hash, model_to_bytes
    from astro_vq.models import build_model

    values = {"model": {"hidden_channels": 4, "latent_channels": 4, "codes": 8}}
    run = config.RunConfig.from_dict(values)
    model = build_model(run.model, 1)
    return model_to_bytes(LoadedModel(model, run, "m", content_hash(model, run.model), {}))


def fuzz_models(rng: random.Random) -> None:
    """Saved models: bytes, the header of safetensors, and a configuration with a right hash."""
    import torch
    from safetensors.torch import load

    from astro_vq import checkpoint

    kind = rng.randrange(4)
    data = _model()
    if kind == 0:
        data = mutate(rng, data[:4000]) + data[4000:]
    elif kind == 1:
        data = mutate_safetensors(rng, data)
    else:
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        about = json.loads(header["__metadata__"]["astro_vq"])
        section = rng.choice(("model", "model", "data", "training"))
        about["config"][section] = mutate_value(rng, about["config"].get(section, {"x": 1}))
        if kind == 3:
            about = mutate_value(rng, about)
        try:
            run = config.RunConfig.from_dict(about["config"])
            about["hash"] = checkpoint._hash_tensors(load(data), int(about["channels"]), run.model)
        except (KeyError, TypeError, ValueError):
            pass
        header["__metadata__"]["astro_vq"] = json.dumps(about)
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + data[8 + size :]
    torch.set_num_threads(1)
    checkpoint.model_from_bytes(data)


@cache
def _hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        rng = np.random.default_rng(0)
        images = made.create_dataset("images", data=rng.random((4, 8, 8), "f4"), chunks=(1, 8, 8))
        images.attrs["units"] = "adu"
        made.create_dataset(
            "deep/stack", data=np.ones((2, 1, 6, 6), "i2"), compression="gzip", shuffle=True
        )
    return file.getvalue()


def fuzz_hdf5(rng: random.Random) -> None:
    """HDF5 files of cutouts."""
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        file.write(mutate(rng, _hdf5()))
        file.flush()
        for stack in open_hdf5(file.name):
            try:
                for i in range(min(len(stack), 2)):
                    stack.read(i)
            finally:
                stack.close()


TOML = b"""[model]
model = "vqvae"
latent_channels = 8
[training]
steps = 100
[data]
fits_dir = ["x"]
cutout_size = 64
"""


def fuzz_configs(rng: random.Random) -> None:
    """Configurations in TOML."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(mutate(rng, TOML, TOML))
        file.flush()
        config.read_toml(file.name)


TARGETS: dict[str, Target] = {
    "streams": fuzz_streams,
    "files": fuzz_files,
    "headers": fuzz_headers,
    "sealed": fuzz_sealed,
    "tokens": fuzz_tokens,
    "side": fuzz_side,
    "arrays": fuzz_arrays,
    "models": fuzz_models,
    "hdf5": fuzz_hdf5,
    "configs": fuzz_configs,
}
"""Name of each target, and the function that takes one input."""
