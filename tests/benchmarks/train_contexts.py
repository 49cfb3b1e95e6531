"""Learn the probabilities that streams of sparse tokens start from, and write them as data.

    python tests/benchmarks/train_contexts.py --sky ../shared/sky/train -o contexts-2.safetensors

Pieces of the training images are encoded at several thresholds; all streams are coded one after
the other with tables that go on adapting, in random order, some times over. What is written is the
mean of the tables over all streams but those of the first time.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from bench_codes import encoder_of
from numpy.typing import NDArray
from safetensors.numpy import save_file

from astro_vq.checkpoint import load_model
from astro_vq.codec.sparse_windows import SparseWindowedModel
from astro_vq.codec.wavelet import band_shapes
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.entropy import detail_bands, sparse_maps
from astro_vq.entropy.binary_coder import HALF
from astro_vq.models.token_maps import fill_map
from astro_vq.training.fit_sparse import cut_pieces

THRESHOLDS = (3.2, 5.0, 10.0, 16.0)
SWEEPS = 4


def main() -> None:
    """Encode, learn, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", required=True, type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("-o", "--output", required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = SparseWindowedModel(load_model(arguments.model))
    shape = model.map_shape
    maps, bands, count, pixels = [], [], 0, 0
    for piece in cut_pieces(CutoutIndex.build([arguments.sky]), arguments.side, seed=7):
        size = piece.pixels.shape
        encoder = encoder_of(piece, model)
        for threshold in THRESHOLDS:
            frame = encoder.encode(threshold)
            indices = np.zeros((2 * shape.tokens, *(-(-n // 4) for n in size)), np.int32)
            fill_map(indices, frame.tokens.rows, model.codes_per_level)
            maps.append(indices)
            tables = detail_bands.first_contexts()
            bands.append(detail_bands.decode_bands(frame.details[0], band_shapes(size), tables))
            count, pixels = count + len(frame.tokens.rows), pixels + piece.pixels.size
    rng = np.random.default_rng(0)

    def code_maps(k: int, tables: NDArray[np.int64]) -> int:
        return len(sparse_maps.encode_maps(maps[k], shape, (0, 0), tables))

    def code_bands(k: int, tables: NDArray[np.int64]) -> int:
        return len(detail_bands.encode_bands(bands[k], tables))

    out = {}
    for name, code, size in (
        ("maps", code_maps, sparse_maps.context_count(shape)),
        ("detail", code_bands, detail_bands.CONTEXTS),
    ):
        tables, mean, number = np.full(size, HALF, np.int64), np.zeros(size), 0
        before = sum(code(k, tables.copy()) for k in range(len(maps)))
        for sweep in range(SWEEPS):
            for k in rng.permutation(len(maps)):
                code(k, tables)
                if sweep:
                    mean, number = mean + tables, number + 1
        start = np.rint(mean / number).astype(np.int64)
        after = sum(code(k, start.copy()) for k in range(len(maps)))
        print(f"{name}: {8 * before / pixels:.4f} -> {8 * after / pixels:.4f} bit/pixel")
        out[name] = np.clip(start, 32, 2**15 - 32).astype(np.uint16)
    print(f"{count} tokens on {pixels} pixels")
    save_file(out, arguments.output)


if __name__ == "__main__":
    main()
