"""Searches and averages over a codebook, in bounded memory."""

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK_NUMBERS = 1 << 22
"""Distances held at a time (16 MiB of float32): no rows x codes table is ever made whole."""


class Nearest(NamedTuple):
    """Nearest codes of rows.

    Attributes
    ----------
    indices : Tensor (N,) int64
        Index of the nearest code; of codes equally near, any.
    distances : Tensor (N,)
        Squared distance to it.
    """

    indices: Tensor
    distances: Tensor


@torch.no_grad()
def find_nearest(rows: Tensor, vectors: Tensor) -> Nearest:
    """Find the nearest of some vectors for each row, chunk by chunk.

    Parameters
    ----------
    rows : Tensor (N, D)
        What to find a code for.
    vectors : Tensor (K, D)
        The codes, same dtype.

    Returns
    -------
    Nearest
    """
    vectors = vectors.to(rows)
    half = vectors.square().sum(1) / -2
    chunk = max(1, CHUNK_NUMBERS // len(vectors))
    indices = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    best = torch.empty(len(rows), dtype=rows.dtype, device=rows.device)
    transposed = vectors.T
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        # |x - e|^2 = |x|^2 - 2 (x e - |e|^2 / 2): the largest bracket is the nearest code
        scores = torch.addmm(half, rows[part], transposed)
        torch.max(scores, 1, out=(best[part], indices[part]))
        best[part].mul_(-2).add_(rows[part].square().sum(1)).clamp_min_(0)
    return Nearest(indices, best)


@torch.no_grad()
def cluster_sums(rows: Tensor, indices: Tensor, codes: int) -> Tensor:
    """Return the sum (codes, D) of the rows (N, D) of each index (N,)."""
    sums = torch.zeros(codes, rows.shape[1], dtype=rows.dtype, device=rows.device)
    return sums.index_add_(0, indices, rows)


@torch.no_grad()
def draw_rows(
    rows: Tensor, number: int, generator: torch.Generator, *, weights: Tensor | None = None
) -> Tensor:
    """Draw rows at random, without replacement where there are enough.

    Parameters
    ----------
    rows : Tensor (N, D)
        What to draw from.
    number : int
        Rows to return.
    generator : torch.Generator
        On the CPU, so that every device draws the same rows.
    weights : Tensor (N,), optional
        Probabilities, not normalised; even when left out or when all are zero.
    """
    count = len(rows)
    if weights is not None:
        # the largest of log(weight) + Gumbel noise: sampling without replacement in one pass
        noise = -torch.rand(count, generator=generator, dtype=torch.float64).log()
        keys = weights.detach().double().cpu().clamp_min(1e-300).log() - noise.log()
        chosen = keys.topk(min(number, count)).indices
    else:
        chosen = torch.randperm(count, generator=generator)[:number]
    if number > count:
        more = torch.randint(count, (number - count,), generator=generator)
        chosen = torch.cat([chosen, more])
    return rows[chosen.to(rows.device)]


@torch.no_grad()
def run_kmeans(
    rows: Tensor, codes: int, *, generator: torch.Generator, iterations: int = 10
) -> Tensor:
    """Return centres (codes, D) of rows (N, D) by Lloyd's iterations.

    Centres start at rows drawn evenly; a centre that loses all its rows moves to a row that is
    far from its own centre. With fewer rows than codes, rows repeat with a small jitter.

    Parameters
    ----------
    rows : Tensor (N, D)
        Points.
    codes : int
        Number of centres.
    generator : torch.Generator
        On the CPU.
    iterations : int
        Lloyd iterations.
    """
    centres = draw_rows(rows, codes, generator).clone()
    if len(rows) < codes:
        noise = torch.randn(centres.shape, generator=generator).to(centres)
        return centres + 0.01 * rows.std(0, unbiased=False).clamp_min(1e-3) * noise
    for _ in range(iterations):
        nearest = find_nearest(rows, centres)
        counts = torch.bincount(nearest.indices, minlength=codes)
        centres = cluster_sums(rows, nearest.indices, codes) / counts.clamp_min(1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            centres[empty] = draw_rows(
                rows, len(empty), generator, weights=nearest.distances.sqrt()
            )
    return centres
