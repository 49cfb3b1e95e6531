"""Sums over the processes that train one model together.

What a model learns from statistics of a batch (counts of valid pixels, usage of codes, averages of
latents) has to come from the whole batch, of which each process holds a part. Within
`synchronised` the functions here reach over all processes, which must call them in the same
order; everywhere else, and with a single process, they return what they are given.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

_depth = 0  # of `synchronised` blocks


@contextmanager
def synchronised() -> Iterator[None]:
    """Let the functions of this module reach over all processes of torch's process group."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def process_count() -> int:
    """Return how many processes share the work: 1 outside `synchronised`."""
    if not _depth or not dist.is_available() or not dist.is_initialized():
        return 1
    return dist.get_world_size()


@torch.no_grad()
def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor, of the same shape everywhere, over all processes."""
    if process_count() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


@torch.no_grad()
def mean_over_processes(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor, of the same shape everywhere, over all processes."""
    count = process_count()
    return tensor if count == 1 else sum_over_processes(tensor) / count


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows (N, ...) of all processes, one process after the other.

    Their number may differ between processes.
    """
    count = process_count()
    if count == 1:
        return rows
    lengths = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(count)]
    dist.all_gather(lengths, torch.full_like(lengths[0], len(rows)))
    most = max(int(length) for length in lengths)
    filled = rows.new_zeros(most, *rows.shape[1:])
    filled[: len(rows)] = rows.detach()
    parts = [torch.empty_like(filled) for _ in range(count)]
    dist.all_gather(parts, filled)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths, strict=True)])


@torch.no_grad()
def take_first(tensor: Tensor) -> Tensor:
    """Return the tensor that the first process has."""
    if process_count() == 1:
        return tensor
    tensor = tensor.detach().clone()
    dist.broadcast(tensor, 0)
    return tensor


def any_over_processes(value: bool, device: torch.device) -> bool:
    """Whether a value is true in any process."""
    if process_count() == 1:
        return value
    return bool(sum_over_processes(torch.tensor([float(value)], device=device)) > 0)
