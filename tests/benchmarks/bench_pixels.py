"""Sizes and speeds of the pixel layer against other codecs on real images.

    python tests/benchmarks/bench_pixels.py --sky ../shared/sky/eval --json out.json

Sizes are those of all pixel streams with the side information of the HDU. Each peer gets what
suits it: integers shifted to 16 bits without sign, floats quantised with twice the bound. Peers
whose figures lie in a JSON list of earlier runs (`--peers`) are not run again. Best of `--repeat`.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from astro_vq.codec.find_grid import find_grid
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared

CROP = 1200
TILE = 256
FIDELITIES = {"lossless": 0.0, "e32": 1 / 32, "e8": 1 / 8, "e1": 1.0, "e025": 4.0}


def first_image(path: Path) -> np.ndarray | None:
    """Return the centre of the first image plane, at most 1200 x 1200, or None."""
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            data = hdu.data if getattr(hdu, "is_image", False) else None
            if data is None or data.ndim < 2 or not data.size:
                continue
            plane = data.reshape(-1, *data.shape[-2:])[0]
            top, left = (max(0, (n - CROP) // 2) for n in plane.shape)
            plane = plane[top : top + CROP, left : left + CROP]
            return np.ascontiguousarray(plane.astype(plane.dtype.newbyteorder("=")))
    return None


def neighbour_sigma(image: np.ndarray) -> float:
    """Return the noise told by differences of neighbours in a row (MAD)."""
    steps = np.diff(image.astype(np.float64), axis=1).ravel()
    steps = steps[np.isfinite(steps)]
    used = steps[steps != 0] if (steps == 0).mean() > 0.5 else steps
    return float(np.median(np.abs(used - np.median(used))) / 0.6745 / 2**0.5)


def cut_tiles(image: np.ndarray) -> list[np.ndarray]:
    """Return the tiles of an image, row by row."""
    h, w = image.shape
    return [
        np.ascontiguousarray(image[y : y + TILE, x : x + TILE])
        for y in range(0, h, TILE)
        for x in range(0, w, TILE)
    ]


def measure_ours(image: np.ndarray, bound: float, effort: int, repeat: int) -> dict[str, Any]:
    """Return size, times and the coders that were used, after a checked round trip."""
    spec = PixelSpec(image.dtype.name, bound)
    tiles = cut_tiles(image)
    h, w = image.shape
    places = [(y, x) for y in range(0, h, TILE) for x in range(0, w, TILE)]
    encode_s, decode_s = [], []
    for _ in range(repeat):
        start = time.perf_counter()
        grid = None
        if image.dtype == np.float32 and effort > 2:
            grid = find_grid(lambda first, stop: image[first:stop], h, w)
        shared = fit_shared(tiles, spec, effort=effort, grid=grid, places=places)
        fit_s = time.perf_counter() - start
        streams = encode_tiles(tiles, spec, shared=shared, effort=effort, places=places)
        encode_s.append(time.perf_counter() - start)
        start = time.perf_counter()
        decoded = decode_tiles(streams, [t.shape for t in tiles], spec, shared=shared)
        decode_s.append(time.perf_counter() - start)
    for tile, out in zip(tiles, decoded, strict=True):
        finite = np.isfinite(tile)
        gap = np.abs(out[finite].astype(np.float64) - tile[finite].astype(np.float64))
        same = out[~finite].tobytes() == tile[~finite].tobytes()
        if (
            not same
            or (gap.size and gap.max() > bound)
            or (not bound and out.tobytes() != tile.tobytes())
        ):
            raise SystemExit("the round trip broke its promise")
    coders = np.bincount([s[0] % 32 for s in streams])
    return {
        "bytes": len(shared) + sum(map(len, streams)),
        "shared_bytes": len(shared),
        "fit_s": fit_s,
        "encode_s": min(encode_s),
        "decode_s": min(decode_s),
        "coders": {int(i): int(coders[i]) for i in np.flatnonzero(coders)},
    }


def integer_peers() -> dict[str, Callable[[np.ndarray], bytes]]:
    """Return codecs of unsigned 16-bit images."""
    import imagecodecs as ic

    return {
        "jxl-e3": lambda a: ic.jpegxl_encode(a, lossless=True, effort=3),
        "jxl-e7": lambda a: ic.jpegxl_encode(a, lossless=True, effort=7),
        "jxl-e9": lambda a: ic.jpegxl_encode(a, lossless=True, effort=9),
        "jpeg-ls": lambda a: ic.jpegls_encode(a),
        "jpeg2000": lambda a: ic.jpeg2k_encode(a, level=0, reversible=True),
    }


def measure_peers(image: np.ndarray, bound: float) -> dict[str, int]:
    """Return the sizes that other codecs reach at the same bound (or lossless)."""
    import imagecodecs as ic
    from pcodec import ChunkConfig, standalone

    sizes: dict[str, int] = {}
    config = ChunkConfig(compression_level=8)
    if image.dtype.kind == "f" and not bound:
        raw = np.ascontiguousarray(image)
        sizes["pcodec"] = len(standalone.simple_compress(raw.ravel(), config))
        shuffled = ic.bitshuffle_encode(raw.tobytes(), itemsize=raw.itemsize)
        sizes["bitshuffle-zstd"] = len(ic.zstd_encode(shuffled, level=19))
        sizes["zstd19"] = len(ic.zstd_encode(raw.tobytes(), level=19))
        return sizes
    if image.dtype.kind == "f":
        finite = np.isfinite(image)
        filled = np.where(finite, image, np.median(image[finite]))
        codes = np.rint(filled.astype(np.float64) / (2 * bound))
        sizes["sz3"] = len(ic.sz3_encode(filled.astype(np.float32), mode="abs", abs=bound))
    else:
        step = 2 * int(bound) + 1
        codes = np.rint(image.astype(np.float64) / step)
    codes = (codes - codes.min()).astype(np.int64)
    narrow = codes.astype(np.uint16 if codes.max() < 2**16 else np.uint32)
    sizes["pcodec"] = len(standalone.simple_compress(narrow.ravel(), config))
    if narrow.dtype == np.uint16:
        for name, encode in integer_peers().items():
            sizes[name] = len(encode(narrow))
    return sizes


def load_peers(path: Path | None) -> dict[tuple[str, str], tuple[float, dict[str, int]]]:
    """Return bound and sizes by file and fidelity from a list of earlier runs."""
    known = {}
    for row in json.loads(path.read_text()) if path else []:
        for fidelity in FIDELITIES:
            sizes = {n: r["bytes"] for n, r in row.get(fidelity, {}).items() if r.get("ok")}
            if sizes:
                known[row["file"], fidelity] = (row.get(f"{fidelity}_eps", 0.0), sizes)
    return known


def cases(
    options: argparse.Namespace,
) -> Iterator[tuple[str, str, np.ndarray, float, dict[str, int]]]:
    """Yield file, fidelity, image, bound and sizes of peers."""
    known = load_peers(options.peers)
    names = sorted({name for name, _ in known}) if known else []
    paths = [options.sky / n for n in names] or sorted(p for p in options.sky.rglob("*.fits*"))
    for path in paths:
        name = str(path.relative_to(options.sky))
        if options.only and not any(word in name for word in options.only):
            continue
        image = first_image(path)
        if image is None:
            continue
        for fidelity in options.fidelity:
            share = FIDELITIES[fidelity]
            if share and image.dtype.kind != "f":
                continue
            bound, sizes = known.get((name, fidelity), (share * neighbour_sigma(image), {}))
            yield name, fidelity, image, bound, sizes or measure_peers(image, bound)


def main() -> None:
    """Print a line per image and fidelity; write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", type=Path, required=True, help="folder of FITS images")
    parser.add_argument("--peers", type=Path, help="JSON list with sizes of peers")
    parser.add_argument("--fidelity", nargs="+", choices=FIDELITIES, default=list(FIDELITIES)[:3])
    parser.add_argument("--only", nargs="+", help="words of which file names hold one")
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name, fidelity, image, bound, sizes in cases(options):
        ours = measure_ours(image, bound, options.effort, options.repeat)
        best = min(sizes, key=sizes.get)
        ratio = ours["bytes"] / sizes[best]
        group = fidelity if image.dtype.kind == "f" else "integers"
        rows.append(
            {"file": name, "fidelity": group, "shape": image.shape, "bound": bound}
            | {"peers": sizes, "best": best, "ratio": ratio, **ours}
        )
        speed = image.nbytes / 1e6
        print(
            f"{name[:48]:48} {group:9} {ours['bytes']:8d} {best:18} {sizes[best]:8d} {ratio:.4f}  "
            f"enc {speed / ours['encode_s']:5.1f} dec {speed / ours['decode_s']:5.1f} MB/s "
            f"{ours['coders']}",
            flush=True,
        )
    for group in dict.fromkeys(row["fidelity"] for row in rows):
        ratios = [row["ratio"] for row in rows if row["fidelity"] == group]
        mean = float(np.exp(np.mean(np.log(ratios))))
        print(f"{group}: {len(ratios)} images, geometric mean {mean:.4f}, worst {max(ratios):.4f}")
    if options.json:
        report = {"machine": platform.processor() or platform.machine(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1, default=float))


if __name__ == "__main__":
    main()
