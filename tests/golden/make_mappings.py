"""Write `mappings.json`: streams of mappings that came after the first ones, with their pixels.

Run it only to add streams (with new names): those that are there must decode for ever.
"""

import base64
import json
from pathlib import Path

import numpy as np

from astro_vq.codec.mappings.mapping import COUNTED, DITHERED, GRAINED, LOOP, SCALE, Mapping
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles
from astro_vq.codec.shared import Shared

FILE = Path(__file__).resolve().parent / "mappings.json"


def cases() -> dict[str, tuple[np.ndarray, PixelSpec, Mapping]]:
    """Return a tile, what is promised, and the mapping of its image."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:18, :22]
    sky = rng.normal(20, 1, ys.shape) + 900 / (5 + (ys - 7) ** 2 + (xs - 9) ** 2)
    weights = np.clip(sky - 20, 0, None)
    subtracted = (sky + 8192).astype("f4") - np.float32(8192)
    return {
        "floor": (
            weights.astype("f4"),
            PixelSpec("float32", 0.5),
            Mapping(SCALE, 1, -0.5, floor=0),
        ),
        "floor of a loop": (
            sky,
            PixelSpec("float64", 2.0),
            Mapping(LOOP, 0.25, stride=15, floor=0),
        ),
        "cells of uint8": (
            weights.astype("u1"),
            PixelSpec("uint8", 3),
            Mapping(COUNTED, 7, floor=0),
        ),
        "cells of int16": (
            (weights * 1000 - 32768).astype("i2"),
            PixelSpec("int16", 200),
            Mapping(COUNTED, 401, floor=-32768),
        ),
        "dither": (
            np.where(ys == 3, 0, sky).astype("f4"),
            PixelSpec("float32", 1.0),
            Mapping(DITHERED, 1.75, seed=2**40 + 9),
        ),
        "grain": (subtracted, PixelSpec("float32"), Mapping(GRAINED, grain=-10, bits=3)),
        "grain of doubles": (
            (sky + 2.0**33) - 2.0**33,
            PixelSpec("float64"),
            Mapping(GRAINED, grain=-19, bits=14),
        ),
        "short": (sky.astype("f4"), PixelSpec("float32", 4.0), Mapping(SCALE, 7.5, 7.5 * 5 / 16)),
        "short loop": (sky.astype("f4"), PixelSpec("float32", 4.0), Mapping(LOOP, 0.5, stride=15)),
    }


def main() -> None:
    """Add what is missing."""
    rows = json.loads(FILE.read_text()) if FILE.exists() else []
    known = {row["name"] for row in rows}
    for name, (tile, spec, mapping) in cases().items():
        if name in known:
            continue
        shared = Shared(mapping).to_bytes()
        places = [(300, 70)]
        (stream,) = encode_tiles([tile], spec, shared=shared, places=places)
        (pixels,) = decode_tiles([stream], [tile.shape], spec, shared=shared)
        parts = {"shared": shared, "stream": stream, "pixels": pixels.tobytes()}
        rows.append(
            {"name": name, "dtype": spec.dtype, "bound": spec.bound, "shape": list(tile.shape)}
            | {key: base64.b64encode(part).decode() for key, part in parts.items()}
        )
    FILE.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
