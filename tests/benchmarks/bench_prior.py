"""Bits per token of a prior on images that it has not seen, against order-0 entropy.

    python tests/benchmarks/bench_prior.py MODEL --data FOLDER [--prior DIR] [--json FILE]

Tokens are those that `astro-vq tokenize` gives; of each image the centre, at most ``--side``
positions a side. One table for all images together is the order-0 entropy of the pooled tokens;
tables for each image are what a coder with a table in each file reaches, their size not counted.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

from astro_vq.checkpoint import load_model
from astro_vq.codec.tokenize import tokenize
from astro_vq.errors import AstroVQError
from astro_vq.io.image import find_images
from astro_vq.metrics.token_rate import TokenMap, measure_token_rate
from astro_vq.priors import load_prior


def centre(indices, side):
    """Return the middle (1, K, h, w) of a map (K, h, w)."""
    corner = [max(length - side, 0) // 2 for length in indices.shape[1:]]
    ys, xs = (slice(first, first + side) for first in corner)
    return torch.from_numpy(indices[None, :, ys, xs].astype(np.int64))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder, or name of a shipped model")
    parser.add_argument("--data", required=True, help="folder of FITS files")
    parser.add_argument("--prior", help="folder of the prior (default: that of the model)")
    parser.add_argument("--side", type=int, default=256, help="most positions of a map a side")
    parser.add_argument("--planes", type=int, default=2, help="most maps of one file")
    parser.add_argument("--json", help="file to write all figures to")
    options = parser.parse_args()
    loaded = load_model(options.model)
    known = load_prior(options.prior or options.model, model_hash=loaded.hash)
    root = Path(options.data)
    rows, every, seconds = [], [], 0.0
    for path in find_images(root):
        try:
            found = tokenize(path, model=options.model, device="cpu")
        except AstroVQError as err:
            print(f"left out: {err}", file=sys.stderr)
            continue
        maps = [TokenMap(centre(m.indices, options.side)) for m in found.maps[: options.planes]]
        begun = time.perf_counter()
        rate = measure_token_rate(known.prior, maps)
        seconds += time.perf_counter() - begun
        every.extend(maps)
        name = str(path.relative_to(root))
        rows.append({"file": name, **rate.to_dict()})
        print(
            f"{name[:60]:60s} {rate.tokens:8d} {rate.order0_image:6.3f} {rate.prior:6.3f} "
            f"{1 - rate.prior / max(rate.order0_image, 1e-9):+7.1%}",
            flush=True,
        )
    tokens = sum(row["tokens"] for row in rows)
    pooled = measure_token_rate(known.prior, every)
    gains = [1 - row["prior"] / row["order0_image"] for row in rows if row["order0_image"] > 0]
    result = {
        "model": loaded.name,
        "hash": loaded.hash,
        "prior": {"config": known.prior.config.to_dict(), "trained": known.extra},
        "files": len(rows),
        "all": pooled.to_dict(),
        "saved_of_order0": pooled.saved,
        "saved_of_order0_image": 1 - pooled.prior / pooled.order0_image,
        "saved_of_order0_image_median": float(np.median(gains)),
        "megatokens_per_second": tokens / seconds / 1e6,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}",
        "images": rows,
    }
    assert math.isfinite(pooled.prior)
    print(json.dumps({k: v for k, v in result.items() if k != "images"}, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
