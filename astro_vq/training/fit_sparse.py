"""Fit the codes of sparse tokens to images: analysis by synthesis instead of gradients.

Run as ``python -m astro_vq.training.fit_sparse SKY_DIR -o RUN [--rounds 6]``. Each round encodes
pieces of images with the codes there are, looks at what every token stands for (what is left at
its place, and its own part), and moves each code to the mean direction of what it stands for.
Codes that nothing uses restart at what was drawn worst. Brightness is divided out, so that a star
of any flux counts alike, with a weight that grows as the logarithm of its significance.
"""

import argparse
import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from astro_vq.checkpoint import save_model
from astro_vq.config import DataConfig, ModelConfig, RunConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.noise import autocovariance
from astro_vq.data.planes import PlaneReader
from astro_vq.errors import DataError
from astro_vq.likelihoods import LIKELIHOODS
from astro_vq.models.sparse import SparseVQ
from astro_vq.models.sparse_atoms import (
    BETAS,
    LEVELS,
    PATCH,
    StarShape,
    normalize,
    profiles,
)
from astro_vq.models.sparse_encoder import Quality
from astro_vq.models.sparse_gains import GAINS, signed_values
from astro_vq.models.sparse_scales import project
from astro_vq.models.sparse_stars import fit_star

_LAG = 8
_LEAST_USES = 3


class Piece(NamedTuple):
    """A piece of an image.

    Attributes
    ----------
    pixels : ndarray of float32, shape (H, W)
        Sky subtracted, in sigma; 0 where missing.
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of its noise.
    """

    pixels: NDArray[np.float32]
    covariance: NDArray[np.float64]


class Round(NamedTuple):
    """What a round found.

    Attributes
    ----------
    number, tokens : int
        Of the round; tokens of learnt codes and of stars in it.
    stars : float
        Share of tokens that are codes of stars.
    used : float
        Share of the codes that were used.
    perplexity : float
        Of the learnt codes.
    cosine : float
        Mean likeness of codes and what they stand for.
    left : float
        RMS of what is left, in sigma, in the median over pieces.
    """

    number: int
    tokens: int
    stars: float
    used: float
    perplexity: float
    cosine: float
    left: float


def cut_pieces(index: CutoutIndex, side: int, *, per_image: int = 1, seed: int = 0) -> list[Piece]:
    """Return pieces of all images of an index, at places drawn at random."""
    rng = np.random.default_rng(seed)
    reader, pieces = PlaneReader(), []
    for image in index.images:
        plane = image.planes[0]
        for _ in range(per_image):
            spans = []
            for n in image.shape:
                first = int(rng.integers(0, max(n - side, 0) + 1))
                spans.append(slice(first, min(first + side, n)))
            values = reader.read(plane.address, image.shape, *spans).astype(np.float64)
            values = np.where(plane.mask(values), values, np.nan)
            piece = make_piece((values - plane.scaling.sky) / plane.scaling.sigma)
            if piece is not None:
                pieces.append(piece)
    reader.close()
    return pieces


def make_piece(sigmas: NDArray[np.float64]) -> Piece | None:
    """Return a piece of pixels in sigma (NaN where missing); None where too few are there."""
    finite = np.isfinite(sigmas)
    if finite.mean() < 0.5 or min(sigmas.shape) < 2 * PATCH:
        return None
    pixels = np.where(finite, sigmas, 0.0).astype(np.float32)
    try:
        noise = autocovariance(sigmas, _LAG)
    except DataError:
        noise = np.ones((1, 1))
    if not np.isfinite(noise).all() or noise[len(noise) // 2, len(noise) // 2] <= 0:
        noise = np.ones((1, 1))
    return Piece(pixels, noise)


def start_model(
    pieces: Sequence[Piece], *, dim: int, codes: int, tokens: int, seed: int
) -> SparseVQ:
    """Return a model whose basis spans stars and the brightest patches, and codes are of these."""
    rng = np.random.default_rng(seed)
    stars = torch.cat([_bank(width) for width in (1.3, 1.8, 2.4, 3.1, 4.2, 5.6, 7.8)])
    patches = torch.from_numpy(np.stack([p for piece in pieces for p in _bright(piece, rng)]))
    both = torch.cat([stars.repeat(max(2 * len(patches) // len(stars), 1), 1), patches]).double()
    basis = torch.linalg.eigh(both.T @ both)[1][:, -dim:].flip(1).T.float()
    model = SparseVQ(
        LIKELIHOODS["normal"](ModelConfig()), dim=dim, codes=codes, tokens=tokens
    ).eval()
    order = torch.from_numpy(rng.permutation(len(patches)))
    chosen = torch.cat([stars, patches[order]])
    chosen = chosen.repeat(-(-codes // len(chosen)), 1)[:codes]
    with torch.no_grad():
        model.basis.copy_(basis)
        model.book.copy_(F.normalize(chosen @ basis.T, dim=1))
    return model


def _bank(width: float) -> Tensor:
    """Return Gaussians (N, 256), unit norm, at places over a cell, closer where they are sharp."""
    count = max(2, min(6, round(8 / width)))
    along = (np.arange(count) + 0.5) / count * 4 - 2
    star = StarShape(1, 0, 0, len(BETAS) - 1)
    drawn = profiles(star, width, np.repeat(along, count), np.tile(along, count))
    return torch.from_numpy(normalize(drawn.reshape(-1, PATCH**2).astype(np.float32)))


def _bright(piece: Piece, rng: np.random.Generator, number: int = 40) -> list[NDArray[np.float32]]:
    """Return bright patches (256,) of unit norm."""
    height, width = piece.pixels.shape
    smooth = F.avg_pool2d(torch.from_numpy(piece.pixels)[None, None], 3, 1, 1)[0, 0].numpy()
    order = np.argsort(-np.abs(smooth).ravel())[: 100 * number : 100]
    patches = []
    for place in order:
        y, x = (int(v) for v in divmod(int(place), width))
        y, x = (v - PATCH // 2 + int(rng.integers(-2, 2)) for v in (y, x))
        y, x = min(max(y, 0), height - PATCH), min(max(x, 0), width - PATCH)
        patch = piece.pixels[y : y + PATCH, x : x + PATCH].ravel()
        patches.append((patch / max(float(np.linalg.norm(patch)), 1e-9)).astype(np.float32))
    return patches


@torch.no_grad()
def run_round(
    model: SparseVQ, pieces: Sequence[Piece], quality: Quality, *, number: int, seed: int
) -> Round:
    """Encode pieces and move the codes of a model; the last round should not be moved after."""
    learnt = model.book.shape[0]
    directions, weights, codes, cosines, lefts = [], [], [], [], []
    stars = 0
    for piece in pieces:
        star = fit_star(piece.pixels, model.maker.basis)
        maps = model.encode_frame(piece.pixels, quality, star, piece.covariance)
        height, width = piece.pixels.shape
        left = piece.pixels - model.decode_frame(maps, star)[:height, :width]
        lefts.append(float(np.sqrt(np.square(left).mean())))
        unit = 4 * 2 ** (LEVELS - 1)
        padded = np.pad(left, [(0, -n % unit) for n in left.shape])
        k, y, x = np.nonzero(maps[0::2])
        index = maps[0::2][k, y, x].astype(np.int64) - 1
        code = torch.from_numpy(index % model.codes_per_level)
        level = torch.from_numpy(index // model.codes_per_level)
        gain = torch.from_numpy(signed_values(maps[1::2][k, y, x].astype(np.int64) - GAINS))
        stars += int((code >= learnt).sum())
        for n in range(LEVELS):
            here = (level == n) & (code < learnt)
            if not here.any():
                continue
            middle = torch.from_numpy(model.maker.middle(n)).double()
            own = torch.from_numpy(model.maker.learnt(n))[code[here]] * gain[here, None]
            latents = project(padded, model.maker.basis, n)
            found = torch.from_numpy(latents[y[here.numpy()] >> n, x[here.numpy()] >> n])
            steady = middle + 0.01 * torch.eye(len(middle), dtype=torch.float64)
            full = own.double() + torch.linalg.solve(steady, found.double().T).T
            size = full.norm(dim=1)
            direction = (full / size[:, None] * gain[here, None].sign()).float()
            directions.append(direction)
            weights.append(torch.log1p(size / 3).float())
            codes.append(code[here])
            cosines.append((F.normalize(model.book, dim=1)[code[here]] * direction).sum(1))
    direction, weight, code = torch.cat(directions), torch.cat(weights), torch.cat(codes)
    cosine = torch.cat(cosines)
    counts = torch.bincount(code, minlength=learnt)
    sums = torch.zeros_like(model.book).index_add_(0, code, direction * weight[:, None])
    moved = torch.where((counts >= _LEAST_USES)[:, None], F.normalize(sums, dim=1), model.book)
    dead = torch.nonzero(counts < 2)[:, 0]
    if len(dead):
        chance = weight * (1 - cosine.square()).clamp_min(0.01)
        generator = torch.Generator().manual_seed(seed)
        picked = torch.multinomial(chance, len(dead), len(dead) > len(chance), generator=generator)
        moved[dead] = direction[picked]
    model.book.copy_(F.normalize(moved, dim=1))
    share = counts.double() / counts.sum()
    entropy = -(share * torch.log(share.clamp_min(1e-30))).sum()
    return Round(
        number=number,
        tokens=len(code) + stars,
        stars=stars / max(len(code) + stars, 1),
        used=float((counts > 0).double().mean()),
        perplexity=math.exp(float(entropy)),
        cosine=float((cosine * weight).sum() / weight.sum()),
        left=float(np.median(lefts)),
    )


def fit(
    model: SparseVQ,
    pieces: Sequence[Piece],
    *,
    rounds: int,
    quality: Quality | None = None,
    seed: int = 0,
    note: Callable[[Round], None] | None = None,
) -> list[Round]:
    """Run rounds over all pieces; return what each found."""
    log = []
    for number in range(rounds):
        log.append(
            run_round(model, pieces, quality or Quality(), number=number, seed=seed + number)
        )
        if note is not None:
            note(log[-1])
    return log


def write_run(
    folder: Path, model: SparseVQ, log: Sequence[Round], *, name: str, card: str | None = None
) -> str:
    """Write a model, its configuration and the log of its rounds; return its hash."""
    config = RunConfig(
        model=ModelConfig(
            model="sparse",
            latent_channels=model.basis.shape[0],
            codes=model.book.shape[0],
            depth=model.tokens,
        ),
        data=DataConfig(fits_dir=("sky/train",)),
    )
    extra = {"rounds": len(log), "last": log[-1]._asdict()} if log else {}
    digest = save_model(folder, model, config, name=name, card=card, extra=extra)
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Round._fields)
        writer.writerows(log)
    return digest


def main() -> None:
    """Fit a model to the images of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="images to fit to, searched with all below it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--side", type=int, default=192, help="pixels on a side of a piece")
    parser.add_argument("--dim", type=int, default=40)
    parser.add_argument("--codes", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=12, help="most tokens of a position")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    index = CutoutIndex.build([options.folder])
    pieces = cut_pieces(index, options.side, seed=options.seed)
    model = start_model(
        pieces, dim=options.dim, codes=options.codes, tokens=options.tokens, seed=options.seed
    )
    log = fit(model, pieces, rounds=options.rounds, seed=options.seed)
    write_run(options.output, model, log, name=options.output.resolve().name)


if __name__ == "__main__":
    main()
