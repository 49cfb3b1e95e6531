"""Training in several processes: each takes a part of every batch, and all learn the same.

Started by ``torchrun``, or within a process group of torch that is there already. The batch size
stays that of the whole batch, so that a run gives the same loss curve, to the rounding of sums,
whatever the number of processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from astro_vq.collective import sum_over_processes, synchronised
from astro_vq.config import RunConfig
from astro_vq.errors import ConfigError
from astro_vq.models import Model
from astro_vq.models.base import LossTerms, PixelBatch
from astro_vq.training.devices import choose_device
from astro_vq.training.launch import Launch

_SEED_STEP, _SEED_RANK = 1_000_003, 7_919


@contextmanager
def join_processes(device_name: str) -> Iterator[tuple[Launch, torch.device]]:
    """Join the processes that ``torchrun`` has started; give the place of this one, and its device.

    A process group that is there is used, and stays; one that is made here ends with the block.

    Parameters
    ----------
    device_name : str
        As for `choose_device`; of several GPUs each process takes the one of its local rank.

    Raises
    ------
    ConfigError
        The device is not to be had here.
    """
    launch = Launch.from_environment()
    is_there = dist.is_available() and dist.is_initialized()
    if is_there:
        rank, size = dist.get_rank(), dist.get_world_size()
        launch = Launch(rank, size, launch.local_rank if launch.size == size else rank)
    device = choose_device(device_name)
    if launch.size == 1:
        yield launch, device
        return
    if device.type == "mps":
        raise ConfigError("several processes train on cpu or cuda, not on mps; use --device cpu")
    if device.type == "cuda" and device.index is None:
        device = choose_device(f"cuda:{launch.local_rank}")
        torch.cuda.set_device(device)
    if not is_there:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield launch, device
    finally:
        if not is_there:
            dist.destroy_process_group()


def check_distributed(config: RunConfig, launch: Launch, device: torch.device) -> None:
    """Refuse what several processes cannot do as one would.

    Raises
    ------
    ConfigError
        The batch cannot be divided, or batch normalisation has no batch to be of.
    """
    size = config.training.batch_size
    if size % launch.size:
        raise ConfigError(
            f"a batch of {size} cutouts cannot be shared evenly by {launch.size} processes; give "
            f"--batch-size {-(-size // launch.size) * launch.size}"
        )
    if launch.size > 1 and config.model.batch_norm and device.type != "cuda":
        raise ConfigError(
            "batch normalisation over several processes needs GPUs; leave out --batch-norm"
        )


class SharedLoss:
    """The loss of a model over a batch of which this process has a part.

    Parameters
    ----------
    model : Model
        Its weights become those of the first process.
    launch : Launch
        Place of this process; of one alone nothing is wrapped.
    device : torch.device
        Where the model is.
    """

    def __init__(self, model: Model, launch: Launch, device: torch.device) -> None:
        self._launch = launch
        self._loss: nn.Module = _Loss(model)
        if launch.size > 1:
            if device.type == "cuda":
                nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
            self._loss = DistributedDataParallel(
                self._loss,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # what they hold is summed over processes already
                find_unused_parameters=_may_rest(model),
            )

    def __call__(self, batch: PixelBatch) -> LossTerms:
        """Return the terms of the loss; gradients of ``loss`` are means over processes."""
        with synchronised():
            terms: LossTerms = self._loss(batch)
        return terms

    def mean(self, values: list[Tensor]) -> list[Tensor]:
        """Return means of values () over processes."""
        if self._launch.size == 1:
            return values
        stacked = torch.stack([value.detach().float() for value in values])
        with synchronised():
            return list((sum_over_processes(stacked) / self._launch.size).unbind())

    def seed(self, seed: int, step: int) -> None:
        """Seed what models draw in a step: other numbers in each process, and after a resume.

        The first process goes on with its generator, as it would alone.
        """
        if self._launch.rank:
            torch.manual_seed(seed * _SEED_STEP + step * _SEED_RANK + self._launch.rank)

    def agree(self, seconds: float, wanted: bool) -> tuple[float, bool]:
        """Return the time of the first process, and whether any process wants to end."""
        if self._launch.size == 1:
            return seconds, wanted
        mine = [seconds if self._launch.is_first else 0.0, float(wanted)]
        with synchronised():
            both = sum_over_processes(torch.tensor(mine, dtype=torch.float64))
        return float(both[0]), bool(both[1] > 0)


class _Loss(nn.Module):
    """A module whose forward pass is the loss of a model: what gradients are averaged for."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: PixelBatch) -> LossTerms:
        return self.model.loss(batch)


def _may_rest(model: Any) -> bool:  # noqa: ANN401 - a `Model`
    """Whether there are weights that a part of a batch may leave out: levels of codes."""
    return getattr(model, "depth", 1) > 1
