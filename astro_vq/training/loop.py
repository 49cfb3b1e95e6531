"""Train a model: from a configuration to a run folder."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astro_vq.config import RunConfig, write_toml
from astro_vq.training.data import check_weights, open_data
from astro_vq.training.devices import reproducible
from astro_vq.training.distributed import check_distributed, join_processes
from astro_vq.training.folder import RunFolder
from astro_vq.training.interrupt import Interruption
from astro_vq.training.launch import Launch
from astro_vq.training.noise import check_noise, find_noise, set_noise
from astro_vq.training.reports import Note, Progress, TrainingResult
from astro_vq.training.settings import change_options, find_changes, with_an_end
from astro_vq.training.state import Checkpoint, load_checkpoint
from astro_vq.training.trainer import Trainer


def train(
    config: RunConfig | Mapping[str, Any],
    output: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a model and write a run folder.

    The folder holds ``config.toml``, ``metrics.csv``, ``model.safetensors`` and ``model.json``,
    ``checkpoints/last``, ``plots/`` and ``MODEL_CARD.md``. SIGINT and SIGTERM end the run early
    with all of these (where Python delivers signals: in the main thread).

    In several processes that ``torchrun`` has started, or of a process group of torch that is
    there, each takes a part of every batch; the first one writes the folder and calls `progress`.

    Parameters
    ----------
    config : RunConfig or mapping
        What to do. A mapping gives options by name, such as ``{"fits_dir": ["cutouts"], "steps":
        1000}``; the others have their defaults, or the values of the run that is resumed.
    output : str or Path
        The run folder.
    resume : bool
        Continue the run in `output` from its last checkpoint, bit for bit as if it had not been
        interrupted (same device, number of threads and version of torch). Of `config`, only
        what does not make it another run may differ: its length, learning rate and schedule,
        where it runs, and how often it reports.
    overwrite : bool
        Replace the run in `output`.
    progress : callable, optional
        Is called with every `Note`, `StepReport` and `ValidationReport`.

    Returns
    -------
    TrainingResult

    Raises
    ------
    FileExistsError
        `output` is not empty, and neither `resume` nor `overwrite` is set.
    ConfigError
        An option is unknown or impossible, or may not change when a run is resumed.
    DataError
        There is no image to train on, no run to resume, or no noise covariance to be had for a
        multivariate normal.
    DivergenceError
        The loss is no longer finite; the last good checkpoint is kept.

    Examples
    --------
    >>> import astro_vq
    >>> astro_vq.train({"fits_dir": ["cutouts"], "steps": 1000}, "run")  # doctest: +SKIP
    """
    started = time.monotonic()
    if resume and overwrite:
        raise ValueError("resume and overwrite exclude each other")
    tell = progress or _ignore
    folder = RunFolder(Path(output))
    if Launch.from_environment().is_first:
        folder.check(resume=resume, overwrite=overwrite)
    else:
        tell = _ignore
    checkpoint = load_checkpoint(_newest(folder)) if resume else None
    settled = _settle(config, checkpoint, tell)
    options = settled.training
    with (
        join_processes(options.device) as (launch, device),
        reproducible(device, seed=options.seed, threads=options.threads),
    ):
        check_distributed(settled, launch, device)
        check_weights(settled)
        data = open_data(settled.data, seed=options.seed)
        for note in data.notes:
            tell(Note(note))
        if checkpoint is not None:
            data.check_same(checkpoint.data)
        noise = find_noise(settled, data.training.index) if checkpoint is None else None
        if launch.is_first:
            folder.start(keep=resume)
            write_toml(settled, folder.config)
        trainer = Trainer(settled, data, folder, device, tell, launch, started=started)
        if checkpoint is not None:
            trainer.restore(checkpoint)
            check_noise(trainer.model, settled)
        elif noise is not None:
            tell(Note(set_noise(trainer.model, noise)))
        with Interruption() as interruption:
            return trainer.run(interruption)


def _ignore(report: object) -> None:
    """Take a report and do nothing."""


def _newest(folder: RunFolder) -> Path:
    path = folder.last_checkpoint
    assert path is not None  # `RunFolder.check` has seen it
    return path


def _settle(
    config: RunConfig | Mapping[str, Any], checkpoint: Checkpoint | None, tell: Progress
) -> RunConfig:
    """Return the configuration of the run, checked against that of a run to resume."""
    if not isinstance(config, RunConfig):
        config = change_options(RunConfig() if checkpoint is None else checkpoint.config, config)
    config = with_an_end(config)
    if checkpoint is None:
        return config
    for name, (before, after) in find_changes(checkpoint.config, config).items():
        tell(Note(f"resumed with {name} {after} (was {before})"))
    return config
