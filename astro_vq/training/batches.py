"""Which cutouts make up each batch: a function of seed and step, so that a run can go on anywhere.

Cutouts are drawn epoch by epoch, each in an order of its own; where an epoch ends within a batch,
the next one fills it up, so that every batch is full.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from astro_vq.data.datasets import Batch, CutoutDataset, collate
from astro_vq.training.interrupt import ignore_interrupts


class BatchOrder(Sampler[list[tuple[int, int]]]):
    """Gives (epoch, item) pairs of one batch after another, without end.

    Parameters
    ----------
    length : int
        Items in an epoch.
    batch_size : int
        Items in a batch; may be larger than an epoch.
    seed : int
        Seed of the order.
    start : int
        Batches to leave out at the start.
    part, parts : int
        Give this of so many parts of each batch: what one of several processes takes.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        start: int = 0,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        if length < 1 or batch_size < 1:
            raise ValueError(f"nothing to draw batches of {batch_size} from {length} items")
        if batch_size % parts or not 0 <= part < parts:
            raise ValueError(f"there is no part {part} of {parts} of a batch of {batch_size}")
        self.part = slice(part * batch_size // parts, (part + 1) * batch_size // parts)
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.start = start

    def epoch_of(self, step: int) -> int:
        """Return the epoch that the first item of a batch belongs to."""
        return step * self.batch_size // self.length

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start * self.batch_size
        epoch, order = -1, torch.empty(0, dtype=torch.int64)
        while True:
            batch = []
            for number in range(position, position + self.batch_size):
                if number // self.length != epoch:
                    epoch = number // self.length
                    order = self.order(epoch)
                batch.append((epoch, int(order[number % self.length])))
            position += self.batch_size
            yield batch[self.part]

    def order(self, epoch: int) -> Tensor:
        """Return the order of the items (length,) in one epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.length, generator=generator)


class EpochItems(Dataset[dict[str, Tensor]]):
    """A dataset of cutouts, with items known by (epoch, item)."""

    def __init__(self, dataset: CutoutDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, item = key
        return self.dataset.item(item, epoch=epoch)


def train_batches(
    dataset: CutoutDataset, order: BatchOrder, *, workers: int, device: torch.device
) -> Iterator[Batch]:
    """Return an iterator over batches of training data that never ends.

    Parameters
    ----------
    dataset : CutoutDataset
        Where cutouts come from.
    order : BatchOrder
        Which cutouts.
    workers : int
        Processes that read; 0 reads in this one.
    device : torch.device
        Where batches will go; memory is pinned for CUDA.
    """
    return iter(
        DataLoader(
            EpochItems(dataset),
            batch_sampler=order,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=ignore_interrupts,
            pin_memory=device.type == "cuda",
            # the loader seeds its workers from this and leaves torch's own generator alone
            generator=torch.Generator().manual_seed(order.seed),
        )
    )
