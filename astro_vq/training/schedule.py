"""The course of a run: how much of it is done, and the learning rate at each point.

A run ends at a number of steps, at a time, or at whichever comes first. The learning rate is a
function of the step and of the share of the run that is done, and of nothing else, so that a
resumed run takes it up where it was.
"""

import math
from dataclasses import dataclass

from astro_vq.config import TrainingConfig

SHORTEST_WARMUP = 0.05
"""The warm-up ends at this share of the run at the latest, however many steps it was given."""


@dataclass(frozen=True)
class Schedule:
    """How long a run lasts, and its learning rate.

    Parameters
    ----------
    steps : int or None
        Steps at which the run ends.
    time_budget : float or None
        Seconds of training time at which the run ends; at least one of the two is set.
    learning_rate : float
        Peak.
    warmup : int
        Steps over which the rate rises linearly.
    shape : {'cosine', 'constant'}
        After the warm-up: half a cosine down to zero at the end, or no change.

    Raises
    ------
    ValueError
        Neither `steps` nor `time_budget` is set.

    References
    ----------
    Loshchilov & Hutter 2017, arXiv:1608.03983 (cosine annealing).

    Examples
    --------
    >>> schedule = Schedule(steps=100, time_budget=None, learning_rate=1e-3, warmup=0)
    >>> [round(schedule.rate(step, schedule.progress(step, 0.0)), 6) for step in (0, 50, 75)]
    [0.001, 0.0005, 0.000146]
    """

    steps: int | None
    time_budget: float | None
    learning_rate: float
    warmup: int
    shape: str = "cosine"

    def __post_init__(self) -> None:
        if self.steps is None and self.time_budget is None:
            raise ValueError("a schedule needs an end: give steps or time_budget")
        if self.shape not in ("cosine", "constant"):
            raise ValueError(f"shape must be 'cosine' or 'constant', got {self.shape!r}")

    @classmethod
    def from_config(cls, config: TrainingConfig) -> "Schedule":
        """Return the schedule that a configuration asks for."""
        return cls(
            config.steps,
            config.time_budget,
            config.learning_rate,
            config.warmup,
            config.schedule,
        )

    def progress(self, step: int, seconds: float) -> float:
        """Return the share of the run, 0 to 1, that is done.

        Parameters
        ----------
        step : int
            Steps done.
        seconds : float
            Training time so far; plays no part where there is no time budget.
        """
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps)
        if self.time_budget is not None:
            shares.append(seconds / self.time_budget)
        return min(1.0, max(shares))

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate of the step that follows.

        Parameters
        ----------
        step : int
            Steps done.
        progress : float
            What `progress` says of them.
        """
        rising = max((step + 1) / (self.warmup + 1), progress / SHORTEST_WARMUP)
        rate = self.learning_rate * min(1.0, rising)
        if self.shape == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * progress))
        return rate
