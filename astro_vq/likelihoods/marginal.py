"""Marginals of normal densities: what is left of one when some pixels are masked.

Planes that share a mask share a factorisation, and factors of late are kept: masks of images
smaller than a cutout, and of borders, come again and again.
"""

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from astro_vq.likelihoods.gaussian import LOG_TWO_PI

CACHE_BYTES = 2**27
"""Bound of the factors that are kept."""

Box = tuple[slice, slice]


class MaskGroup(NamedTuple):
    """Planes that share a mask.

    Attributes
    ----------
    valid : Tensor of bool (...)
        The mask, on the CPU: True where a pixel counts.
    places : list of int
        The planes.
    key : bytes
        The mask in bits.
    """

    valid: Tensor
    places: list[int]
    key: bytes


def group_masks(mask: Tensor) -> list[MaskGroup]:
    """Group planes (P, ...) by their masks."""
    values = mask.cpu().numpy()
    bits = np.packbits(values.reshape(len(values), -1), axis=1)
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place, row in enumerate(bits):
        groups[row.tobytes()].append(place)
    return [
        MaskGroup(torch.from_numpy(values[places[0]]), places, key)
        for key, places in groups.items()
    ]


def boxes_of(mask: Tensor) -> list[tuple[Box | None, list[int]]]:
    """Return the smallest rectangles around the valid pixels of planes (P, H, W).

    Each comes with the numbers of its planes; those without any valid pixel have None.
    """
    values = mask.cpu().numpy()
    groups: dict[tuple[int, int, int, int], list[int]] = defaultdict(list)
    for place, plane in enumerate(values):
        ys, xs = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
        ends = (ys[0], ys[-1] + 1, xs[0], xs[-1] + 1) if len(ys) else (0, 0, 0, 0)
        groups[tuple(map(int, ends))].append(place)  # type: ignore[index]
    return [
        ((slice(y0, y1), slice(x0, x1)) if y1 else None, places)
        for (y0, y1, x0, x1), places in groups.items()
    ]


class FactorCache:
    """Cholesky factors by key, the least recently used forgotten beyond a bound.

    Parameters
    ----------
    most_bytes : int
        The bound.
    """

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[tuple[object, ...], Tensor] = OrderedDict()
        self._bytes = 0

    def factor(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """Return the factor of a key; of ``make()``, a matrix (M, M), where there is none."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        factor: Tensor = torch.linalg.cholesky(make())
        size = factor.numel() * factor.element_size()
        if size <= self.most_bytes:
            self._kept[key] = factor
            self._bytes += size
        while self._bytes > self.most_bytes:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.numel() * old.element_size()
        return factor


class Known(NamedTuple):
    """A normal density of planes of N pixels with mean zero, as far as marginals need it.

    Attributes
    ----------
    solve, apply : callable
        Multiply planes (P, N) by precision and covariance.
    precision, covariance : callable
        Give the block (M, M) of either between chosen pixels (N,), on the CPU.
    log_det : callable
        Gives the logarithm of the determinant of the covariance.
    largest_block : int
        Most pixels of a block.
    """

    solve: Callable[[Tensor], Tensor]
    apply: Callable[[Tensor], Tensor]
    precision: Callable[[Tensor], Tensor]
    covariance: Callable[[Tensor], Tensor]
    log_det: Callable[[], Tensor]
    largest_block: int


class Completed(NamedTuple):
    """Planes without holes that stand for planes with them.

    Attributes
    ----------
    planes : Tensor (P, N)
        Masked pixels have their means given the valid ones.
    gain : Tensor (P,)
        Log density of the valid part, less that of the completed plane.
    """

    planes: Tensor
    gain: Tensor


@torch.no_grad()
def complete(
    residual: Tensor, mask: Tensor, known: Known, cache: FactorCache, key: tuple[object, ...]
) -> Completed:
    """Fill masked pixels with their means given the valid ones.

    ``log p(valid) = log p(valid, masked = its mean) - log p(masked = its mean | valid)``; the last
    depends on the mask only. The filled pixels make the first as large as it can be, so that its
    derivative by them is zero, and that by the valid ones the whole derivative.

    Where fewer pixels are masked than valid, the block of the precision between masked pixels is
    factorised, else that of the covariance between valid ones.

    Parameters
    ----------
    residual : Tensor (P, N)
        Residuals, zero where masked.
    mask : Tensor of bool (P, N)
        True where a residual counts.
    known : Known
        The density.
    cache : FactorCache
        Where factors are kept.
    key : tuple
        What tells this density from others in the cache.

    Raises
    ------
    ValueError
        A plane has more masked and more valid pixels than the largest block.
    """
    solved = known.solve(residual)
    planes, gain = residual.clone(), residual.new_empty(len(residual))
    for group in group_masks(mask):
        valid = int(group.valid.sum())
        masked = group.valid.numel() - valid
        if min(valid, masked) > known.largest_block:
            raise ValueError(
                f"a plane of {valid + masked} pixels has {masked} masked ones; at most "
                f"{known.largest_block} can be marginalised at once: cut it into smaller ones"
            )
        rows = torch.tensor(group.places, device=residual.device)
        by_precision = masked <= valid
        chosen = ~group.valid if by_precision else group.valid
        make = functools.partial(known.precision if by_precision else known.covariance, chosen)
        factor = cache.factor((*key, group.key), make).to(residual)
        log_det = 2 * factor.diagonal().log().sum()
        columns = chosen.nonzero()[:, 0].to(residual.device)
        if by_precision:
            means = -torch.cholesky_solve(solved[rows[:, None], columns].T, factor).T
            planes[rows[:, None], columns] = means
        else:
            log_det = log_det - known.log_det()
            weights = torch.zeros_like(residual[rows])
            weights[:, columns] = torch.cholesky_solve(residual[rows][:, columns].T, factor).T
            planes[rows] = torch.where(mask[rows], residual[rows], known.apply(weights))
        gain[rows] = 0.5 * (masked * LOG_TWO_PI - log_det)
    return Completed(planes, gain)
