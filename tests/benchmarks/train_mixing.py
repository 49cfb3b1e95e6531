"""Learn what the pixel coder starts from, and write it as data of the format.

    python tests/benchmarks/train_mixing.py --sky ../shared/sky/train -o mixing-2.safetensors

For each training image, as it is (integers) or at steps from sigma/16 to 8 sigma (floats), a tile
is coded and the state moves a little towards what it was at the end of the tile.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from bench_pixels import first_image, neighbour_sigma
from safetensors.numpy import save_file
from scipy import special, stats

from astro_vq.codec.fit_mixing import Fitter, Structure
from astro_vq.codec.planes import Plane
from astro_vq.entropy import mixing, mixing_kernel

BOUNDS = (1 / 32, 1 / 8, 0.5, 1, 4)  # sigma
SIDE, TILE = 512, 256


def make_tables() -> dict[str, np.ndarray]:
    """Return the tables of functions that coding looks up."""
    z = np.arange(-2048, 2049) / 256
    tails = stats.t.cdf(1.15 * z, 3)
    normal = 0.9 * special.ndtr(z) + 0.1 * tails
    heavy = stats.t.cdf(1.1 * z, 4)
    numbers = np.arange(4096)
    ln = np.log(np.maximum(numbers, 0.5)) * 256
    seen = np.arange(2000)
    return {
        "normal": np.rint(normal * 2**22).astype(np.int32),
        "heavy": np.rint(heavy * 2**22).astype(np.int32),
        "ln": np.rint(ln).astype(np.int32),
        "logistic": np.clip(
            np.rint(65536 * special.expit(np.arange(-3072, 3073) / 256)), 1, 65535
        ).astype(np.int32),
        "mantissas": np.rint(np.log2(1 + np.arange(257) / 256) * 32).astype(np.int32),
        "powers": np.rint(2 ** (np.arange(32) / 32) * 65536).astype(np.int32),
        "inverses": np.rint(2 ** (-np.arange(32) / 32) * 65536).astype(np.int32),
        "mix_rates": np.rint(np.maximum(0.004, 0.02 / (1 + seen / 100)) * 65536).astype(np.int32),
        "table_rates": np.rint(np.maximum(0.01, 4 / (seen + 20)) * 65536).astype(np.int32),
    }


def check_tables() -> None:
    """Make sure that the tables of the format are those of this script."""
    shipped = mixing.read_data(1).tables
    for name, values in make_tables().items():
        assert np.array_equal(shipped[mixing.TABLES.index(name)], values), name


def first_state() -> mixing.State:
    """Return a state that has learnt nothing."""
    nodes = mixing_kernel.NODES
    weights = np.tile([0.1, 0.2, 0.2, 0.25, 0.25], (mixing_kernel.CLASSES * nodes, 1))
    return (
        np.rint(weights * 2**20).astype(np.int32).ravel(),
        np.zeros(mixing_kernel.WIDTHS * nodes, np.int32),
        np.zeros(mixing_kernel.SURROUNDINGS * nodes, np.int32),
    )


def find_planes(folder: Path, per_instrument: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return planes of integers cut from images, the instruments equally often."""
    planes = []
    for instrument in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(instrument.rglob("*.fits*"))
        for path in rng.permutation(np.array(files, object))[:per_instrument]:
            try:
                image = first_image(path)
            except (OSError, TypeError, ValueError) as error:
                print(f"left out {path.name}: {error}")
                continue
            if image is None or min(image.shape) < 64:
                continue
            y, x = (int(rng.integers(0, max(1, n - SIDE))) for n in image.shape)
            image = image[y : y + SIDE, x : x + SIDE]
            finite = np.isfinite(image)
            if finite.mean() < 0.8:
                continue
            image = np.where(finite, image, np.median(image[finite]))
            if image.dtype.kind != "f":
                planes.append(image.astype(np.int64))
                continue
            sigma = neighbour_sigma(image)
            for bound in rng.choice(BOUNDS, 3, replace=False) if sigma > 0 else ():
                planes.append(np.rint(image / (2 * bound * sigma)).astype(np.int64))
    return [p for p in planes if np.ptp(p.astype(float)) < 2**27]


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", type=Path, required=True)
    parser.add_argument("--per-instrument", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(options.seed)
    check_tables()
    tables = mixing.read_data(1).tables
    state = first_state()
    planes = find_planes(options.sky, options.per_instrument, rng)
    models = []
    for number, plane in enumerate(planes):
        fitter = Fitter([Plane(plane, np.zeros(plane.shape, bool))])
        split = ((), (0.97,), (0.9, 0.99))[number % 3]
        model = fitter.fit(Structure((24, 40)[number % 2], split)) or fitter.fit(Structure())
        models.append((model, fitter.fit(Structure()), fitter.sky))
    taps = np.rint(np.mean([plain.taps[0] for _, plain, _ in models], axis=0)).astype(np.int64)
    taps[0] += (1 << mixing.WEIGHT_BITS) - taps.sum()
    width = np.rint(np.median([plain.width for _, plain, _ in models], axis=0)).astype(np.int64)
    for turn in range(options.rounds):
        share, total = (0.1, 0.1, 0.1, 0.05, 0.03, 0.02)[min(turn, 5)], 0.0
        for i in rng.permutation(len(planes)):
            plane, (model, _, sky) = planes[i], models[i]
            y, x = (int(rng.integers(0, max(1, n - TILE + 1))) for n in plane.shape)
            tile = plane[y : y + TILE, x : x + TILE]
            middle = int(np.median(tile[0]))
            work = np.pad(tile - middle, ((4, 0), (4, 4)))
            mask = np.zeros(tile.shape, bool)
            code = np.zeros(16 * tile.size + 4096, np.uint8)
            plain = np.zeros(4 * tile.size + 8, np.uint8)
            used, bits, after = mixing_kernel.code_plane(
                False, work, mask, code, plain, *mixing.arguments(model), middle - sky, 1,
                mixing_kernel.NO_SPIKE, True, tables, state,
            )  # fmt: skip
            total += (8 * used + bits) / tile.size
            for values, final in zip(state, after, strict=True):
                values += np.rint((final - values) * share).astype(np.int32)
        print(f"round {turn}: {total / len(planes):.4f} bit/pixel over {len(planes)} planes")
        learnt = dict(zip(("mix", "first", "second"), state, strict=True))
        learnt |= {"taps": taps, "width": width}
        data = {name: values.astype(np.int32) for name, values in learnt.items()}
        save_file(data, options.output)


if __name__ == "__main__":
    main()
