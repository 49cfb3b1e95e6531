"""Streams written once must decode for ever: `tests/golden/pixel_streams.json` holds some."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from astro_vq.codec.coders import CODERS, MAPPED_CODERS, WHOLE_TILE_CODERS
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.pixels import PixelSpec, decode_tiles, fit_shared
from astro_vq.codec.quantize import quantize_tile
from astro_vq.codec.shared import Shared

GOLDEN = Path(__file__).parents[1] / "golden" / "pixel_streams.json"


def integer_tile(rows, columns, seed):
    """A smooth bump with noise, from integer arithmetic alone."""
    state, out = seed, []
    for y in range(rows):
        for x in range(columns):
            total = 0
            for _ in range(4):
                state = (1103515245 * state + 12345) % 2**31
                total += state >> 16 & 15
            out.append(total + 4000 // (20 + (y - rows // 2) ** 2 + (x - columns // 3) ** 2))
    return np.array(out, np.int64).reshape(rows, columns)


def tiles():
    counts = integer_tile(64, 64, 7)
    floats = (counts * 0.37 + 5).astype(np.float32)
    floats[3:6, 4:30] = np.nan
    floats[40, 40] = np.inf
    return {
        "integers": (counts.astype(np.int16), PixelSpec("int16", blank=-1)),
        "bounded": (floats, PixelSpec("float32", 0.25)),
        "lossless": (floats, PixelSpec("float32")),
        "doubles": (counts / 7.0, PixelSpec("float64", 0.5)),
        "constant": (np.full((9, 5), 77, np.uint8), PixelSpec("uint8")),
    }


def all_streams(tile, spec):
    """Return side information and the stream of every coder that applies."""
    shared = fit_shared([tile], spec)
    side = Shared.from_bytes(shared)
    mapping = side.mapping or default_mapping(tile, spec.bound)
    quantized = [quantize_tile(tile, spec.bound, mapping, blank=spec.blank)]
    found = [(c.id, c.encode([tile], 5)[0]) for c in WHOLE_TILE_CODERS]
    found += [
        (c.id, c.encode_quantized(quantized, [mapping], side, 5)[0])
        for c in MAPPED_CODERS
        if c.effort <= 8
    ]
    return shared, [bytes([i]) + s for i, s in found if s is not None]


def digest(tile):
    return hashlib.sha256(tile.astype(tile.dtype.newbyteorder("<")).tobytes()).hexdigest()


def write_golden():
    """Make the file anew: only ever together with a new version of the format."""
    rows = []
    for name, (tile, spec) in tiles().items():
        shared, streams = all_streams(tile, spec)
        for stream in streams:
            if stream[0] == 0 and name != "constant":
                continue
            (decoded,) = decode_tiles([stream], [tile.shape], spec, shared=shared)
            texts = {
                k: base64.b64encode(v).decode() for k, v in (("shared", shared), ("stream", stream))
            }
            rows.append({"name": name, **texts, "sha256": digest(decoded)})
    GOLDEN.write_text(json.dumps(rows, indent=0))


@pytest.mark.parametrize("row", json.loads(GOLDEN.read_text()) if GOLDEN.exists() else [])
def test_golden_streams_decode_to_the_same_bits(row):
    tile, spec = tiles()[row["name"]]
    stream, shared = (base64.b64decode(row[key]) for key in ("stream", "shared"))
    (decoded,) = decode_tiles([stream], [tile.shape], spec, shared=shared)
    assert digest(decoded) == row["sha256"]
    finite = np.isfinite(tile)
    assert np.abs(decoded[finite].astype(float) - tile[finite]).max() <= spec.bound


def test_golden_streams_cover_the_coders():
    seen = {base64.b64decode(row["stream"])[0] for row in json.loads(GOLDEN.read_text())}
    assert seen >= set(CODERS) - {2, 5, 8}  # 8: see test_fpacked
