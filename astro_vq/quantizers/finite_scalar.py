"""Finite scalar quantisation: each latent channel is rounded to one of a few levels."""

import math

import torch
from torch import Tensor

from astro_vq.quantizers.base import Quantizer, QuantizerOutput
from astro_vq.quantizers.usage import measure_usage

_MARGIN = 1e-3  # so that the outer levels are reached by finite latents


class FiniteScalarQuantizer(Quantizer):
    """No codebook: channel i is bounded by tanh and rounded to ``levels[i]`` values.

    ::

        latent --> tanh, scale --> round --> / (levels // 2) --> quantized in [-1, 1]
                                     |
                                     +--> mixed radix --> index in [0, prod(levels))

    The gradient passes the rounding unchanged. Nothing is learnt here: both losses are zero.

    Parameters
    ----------
    levels : sequence of int
        Levels per channel, at least 2 each; the first channel varies fastest in the index.

    References
    ----------
    Mentzer et al. 2023, arXiv:2309.15505.
    """

    reach: Tensor
    offset: Tensor
    shift: Tensor
    width: Tensor
    counts: Tensor
    radix: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        if not levels or min(levels) < 2:
            raise ValueError(f"levels must be at least 2 each, and some, got {levels}")
        super().__init__(math.prod(levels), len(levels))
        counts = torch.tensor(levels)
        half = (counts - 1) * (1 + _MARGIN) / 2
        offset = torch.where(counts % 2 == 0, 0.5, 0.0)
        radix = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])
        for name, value in {
            "counts": counts,
            "reach": half,
            "offset": offset,
            "shift": torch.atanh(offset / half),
            "width": counts // 2,
            "radix": radix,
        }.items():  # all follow from the levels: nothing to save
            self.register_buffer(name, value, persistent=False)

    def _bound(self, latents: Tensor) -> Tensor:
        z = latents.movedim(1, -1)
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        return torch.tanh(z + self.shift) * self.reach - self.offset

    def _index(self, rounded: Tensor) -> Tensor:
        return ((rounded.long() + self.width) * self.radix).sum(-1)[:, None]

    def _indices(self, latents: Tensor) -> Tensor:
        with torch.no_grad():
            return self._index(self._bound(latents).round())

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the levels (B, D, h, w), in [-1, 1], of indices (B, 1, h, w)."""
        self._check_indices(indices)
        digits = indices[:, 0, ..., None] // self.radix % self.counts
        return ((digits - self.width) / self.width).movedim(-1, 1)

    def _quantize(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            bounded = self._bound(latents)
            rounded = bounded.round()
            indices = self._index(rounded.detach())
            passed = (bounded + (rounded - bounded).detach()) / self.width
            zero = bounded.new_zeros(())
        usage = measure_usage(indices, self.codes)
        return QuantizerOutput(passed.movedim(-1, 1), indices, zero, zero, usage)
