"""From a frame to sparse tokens: levels from coarse to fine, several rounds, on what is left."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from astro_vq.models.sparse_atoms import (
    BETAS,
    LEVELS,
    PATCH,
    STAR_CODES,
    STRIDE,
    WIDTHS,
    StarShape,
    enlarge,
    project,
    render,
    star_codes,
)
from astro_vq.models.sparse_books import Books
from astro_vq.quantizers.pursuit import GAINS, Criterion, gain_values, pursue

_ROUNDS = 3
_FOLLOWING = 0.4  # threshold near tokens, in that of new sources, for what an aperture sees
_TOLERANCE = 0.002  # share of a bright source that may stay, at a threshold of one sigma
_TOKEN_BITS = 18.0  # of a usual token; a code that is dearer must explain more
_LEAST_SPECTRUM = 0.02  # of the noise, in that of white noise


@dataclass(frozen=True)
class Quality:
    """When a token is worth its bits.

    Parameters
    ----------
    threshold : float
        Significance, in sigma under its own matched filter, at which a new source is coded. What
        is left of it is followed to two fifths of that, as an aperture sees it, and bright
        sources to a share of their flux (one percent at a threshold of five).
    """

    threshold: float = 5.0


class _Level(NamedTuple):
    """Working arrays of a level."""

    codes: NDArray[np.float32]
    first: NDArray[np.float32]
    gram: NDArray[np.float32]
    criterion: Criterion


def encode_plane(
    pixels: Tensor,
    basis: Tensor,
    books: list[Books],
    quality: Quality,
    covariance: Tensor,
    *,
    tokens: int,
    per_level: int,
) -> Tensor:
    """Return indices (2 K, h, w) int32 of a plane; see `SparseVQ.encode_frame`."""
    height, width = pixels.shape
    unit = STRIDE * 2 ** (LEVELS - 1)
    left = F.pad(pixels.to(basis)[None, None], (0, -width % unit, 0, -height % unit))
    sizes = [tuple(n // (STRIDE << level) for n in left.shape[2:]) for level in range(LEVELS)]
    noises = [latent_noise(basis, n, covariance) for n in range(3)]
    levels = [_prepare(books[n], noises[min(n, 2)], quality) for n in range(LEVELS)]
    counts = [np.zeros(size, np.int64) for size in sizes]
    near = np.zeros(sizes[0], np.float32)
    free = np.full(sizes[0], tokens, np.int64)
    taken: list[NDArray[np.int64]] = []
    for _ in range(_ROUNDS):
        changed = False
        found = 0
        latents = [project(left, basis, n) for n in range(LEVELS)]
        strength = [_strength(z, level.first) for z, level in zip(latents, levels, strict=True)]
        for n in reversed(range(LEVELS)):
            allowed = _allowed(strength, n)
            if not allowed.any():
                continue
            z = latents[n] if not changed else project(left, basis, n)
            work = z.cpu().numpy().copy()
            around = _coarsen(near, n)
            spare = np.ascontiguousarray(free[:: 1 << n, :: 1 << n])
            rows = pursue(
                work,
                levels[n].gram,
                levels[n].codes,
                levels[n].first,
                levels[n].criterion,
                near=around,
                allowed=allowed,
                count=counts[n],
                free=spare,
            )
            if not len(rows):
                continue
            free[:: 1 << n, :: 1 << n] = spare
            taken.append(np.column_stack([np.full(len(rows), n), rows]))
            found += len(rows)
            left = left - _draw(rows, levels[n].codes, basis, n, sizes[n])
            changed = True
            near = np.maximum(near, np.kron(around, np.ones((1 << n, 1 << n), np.float32)))
        if not found:
            break
    return _to_map(taken, (-(-height // STRIDE), -(-width // STRIDE)), tokens, per_level)


def _strength(latents: Tensor, first: NDArray[np.float32]) -> Tensor:
    """Return the square of the largest gain of each cell (1, 1, h, w)."""
    gains = latents.reshape(-1, latents.shape[-1]) @ torch.from_numpy(first).to(latents).T
    return gains.square().amax(1).view(1, 1, *latents.shape[:2])


def _allowed(strength: list[Tensor], level: int) -> NDArray[np.bool_]:
    """Return cells that explain more than every finer cell around them."""
    own = strength[level]
    finer = torch.zeros_like(own)
    for n in range(level):
        finer = torch.maximum(finer, F.max_pool2d(strength[n], 1 << (level - n)))
    if level:
        finer = F.max_pool2d(finer, 5, 1, 2)
    return np.asarray((own >= finer)[0, 0].cpu().numpy(), bool)


def _coarsen(near: NDArray[np.float32], level: int) -> NDArray[np.float32]:
    size = 1 << level
    h, w = near.shape
    blocks = near.reshape(h // size, size, w // size, size)
    return np.ascontiguousarray(blocks.max((1, 3)))


def _draw(
    rows: NDArray[np.int64],
    codes: NDArray[np.float32],
    basis: Tensor,
    level: int,
    size: tuple[int, ...],
) -> Tensor:
    values = gain_values()[np.abs(rows[:, 3])] * np.sign(rows[:, 3])
    drawn = torch.from_numpy((codes[rows[:, 2]] * values[:, None]).astype(np.float32)).to(basis)
    places = torch.from_numpy(rows[:, :2].copy()).to(basis.device)
    return render(drawn, places[:, 0], places[:, 1], basis, (size[0], size[1]), level)


def _to_map(
    taken: list[NDArray[np.int64]], size: tuple[int, int], tokens: int, per_level: int
) -> Tensor:
    """Return tokens as indices (2 K, h, w), in the order taken at each position."""
    out = np.zeros((2 * tokens, *size), np.int32)
    filled = np.zeros(size, np.int64)
    for level, i, j, code, gain in np.concatenate(taken) if taken else ():
        y, x = i << level, j << level
        if y >= size[0] or x >= size[1]:
            continue  # a cell beyond the border
        k = filled[y, x]
        out[2 * k, y, x] = 1 + level * per_level + code
        out[2 * k + 1, y, x] = GAINS + gain
        filled[y, x] += 1
    return torch.from_numpy(out)


def _prepare(book: Books, noise: Tensor, quality: Quality) -> _Level:

    def spread(codes: Tensor) -> Tensor:
        double = codes.double()
        return ((double @ noise) * double).sum(1).clamp_min(1e-4).sqrt().to(codes)

    weights = []
    for codes, seen in ((book.codes, book.weights), (book.first, book.first_weights)):
        sigma = spread(codes)
        far = 1 / (quality.threshold * sigma)
        near = torch.maximum(far, seen / (_FOLLOWING * quality.threshold * sigma))
        weights += [_numpy(far), _numpy(near)]
    learnt = len(book.codes) - STAR_CODES
    bits = np.full(len(book.codes), math.log2(max(learnt, 2)) + 1.0, np.float32)
    bits[learnt:] = math.log2(STAR_CODES) + 1.0
    cost = ((bits + 10) / _TOKEN_BITS - 1).astype(np.float32)
    criterion = Criterion(
        weights[0],
        weights[1],
        weights[2],
        weights[3],
        np.stack([cost, cost]),
        _TOLERANCE * quality.threshold,
    )
    return _Level(_numpy(book.codes), _numpy(book.first), _numpy(book.gram), criterion)


def _numpy(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float32)


def latent_noise(basis: Tensor, level: int, covariance: Tensor) -> Tensor:
    """Return the covariance (D, D), float64, that noise gives latents of a level.

    Parameters
    ----------
    basis : Tensor (D, 256)
        Of the model.
    level : int
        Those from 2 on are taken to be like 2: correlations are shorter than their cells.
    covariance : Tensor (2 L + 1, 2 L + 1)
        Autocovariance of the noise of pixels.
    """
    level = min(level, 2)
    patches = F.pad(basis.detach().cpu().double().view(-1, 1, PATCH, PATCH), (1,) * 4)
    images = enlarge(patches, level)[:, 0]
    lag = covariance.shape[0] // 2
    shape = [int(n) + 2 * lag for n in images.shape[1:]]
    kernel = torch.zeros(shape, dtype=torch.float64)
    lags = torch.arange(-lag, lag + 1)
    kernel[(lags % shape[0])[:, None], (lags % shape[1])[None]] = covariance.double().cpu()
    spectrum = torch.fft.rfft2(kernel).real.clamp_min(_LEAST_SPECTRUM)
    filtered = torch.fft.irfft2(torch.fft.rfft2(images, s=shape) * spectrum, s=shape)
    filtered = filtered[:, : images.shape[1], : images.shape[2]]
    products: Tensor = images.flatten(1) @ filtered.flatten(1).T
    return products


@torch.no_grad()
def fit_star(pixels: Tensor, basis: Tensor, *, most: int = 300) -> StarShape:
    """Return the shape of the stars of a frame: what draws its compact sources best.

    Parameters
    ----------
    pixels : Tensor (H, W)
        Sky subtracted, in sigma; 0 where missing.
    basis : Tensor (D, 256)
        Of the model.
    most : int
        Sources that are looked at; those between 12 and 2000 sigma count.

    Returns
    -------
    StarShape
        With width 0 where fewer than four sources are there.
    """
    height, width = pixels.shape
    image = F.pad(pixels.to(basis)[None, None], (0, -width % STRIDE, 0, -height % STRIDE))
    latents = project(image, basis, 0)
    power = latents.square().sum(-1)
    top = F.max_pool2d(power[None, None], 5, 1, 2)[0, 0]
    here = (power >= top) & (power > 12.0**2) & (power < 2000.0**2)
    found = latents[here]
    if len(found) < 4:
        return StarShape()
    order = found.square().sum(1).argsort(descending=True)[:most]
    found = F.normalize(found[order], dim=1)
    kept = max(len(found) * 6 // 10, 4)

    def value(shape: StarShape) -> float:
        codes = star_codes(shape, basis, 0, ((1.0, 5, 0),))
        explained = (found @ codes.T).amax(1).clamp_min(0).square()
        best = explained.sort(descending=True)[0][:kept]
        return float(-torch.log(1.0001 - best).mean())

    round_ones = [StarShape(w, 0, 0, b) for w in range(3, WIDTHS, 2) for b in range(len(BETAS))]
    shape = max(round_ones, key=value)
    near = [
        StarShape(w, e1, e2, shape.beta)
        for w in (shape.width - 1, shape.width, shape.width + 1)
        for e1 in (-4, -2, 0, 2, 4)
        for e2 in (-4, -2, 0, 2, 4)
    ]
    return max(near, key=value)
