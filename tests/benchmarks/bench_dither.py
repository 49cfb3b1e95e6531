"""What subtractive dither costs in bytes, and what it takes off the bias, on real images.

    python tests/benchmarks/bench_dither.py --sky ../shared/sky/eval --json out.json
    python tests/benchmarks/bench_dither.py --stack

Streams with their side information, centre 512 x 512 of first planes, default effort. The bias is
the mean error of pixels in the darkest tenth of the image, in units of the noise: with coarse
steps that is what stacks and apertures see.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from bench_pixels import first_image, neighbour_sigma

from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared

SIDE, TILE = 512, 256
FILES = (
    "2mass/2010ai__2MASS__2MASS_H.fits",
    "cfht-megacam/CFHTLS-test_g.fits",
    "decam-des-coadd/DES_r.fits",
    "pan-starrs1/PS1_i.fits",
    "wise/w5.fits",
)


def measure(image: np.ndarray, bound: float, seed: int | None) -> dict[str, Any]:
    """Return bytes and the mean error of dark pixels."""
    height, width = image.shape
    places = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    tiles = [np.ascontiguousarray(image[y : y + TILE, x : x + TILE]) for y, x in places]
    spec = PixelSpec(image.dtype.name, bound, dither=seed)
    shared = fit_shared(tiles, spec, places=places)
    streams = encode_tiles(tiles, spec, shared=shared, places=places)
    shapes = [tile.shape for tile in tiles]
    decoded = decode_tiles(streams, shapes, PixelSpec(image.dtype.name, bound), shared=shared)
    errors = np.concatenate(
        [(a.astype(float) - b).ravel() for a, b in zip(decoded, tiles, strict=True)]
    )
    flat = np.concatenate([tile.ravel() for tile in tiles])
    dark = flat <= np.nanquantile(flat, 0.1)
    return {
        "bytes": len(shared) + sum(map(len, streams)),
        "dark_error": float(np.nanmean(errors[dark])),
        "rms_error": float(np.sqrt(np.nanmean(errors**2))),
    }


def stack_of_exposures(bound: float, seed: int | None) -> float:
    """Return measured over true flux of faint sources in a stack of exposures.

    Simulated: 32 exposures of 25 sources, each 0.5 sigma high and 4 pixels wide at half maximum,
    on noise of sigma 1 that each exposure has of its own.
    """
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[:200, :200]
    squares = (ys % 40 - 20) ** 2 + (xs % 40 - 20) ** 2
    sources = 0.5 * np.exp(-squares / (2 * (4 / 2.3548) ** 2))
    stack, plain = np.zeros(sources.shape), np.zeros(sources.shape)
    for number in range(32):
        exposure = (100 + sources + rng.normal(0, 1, sources.shape)).astype(np.float32)
        spec = PixelSpec("float32", bound, dither=None if seed is None else seed + number)
        shared = fit_shared([exposure], spec, effort=1)
        streams = encode_tiles([exposure], spec, shared=shared, effort=1)
        plain += exposure
        stack += decode_tiles(streams, [exposure.shape], spec, shared=shared)[0]
    inside, sky = squares <= 5**2, squares > 12**2

    def flux(image: np.ndarray) -> float:
        return float((image[inside] - image[sky].mean()).sum())

    return flux(stack) / flux(plain)


def main() -> None:
    """Print a line per image and bound; write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", type=Path, help="folder of FITS images")
    parser.add_argument("--stack", action="store_true", help="simulated exposures instead")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.stack:
        for bound in (0.5, 1.0, 2.0, 4.0):
            plain, soft = (stack_of_exposures(bound, seed) for seed in (None, 1))
            rows.append({"bound_sigma": bound, "plain": plain, "dithered": soft})
            print(f"{bound} sigma: flux {plain:.3f}, with dither {soft:.3f}", flush=True)
    for name in FILES if options.sky else ():
        image = first_image(options.sky / name)
        if image is None:
            continue
        top, left = (max(0, (n - SIDE) // 2) for n in image.shape)
        image = np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])
        sigma = neighbour_sigma(image)
        for share in (0.125, 0.5, 1.0, 2.0):
            plain = measure(image, share * sigma, None)
            soft = measure(image, share * sigma, 1)
            row = {"file": name, "bound_sigma": share, "plain": plain, "dithered": soft}
            rows.append(row | {"ratio": soft["bytes"] / plain["bytes"]})
            print(
                f"{name[:40]:40} {share:5} sigma {plain['bytes']:8d} {soft['bytes']:8d} "
                f"{rows[-1]['ratio']:.4f}  dark {plain['dark_error'] / sigma:+.4f} "
                f"{soft['dark_error'] / sigma:+.4f}  rms {plain['rms_error'] / sigma:.3f} "
                f"{soft['rms_error'] / sigma:.3f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
