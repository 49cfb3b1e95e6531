"""Snapshots of the codebook during training, from which its drift is read later.

One small file a snapshot in ``checkpoints/codebooks``: the codes of each level, as safetensors.
When there are many, every second one is dropped, so that a long run keeps few, evenly spread.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from astro_vq.errors import FormatError, ModelMismatchError
from astro_vq.io.atomic import atomic_writer
from astro_vq.metrics.codebook_levels import code_vectors, find_levels
from astro_vq.models import Model
from astro_vq.training.folder import CHECKPOINTS

FOLDER = "codebooks"

MOST = 48
"""Snapshots that are kept, at most."""


class Snapshot(NamedTuple):
    """The codes of a model at one step of its training.

    Attributes
    ----------
    step : int
        Of the optimiser.
    vectors : dict of str to ndarray (codes, D)
        Codes by the name of their level.
    """

    step: int
    vectors: dict[str, NDArray[np.float64]]


def save_snapshot(run: Path, model: Model, step: int) -> None:
    """Write the codes of a model; without codes that learn nothing is written.

    Parameters
    ----------
    run : Path
        Run folder.
    model : Model
        On any device.
    step : int
        Of the optimiser; an earlier snapshot of the same step is replaced.
    """
    try:
        levels = find_levels(model)
    except ModelMismatchError:
        return
    tensors = {
        level.name: torch.from_numpy(code_vectors(level).astype(np.float32))
        for level in levels
        if level.quantizer.state_dict()  # codes that are fixed have none
    }
    if not tensors:
        return
    folder = run / CHECKPOINTS / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_writer(folder / f"{step:09d}.safetensors", overwrite=True) as file:
        file.write(save_tensors(tensors))
    known = _files(run)
    if len(known) > MOST:
        for path in known[1:-1:2]:
            path.unlink()


def drop_snapshots(run: Path, step: int) -> None:
    """Remove snapshots of later steps: those that an interrupted run wrote after its checkpoint."""
    for path in _files(run):
        if int(path.stem) > step:
            path.unlink()


def read_snapshots(run: Path) -> list[Snapshot]:
    """Return the snapshots of a run folder, in the order of their steps; empty without any.

    Raises
    ------
    FormatError
        One is damaged.
    """
    snapshots = []
    for path in _files(run):
        try:
            tensors = load_tensors(path.read_bytes())
        except SafetensorError as err:
            raise FormatError(f"{path}: damaged snapshot of a codebook: {err}; remove it") from err
        vectors = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        snapshots.append(Snapshot(int(path.stem), vectors))
    return snapshots


def _files(run: Path) -> list[Path]:
    found = (run / CHECKPOINTS / FOLDER).glob("*.safetensors")
    return sorted(path for path in found if path.stem.isdigit())
