"""Options of training."""

from dataclasses import dataclass
from typing import Literal

from astro_vq.config.section import Section


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How a model is trained.

    Parameters
    ----------
    steps : int or None
        Optimiser steps.
    time_budget : float or None
        Seconds of wall-clock time; the run ends at whichever of the two comes first.
    batch_size : int
        Cutouts per step.
    learning_rate : float
        Peak learning rate of Adam.
    schedule : {'cosine', 'constant'}
        Course of the learning rate after the warm-up.
    warmup : int
        Steps of linear warm-up.
    clip : float or None
        Largest norm of the gradient.
    noise_warmup : float
        First part of the run, from 0 to 1, in which correlated noise counts as white
        (`multivariate-normal` with a stationary covariance).
    precision : {'auto', 'float32', 'bfloat16'}
        Arithmetic of the networks; 'auto' takes bfloat16 where it helps.
    device : str
        'auto', 'cpu', 'cuda' (or 'cuda:1', ...) or 'mps'.
    seed : int
        Seed of everything random.
    threads : int or None
        CPU threads.
    log_every, validate_every, checkpoint_every : int
        Steps between lines of metrics, validations and checkpoints.
    """

    steps: int | None = None
    time_budget: float | None = None
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 100
    clip: float | None = 1.0
    noise_warmup: float = 0.5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    seed: int = 0
    threads: int | None = None
    log_every: int = 50
    validate_every: int = 500
    checkpoint_every: int = 1000

    def _check(self) -> None:
        self._need_positive("steps", "time_budget", "batch_size", "learning_rate", "clip")
        self._need_positive("threads", "log_every", "validate_every", "checkpoint_every")
        self._need(self.warmup >= 0, "warmup", "zero or more")
        self._need(0 <= self.noise_warmup <= 1, "noise_warmup", "between 0 and 1")
        self._need(self.seed >= 0, "seed", "zero or more")
        kind = self.device.split(":")[0]
        devices = ("auto", "cpu", "cuda", "mps")
        self._need(kind in devices, "device", "auto, cpu, cuda or mps")
