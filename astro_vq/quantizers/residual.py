"""Residual quantisation: each code refines what the codes before it left, as deep as it pays."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.collective import any_over_processes
from astro_vq.layers import GRADIENTS
from astro_vq.quantizers.base import Quantizer, QuantizerOutput
from astro_vq.quantizers.usage import measure_usage
from astro_vq.quantizers.vector import VectorQuantizer


class ResidualVectorQuantizer(Quantizer):
    """A sequence of codebooks; a position stops when little is left of its latent.

    ::

        latent --> codebook 0 --> residual --> codebook 1 --> residual --> ... (depth K)
                        |                          |
                        +------------ + -----------+--> quantized

    From the second level on, index 0 is the zero vector: it says that nothing is added. A
    position whose residual falls to `stop` or below takes it at this and all deeper levels, so
    that bright structure gets many codes and empty sky one. A code that would not bring the sum
    nearer is not taken either.

    Parameters
    ----------
    codes, dim : int
        Codes per level (with the zero) and their dimension.
    depth : int
        Levels K.
    stop : float
        Mean squared residual per number of a latent at or below which a position is done.
    update, decay, restart, gradient, seed
        See `VectorQuantizer`.

    References
    ----------
    Zeghidour et al. 2021, arXiv:2107.03312, section III.C.
    """

    def __init__(
        self,
        codes: int,
        dim: int,
        *,
        depth: int = 4,
        stop: float = 0.0,
        update: str = "ema",
        decay: float = 0.99,
        restart: bool = True,
        gradient: str = "straight-through",
        seed: int = 0,
    ) -> None:
        super().__init__(codes, dim, depth=depth, gradient=gradient)
        if codes < 3:
            raise ValueError(f"residual levels need at least 3 codes, got {codes}")
        if stop < 0:
            raise ValueError(f"stop must be zero or more, got {stop}")
        self.stop = stop
        self.levels = nn.ModuleList(
            VectorQuantizer(
                codes if level == 0 else codes - 1,
                dim,
                update=update,
                decay=decay,
                restart=restart,
                seed=seed + level,
            )
            for level in range(depth)
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the sum (B, D, h, w) of the codes of indices (B, K, h, w)."""
        self._check_indices(indices)
        total: Tensor = torch.zeros((), device=indices.device)
        for level, place in enumerate(indices.unbind(1)):
            total = total + F.embedding(place, self._table(level))
        return total.movedim(-1, 1)

    def _table(self, level: int) -> Tensor:
        """Return the codes (codes, D) of a level, with the zero vector where it has one."""
        book = self.levels[level]
        vectors: Tensor = book.vectors  # type: ignore[assignment]
        return vectors if level == 0 else F.pad(vectors, (0, 0, 1, 0))

    def indices_to_depth(self, latents: Tensor, depth: Tensor) -> Tensor:
        """Return code indices (B, K, h, w) with a chosen number of codes at each position.

        Parameters
        ----------
        latents : Tensor (B, D, h, w)
            Latents.
        depth : Tensor of int (B, h, w)
            Codes to take, from 1 to `depth`; `stop` does not count.
        """
        self._check(latents)
        if depth.shape != (latents.shape[0], *latents.shape[2:]):
            raise ValueError(f"depth must be (B, h, w), got {tuple(depth.shape)}")
        return self._search(latents, depth.reshape(-1))

    def _indices(self, latents: Tensor) -> Tensor:
        return self._search(latents, None)

    @torch.no_grad()
    def _search(self, latents: Tensor, depth: Tensor | None) -> Tensor:
        batch, _, height, width = latents.shape
        rest = self._rows(latents)
        found = rest.new_zeros(len(rest), self.depth, dtype=torch.int64)
        for level in range(self.depth):
            if depth is not None:
                active = (depth > level).nonzero()[:, 0]
            else:
                active = self._active(rest, level)
            if len(active) == 0:
                break
            index = self.levels[level].indices(_as_map(rest[active])).reshape(-1)  # type: ignore[operator]
            index = self._accept(level, rest[active], index)
            found[active, level] = index
            rest[active] -= self._table(level)[index].to(rest)
        return found.view(batch, height, width, self.depth).movedim(-1, 1)

    def _rows(self, latents: Tensor) -> Tensor:
        rows = latents.movedim(1, -1).reshape(-1, self.dim)
        return rows.to(torch.promote_types(rows.dtype, torch.float32), copy=True)

    def _active(self, rest: Tensor, level: int) -> Tensor:
        if level == 0:
            return torch.arange(len(rest), device=rest.device)
        return (rest.square().mean(1) > self.stop).nonzero()[:, 0]

    def _accept(self, level: int, rest: Tensor, index: Tensor) -> Tensor:
        """Return indices into `_table`: zero where the code does not bring the sum nearer."""
        if level == 0:
            return index
        left = rest - self._table(level)[index + 1].to(rest)
        return torch.where(left.square().sum(1) < rest.square().sum(1), index + 1, 0)

    def _quantize(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            batch, _, height, width = latents.shape
            rows = latents.movedim(1, -1).reshape(-1, self.dim)
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
            total = torch.zeros_like(rows)
            codebook, commitment = rows.new_zeros(()), rows.new_zeros(())
            found = rows.new_zeros(len(rows), self.depth, dtype=torch.int64)
            for level, book in enumerate(self.levels):
                active = self._active((rows - total).detach(), level)
                if not any_over_processes(len(active) > 0, rows.device):
                    break
                rest = (rows - total.detach())[active]
                table = self._table(level)  # as it was before this batch taught the level
                result: QuantizerOutput = book(_as_map(rest))
                if len(active) == 0:
                    continue  # other processes have some
                index = self._accept(level, rest.detach(), result.indices.reshape(-1))
                found[active, level] = index
                chosen = F.embedding(index, table)
                share = len(active) / len(rows)  # losses are means over all positions
                codebook = codebook + share * result.codebook_loss
                commitment = commitment + share * result.commitment_loss
                total = total.index_add(0, active, chosen.detach().to(total))
            quantized = total.view(batch, height, width, self.dim).movedim(-1, 1)
            targets = rows.view(batch, height, width, self.dim).movedim(-1, 1)
            passed = GRADIENTS[self.gradient](targets, quantized)
            indices = found.view(batch, height, width, self.depth).movedim(-1, 1)
        return QuantizerOutput(
            passed, indices, codebook, commitment, measure_usage(indices, self.codes)
        )


def _as_map(rows: Tensor) -> Tensor:
    """Return rows (n, D) as a map (1, D, 1, n)."""
    return rows.T[None, :, None, :]
