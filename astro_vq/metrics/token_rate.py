"""Bits that tokens take: at fixed width, by order-0 entropy, and under a prior."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from astro_vq.errors import DataError
from astro_vq.priors import TokenPrior
from astro_vq.priors.token_prior import count_codes


class TokenMap(NamedTuple):
    """Tokens of one image.

    Attributes
    ----------
    indices : Tensor (1, K, h, w) int64
        As the model gives them.
    counts : Tensor of bool (1, 1, h, w) or None
        True where a position counts; None where all do.
    """

    indices: Tensor
    counts: Tensor | None = None


class TokenRate(NamedTuple):
    """Bits per token; every index of a position is a token.

    Attributes
    ----------
    tokens : int
        Tokens counted.
    fixed : float
        ``ceil(log2(codes))``.
    order0 : float
        Entropy of the codes of all maps together, one table for each depth: what a static table
        made for just these maps takes.
    order0_image : float
        The same with tables for each map, their own size not counted.
    prior : float
        Under the prior.
    """

    tokens: int
    fixed: float
    order0: float
    order0_image: float
    prior: float

    @property
    def saved(self) -> float:
        """Share of the order-0 entropy that the prior saves."""
        return 1 - self.prior / self.order0 if self.order0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return {**self._asdict(), "saved": self.saved}


@torch.no_grad()
def measure_token_rate(prior: TokenPrior, maps: Iterable[TokenMap]) -> TokenRate:
    """Return the bits per token of some maps.

    Parameters
    ----------
    prior : TokenPrior
        In evaluation mode.
    maps : iterable of TokenMap
        Of images that the prior was not trained on.

    Raises
    ------
    DataError
        There is no token to count.
    """
    codes = prior.shape.codes
    pooled = torch.zeros(prior.levels, prior.shape.depth, codes, dtype=torch.int64)
    nats = own = 0.0
    for item in maps:
        levels = prior.maps(item.indices)
        found = prior.log_probs(item.indices)
        for level, (tokens, log_probs) in enumerate(zip(levels, found, strict=True)):
            finer = tokens.shape[-1] // item.indices.shape[-1]
            kept = _chosen(tokens, item.counts, finer)
            counts = count_codes(kept, codes).cpu()
            pooled[level] += counts
            own += _entropy_nats(counts)
            nats -= float(_chosen(log_probs.double(), item.counts, finer).sum())
    count = int(pooled.sum())
    if not count:
        raise DataError("there is no token to measure bits of")
    per_token = 1 / (count * math.log(2))
    return TokenRate(
        tokens=count,
        fixed=math.ceil(math.log2(codes)),
        order0=_entropy_nats(pooled.flatten(0, 1)) * per_token,
        order0_image=own * per_token,
        prior=nats * per_token,
    )


def _chosen(values: Tensor, counts: Tensor | None, finer: int) -> Tensor:
    """Return the values (1, K, 1, n) at positions that count, of a map (1, K, h, w)."""
    if counts is None:
        return values
    mask = counts.repeat_interleave(finer, 2).repeat_interleave(finer, 3)
    return values[0][:, mask[0, 0]][None, :, None]


def _entropy_nats(counts: Tensor) -> float:
    """Return n times the entropy, nats, of counts (K, codes), summed over K."""
    exact = counts.double()
    total = exact.sum(-1)
    return float(torch.xlogy(total, total).sum() - torch.xlogy(exact, exact).sum())
