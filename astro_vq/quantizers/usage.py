"""How much of a codebook is in use."""

from typing import NamedTuple

import torch
from torch import Tensor

from astro_vq.collective import sum_over_processes


class CodeUsage(NamedTuple):
    """Usage of the codes of a codebook.

    Attributes
    ----------
    counts : Tensor (codes,) int64
        How often each code was chosen.
    perplexity : Tensor ()
        exp of the entropy of the codes, in nats: between 1 (one code) and `codes` (all alike).
    dead : Tensor () int64
        Codes that were not chosen at all.
    """

    counts: Tensor
    perplexity: Tensor
    dead: Tensor


def measure_usage(indices: Tensor, codes: int) -> CodeUsage:
    """Count the codes among indices (of all processes, see `astro_vq.collective`).

    Parameters
    ----------
    indices : Tensor of int64, any shape
        Code indices in ``[0, codes)``; negative ones (no code) are left out.
    codes : int
        Number of codes.

    Examples
    --------
    >>> usage = measure_usage(torch.tensor([0, 0, 1, 1]), 3)
    >>> round(usage.perplexity.item(), 6), usage.dead.item()
    (2.0, 1)
    """
    flat = indices.reshape(-1)
    counts = torch.bincount(flat[flat >= 0], minlength=codes)
    return usage_of_counts(sum_over_processes(counts))


def usage_of_counts(counts: Tensor) -> CodeUsage:
    """Return the usage that counts (codes,) stand for; of several batches, add their counts."""
    share = counts.double() / counts.sum().clamp_min(1)
    entropy = -torch.xlogy(share, share).sum()
    return CodeUsage(counts, entropy.exp().float(), (counts == 0).sum())
