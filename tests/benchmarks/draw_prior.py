"""Figure of tokens and their prior: an image, its tokens, what each costs, and samples.

python tests/benchmarks/draw_prior.py MODEL IMAGE -o figure.png [--prior DIR] [--corner Y,X]
"""

import argparse
import math

import matplotlib as mpl
import numpy as np
import torch

import astro_vq
from astro_vq.checkpoint import load_model
from astro_vq.codec.tokenize import tokenize
from astro_vq.data.planes import PlaneAddress, PlaneReader
from astro_vq.priors import load_prior

GREY = {"origin": "lower", "cmap": "gray_r", "vmin": -2, "vmax": 6}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder")
    parser.add_argument("image", help="FITS file; its first image is drawn")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--prior", help="folder of the prior (default: that of the model)")
    parser.add_argument("--corner", default="0,0", help="first row and column")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    loaded = load_model(options.model)
    prior = load_prior(options.prior or options.model, model_hash=loaded.hash).prior
    item = tokenize(options.image, model=options.model, device="cpu").maps[0]
    stride, side = loaded.model.stride, options.side
    y, x = (int(n) // stride * stride for n in options.corner.split(","))
    place = slice(y, y + side), slice(x, x + side)
    cells = slice(y // stride, (y + side) // stride), slice(x // stride, (x + side) // stride)
    address = PlaneAddress(options.image, item.hdu, item.plane)
    pixels = PlaneReader().read(address, item.size, *place)
    with torch.no_grad():
        indices = torch.from_numpy(item.indices.astype(np.int64))[None]
        bits = sum(-part[0].sum(0) for part in prior.log_probs(indices)) / math.log(2)
        mean = loaded.model.decode_indices(indices[:, :, cells[0], cells[1]])[0, 0]
        codes = torch.arange(loaded.model.codes).view(-1, 1, 1, 1)
        flat = codes.expand(-1, loaded.model.depth, 5, 5).contiguous()
        drawn = loaded.model.decode_indices(flat)[:, 0, 2 * stride : 3 * stride]
        rank = drawn.mean((1, 2)).argsort().argsort().numpy()
    samples = astro_vq.sample(
        options.model, 4, size=128, prior=options.prior, seed=options.seed, device="cpu"
    )
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(10.5, 5.6), layout="constrained")
    axes[0, 0].imshow(np.arcsinh((pixels - item.sky[0]) / item.sigma[0]), **GREY)
    axes[0, 1].imshow(mean, **GREY)
    axes[0, 2].imshow(rank[item.indices[0][cells]], origin="lower", interpolation="nearest")
    shown = axes[0, 3].imshow(
        bits[cells], origin="lower", cmap="magma", vmin=0, vmax=14, interpolation="nearest"
    )
    figure.colorbar(shown, ax=axes[0, 3], shrink=0.8)
    titles = ("image", "mean of its tokens", "codes, by brightness", "bits a token")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis, image in zip(axes[1], samples.images, strict=True):
        axis.imshow(np.arcsinh(image), **GREY)
        axis.set_title("drawn from the prior", fontsize=10)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(options.output, dpi=75)


if __name__ == "__main__":
    main()
