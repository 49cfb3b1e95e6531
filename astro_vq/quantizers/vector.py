"""Vector quantisation: each latent becomes the nearest of a set of learnt codes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.collective import gather_rows, process_count, sum_over_processes, take_first
from astro_vq.layers import GRADIENTS
from astro_vq.quantizers.base import Quantizer, QuantizerOutput
from astro_vq.quantizers.codebook import (
    cluster_sums,
    draw_rows,
    find_nearest,
    run_kmeans,
)
from astro_vq.quantizers.usage import CodeUsage, usage_of_counts

UNUSED = 0.05
"""A code whose smoothed share of the latents is below this part of an even share is restarted."""

USAGE_DECAY = 0.9
"""Decay of the smoothed share: an unused code is restarted after some thirty steps."""

SMOOTHING = 1e-5
"""Added to counts (Laplace), so that a code that nothing uses is not divided by zero."""

KMEANS_ROWS = 64
"""Latents per code, at most, that the start by k-means looks at."""


class VectorQuantizer(Quantizer):
    """A codebook that learns by moving averages or by gradient.

    ::

        latents (B, D, h, w) --> nearest code --> indices (B, 1, h, w)
                 |                    |
                 |                  lookup
                 +---- gradient <-----+--> quantized (B, D, h, w)

    Everything runs in float32 at least. The first batch in training mode sets the codes by
    k-means. Codes that nothing uses are put at latents of the current batch, drawn with
    probability growing with their distance from their code. In several processes (see
    `astro_vq.collective`) all of this is of the latents of all.

    Parameters
    ----------
    codes, dim : int
        Number of codes and their dimension.
    update : {'ema', 'gradient'}
        Codes follow moving averages of their latents, or the gradient of the codebook loss.
    decay : float
        Decay of the moving averages, in [0, 1); those of usage too.
    restart : bool
        Restart codes that are not used.
    kmeans_init : bool
        Start by k-means on the first batch; otherwise codes are uniform in +-1/codes.
    cosine : bool
        Compare directions: latents and codes are divided by their norms first.
    gradient : {'straight-through', 'rotation'}
        How the gradient passes to the latents.
    seed : int
        Seed of the start and of the restarts, which do not touch torch's global generator.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937, equation 3 and appendix A.1; Lancucki et al.
    2020, arXiv:2005.08520 (k-means start); Dhariwal et al. 2020, arXiv:2005.00341 (restarts).
    """

    codebook: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor
    recent_share: Tensor
    initialised: Tensor
    steps: Tensor

    def __init__(
        self,
        codes: int,
        dim: int,
        *,
        update: str = "ema",
        decay: float = 0.99,
        restart: bool = True,
        kmeans_init: bool = True,
        cosine: bool = False,
        gradient: str = "straight-through",
        seed: int = 0,
    ) -> None:
        super().__init__(codes, dim, gradient=gradient)
        if update not in ("ema", "gradient"):
            raise ValueError(f"update must be 'ema' or 'gradient', got {update!r}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.update = update
        self.decay = decay
        self.restart = restart
        self.cosine = cosine
        self.seed = seed
        start = torch.rand(codes, dim, generator=torch.Generator().manual_seed(seed))
        start = (2 * start - 1) / codes
        if update == "gradient":
            self.codebook = nn.Parameter(start)
        else:
            self.register_buffer("codebook", start)
            self.register_buffer("cluster_sum", start.clone())
        # smoothed share of the latents, in units of an even share: starts at 1 for every code
        self.register_buffer("cluster_size", torch.ones(codes))
        self.register_buffer("recent_share", torch.ones(codes))
        self.register_buffer("initialised", torch.tensor(not kmeans_init))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def vectors(self) -> Tensor:
        """The codes (codes, D) as they are compared: unit vectors for the cosine option."""
        return F.normalize(self.codebook, dim=1) if self.cosine else self.codebook

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the codes (B, D, h, w) of indices (B, 1, h, w)."""
        self._check_indices(indices)
        return F.embedding(indices[:, 0], self.vectors).movedim(-1, 1)

    def _rows(self, latents: Tensor) -> Tensor:
        rows = latents.movedim(1, -1).reshape(-1, self.dim)
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return F.normalize(rows, dim=1) if self.cosine else rows

    def _indices(self, latents: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
            batch, _, height, width = latents.shape
            nearest = find_nearest(self._rows(latents), self.vectors).indices
            return nearest.view(batch, 1, height, width)

    def _quantize(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            batch, _, height, width = latents.shape
            rows = self._rows(latents)
            if self.training:
                self._initialise(rows.detach())
            nearest = find_nearest(rows.detach(), self.vectors.detach())
            counts = torch.bincount(nearest.indices, minlength=self.codes)
            counts = sum_over_processes(counts)
            indices = nearest.indices.view(batch, 1, height, width)
            quantized = self.lookup(indices)
            targets = rows.view(batch, height, width, self.dim).movedim(-1, 1)
            commitment = F.mse_loss(targets, quantized.detach())
            learns_by_gradient = self.update == "gradient"
            codebook = (
                F.mse_loss(quantized, targets.detach())
                if learns_by_gradient
                else commitment.new_zeros(())
            )
            passed = GRADIENTS[self.gradient](targets, quantized)
            usage: CodeUsage = usage_of_counts(counts)
            if self.training:
                self._learn(rows.detach(), nearest.indices, nearest.distances, counts)
        return QuantizerOutput(passed, indices, codebook, commitment, usage)

    def _generator(self) -> torch.Generator:
        """Return a generator that depends on the seed and step only: a resumed run repeats it."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.steps))

    @torch.no_grad()
    def _initialise(self, rows: Tensor) -> None:
        if bool(self.initialised):
            return
        generator = self._generator()
        rows = gather_rows(rows)
        sample = draw_rows(rows, min(len(rows), KMEANS_ROWS * self.codes), generator)
        centres = take_first(run_kmeans(sample, self.codes, generator=generator))
        self.codebook.copy_(centres)
        if self.update == "ema":
            self.cluster_sum.copy_(centres)
        self.cluster_size.fill_(1)
        self.recent_share.fill_(1)
        self.initialised.fill_(True)

    @torch.no_grad()
    def _learn(self, rows: Tensor, indices: Tensor, distances: Tensor, counts: Tensor) -> None:
        total: int | Tensor = len(rows) if process_count() == 1 else counts.sum().clamp_min(1)
        scale = self.codes / total  # an even share is 1, whatever the batch size
        share = counts.to(self.cluster_size) * scale
        self.cluster_size.lerp_(share, 1 - self.decay)
        self.recent_share.lerp_(share, 1 - USAGE_DECAY)
        if self.update == "ema":
            sums = sum_over_processes(cluster_sums(rows, indices, self.codes))
            sums = sums.to(self.cluster_sum) * scale
            self.cluster_sum.lerp_(sums, 1 - self.decay)
            size = self.cluster_size.sum()
            size = (self.cluster_size + SMOOTHING) * size / (size + self.codes * SMOOTHING)
            self.codebook.copy_(self.cluster_sum / size[:, None])
        if self.restart:
            self._restart(rows, distances)
        self.steps += 1

    def _restart(self, rows: Tensor, distances: Tensor) -> None:
        unused = (self.recent_share < UNUSED).nonzero()[:, 0]
        if len(unused) == 0:
            return
        rows, distances = gather_rows(rows), gather_rows(distances)
        unused = unused[: len(rows)]
        chosen = draw_rows(rows, len(unused), self._generator(), weights=distances.sqrt())
        # .data: the graph of this step still holds the codebook, at codes that nothing used
        self.codebook.data[unused] = chosen.to(self.codebook.dtype)
        self.cluster_size[unused] = 1
        self.recent_share[unused] = 1
        if self.update == "ema":
            self.cluster_sum[unused] = chosen.to(self.cluster_sum.dtype)
