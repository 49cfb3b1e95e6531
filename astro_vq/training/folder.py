"""The run folder: which files a run writes, and which it may replace."""

import shutil
from pathlib import Path

from astro_vq.errors import DataError

CONFIG = "config.toml"
METRICS = "metrics.csv"
CARD = "MODEL_CARD.md"
CHECKPOINTS = "checkpoints"
PLOTS = "plots"
STATE = "state.json"
OURS = (CONFIG, METRICS, CARD, CHECKPOINTS, PLOTS, "model.safetensors", "model.json")
"""Everything that a run writes; ``--overwrite`` removes these and nothing else."""


class RunFolder:
    """Paths of a run.

    Parameters
    ----------
    path : Path
        The folder; made by `start`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        self.metrics = path / METRICS
        self.card = path / CARD
        self.checkpoints = path / CHECKPOINTS
        self.plots = path / PLOTS

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that the run may not write to; nothing is changed yet.

        Raises
        ------
        FileExistsError
            The folder is not empty, and neither to be resumed nor overwritten; or it is to be
            overwritten, but what would be removed is not of a run.
        DataError
            There is no run to resume.
        NotADirectoryError
            The path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is a file, not a run folder; choose another -o")
        is_used = self.path.is_dir() and any(self.path.iterdir())
        if resume:
            if not self.has_checkpoint:
                raise DataError(
                    f"{self.path} holds no checkpoint to resume from; start the run without "
                    "--resume"
                )
        elif is_used and overwrite:
            taken = [name for name in OURS if (self.path / name).exists()]
            if taken and not self.is_run:
                raise FileExistsError(
                    f"{self.path} holds {taken[0]}, but is not a run folder, so nothing in it is "
                    "replaced; choose another -o"
                )
        elif is_used:
            hint = "continue it with --resume, or " if self.has_checkpoint else ""
            raise FileExistsError(
                f"{self.path} is not empty; {hint}replace it with --overwrite (overwrite=True), "
                "or choose another -o"
            )

    @property
    def is_run(self) -> bool:
        """Whether the folder was written by a run."""
        return self.config.is_file() and (self.metrics.exists() or self.checkpoints.is_dir())

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self.last_checkpoint is not None

    @property
    def last_checkpoint(self) -> Path | None:
        """Folder of the newest complete checkpoint."""
        for name in ("last", "previous"):
            if (self.checkpoints / name / STATE).is_file():
                return self.checkpoints / name
        return None

    def start(self, *, keep: bool) -> None:
        """Make the folder; unless `keep`, remove what an earlier run wrote."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not keep:
            for name in OURS:
                target = self.path / name
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                else:
                    target.unlink(missing_ok=True)
        self.checkpoints.mkdir(exist_ok=True)
        self.plots.mkdir(exist_ok=True)
