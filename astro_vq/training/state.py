"""Checkpoints to resume from: model, optimiser, random numbers and position, without pickle.

A checkpoint is a folder with the model (as `astro_vq.checkpoint.save_model` writes it, codebook
averages included), ``state.safetensors`` (tensors of the optimiser, states of the random number
generators, loss terms not yet written) and ``state.json`` (everything else).
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from astro_vq import __version__
from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import RunConfig
from astro_vq.errors import FormatError
from astro_vq.io.atomic import atomic_writer
from astro_vq.models import Model
from astro_vq.training.folder import STATE, RunFolder

FORMAT = 1
"""Format number of a checkpoint's state; a number never changes its meaning."""

TENSORS = "state.safetensors"


@dataclass
class Position:
    """Where a run stands.

    Parameters
    ----------
    step : int
        Optimiser steps done; with the seed, it decides which cutouts come next.
    seconds : float
        Training time so far.
    progress : float
        Share of the run that is done, 0 to 1.
    rows : int
        Rows of ``metrics.csv`` that belong to it.
    part : int
        Parts of the run (see `astro_vq.training.trainer.VALIDATIONS`) that have begun.
    """

    step: int = 0
    seconds: float = 0.0
    progress: float = 0.0
    rows: int = 0
    part: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` found; the weights are read by `restore`.

    Attributes
    ----------
    folder : Path
        Where it is.
    config : RunConfig
        Of the run.
    position : Position
        Where the run stood.
    terms : tuple of str
        Names of the loss terms in `pending`.
    pending : Tensor (n, terms)
        Loss terms of the steps since the last line of metrics.
    data : dict
        What identifies the data, see `astro_vq.training.batches`.
    """

    folder: Path
    config: RunConfig
    position: Position
    terms: tuple[str, ...]
    pending: Tensor
    data: dict[str, Any]
    groups: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def save_checkpoint(
    folder: RunFolder,
    model: Model,
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    position: Position,
    *,
    terms: tuple[str, ...] = (),
    pending: Tensor | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint; until it is complete, the one before it stays.

    Parameters
    ----------
    folder : RunFolder
        Where; the checkpoint becomes ``checkpoints/last``.
    model, optimizer
        What to save.
    config : RunConfig
        Of the run.
    position : Position
        Where the run stands.
    terms : tuple of str
        Names of the loss terms in `pending`.
    pending : Tensor (n, terms), optional
        Loss terms of the steps since the last line of metrics.
    data : dict, optional
        What identifies the data; JSON values.
    """
    new, last, previous = (folder.checkpoints / name for name in ("new", "last", "previous"))
    shutil.rmtree(new, ignore_errors=True)
    save_model(new, model, config, name=folder.path.resolve().name)
    state = optimizer.state_dict()
    tensors = _random_states()
    for number, values in state["state"].items():
        for name, value in values.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    tensors["pending"] = torch.zeros(0, len(terms)) if pending is None else pending
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    about = {
        "format": FORMAT,
        "version": __version__,
        "torch": torch.__version__,
        "config": config.to_dict(),
        "position": asdict(position),
        "terms": list(terms),
        "data": data or {},
        "groups": state["param_groups"],
    }
    _write(new / TENSORS, save_tensors(tensors))
    _write(new / STATE, (json.dumps(about, indent=2) + "\n").encode())
    shutil.rmtree(previous, ignore_errors=True)
    if last.exists():
        last.rename(previous)
    new.rename(last)
    shutil.rmtree(previous, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with atomic_writer(path, overwrite=True) as file:
        file.write(data)


def _random_states() -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["random.mps"] = torch.mps.get_rng_state()
    return states


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the state of a checkpoint.

    Parameters
    ----------
    path : Path
        Folder of the checkpoint.

    Raises
    ------
    FormatError
        It is damaged or of a newer format.
    """
    try:
        about = json.loads((path / STATE).read_text(encoding="utf-8"))
        _check_format(about["format"], path)
        tensors = load_tensors((path / TENSORS).read_bytes())
        return Checkpoint(
            folder=path,
            config=RunConfig.from_dict(about["config"]),
            position=Position(**about["position"]),
            terms=tuple(about["terms"]),
            pending=tensors.pop("pending"),
            data=about["data"],
            groups=about["groups"],
            tensors=tensors,
        )
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as err:
        raise FormatError(f"{path}: damaged checkpoint: {err}; it cannot be resumed") from err


def _check_format(number: object, path: Path) -> None:
    if number != FORMAT:
        raise FormatError(
            f"{path}: checkpoint format {number} is not known, this version reads {FORMAT}; "
            "a newer astro-vq may read it"
        )


def restore(checkpoint: Checkpoint, model: Model, optimizer: torch.optim.Optimizer) -> None:
    """Put weights, optimiser and random number generators where the checkpoint left them.

    Parameters
    ----------
    checkpoint : Checkpoint
        What `load_checkpoint` gave.
    model, optimizer
        Built from the checkpoint's configuration; changed in place.

    Raises
    ------
    FormatError
        The checkpoint is damaged or does not fit the model.
    """
    loaded = load_model(checkpoint.folder)
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            states.setdefault(int(number), {})[key] = tensor
    try:
        model.load_state_dict(loaded.model.state_dict(), strict=True)
        optimizer.load_state_dict({"state": states, "param_groups": checkpoint.groups})
    except (RuntimeError, ValueError, KeyError) as err:
        raise FormatError(f"{checkpoint.folder}: does not fit its model: {err}") from err
    torch.set_rng_state(checkpoint.tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in checkpoint.tensors:
        torch.cuda.set_rng_state(checkpoint.tensors["random.cuda"])
    if torch.backends.mps.is_available() and "random.mps" in checkpoint.tensors:
        torch.mps.set_rng_state(checkpoint.tensors["random.mps"])
