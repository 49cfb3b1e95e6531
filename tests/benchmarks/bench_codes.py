"""Which codes of the model of sparse tokens are used, and how evenly.

    python tests/benchmarks/bench_codes.py --sky ../shared/sky/train --json out.json

A piece of each image, at a place drawn at random, is encoded as a file of tokens would be at the
usual quality.
"""

import argparse
import json
import math
import warnings
from pathlib import Path

import numpy as np

from astro_vq.checkpoint import load_model
from astro_vq.codec.sparse_frame import FrameEncoder
from astro_vq.codec.sparse_windows import SparseWindowedModel
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.models.sparse_stars import fit_star
from astro_vq.training.fit_sparse import Piece, cut_pieces
from astro_vq.types import TileGeometry


def encoder_of(piece: Piece, model: SparseWindowedModel) -> FrameEncoder:
    """Return the encoder of a piece, as one tile."""
    height, width = piece.pixels.shape
    return FrameEncoder(
        model,
        lambda ys, xs: piece.pixels[ys, xs].copy(),
        (height, width),
        [TileGeometry(0, 0, 0, height, width)],
        star=fit_star(piece.pixels, model.basis),
        noise=piece.covariance,
    )


def main() -> None:
    """Encode, count, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", required=True, type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--quality", type=float, default=5.0)
    parser.add_argument("--json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = SparseWindowedModel(load_model(options.model))
    learnt = model.map_shape.learnt
    counts, stars = np.zeros(learnt, np.int64), 0
    pieces = cut_pieces(CutoutIndex.build([options.sky]), options.side, seed=7)
    for piece in pieces:
        codes = encoder_of(piece, model).encode(options.quality).tokens.rows[:, 3]
        counts += np.bincount(codes[codes < learnt], minlength=learnt)
        stars += int((codes >= learnt).sum())
    share = counts[counts > 0] / max(counts.sum(), 1)
    figures = {
        "pieces": len(pieces),
        "side": options.side,
        "quality": options.quality,
        "tokens_of_learnt_codes": int(counts.sum()),
        "tokens_of_stars": stars,
        "codes": learnt,
        "used": float((counts > 0).mean()),
        "perplexity": math.exp(-float((share * np.log(share)).sum())),
    }
    print(json.dumps(figures, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
