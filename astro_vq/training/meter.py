"""Loss terms and speed between two lines of metrics."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Meter:
    """Collects what every step gives, without waiting for the device that computes it.

    Parameters
    ----------
    names : sequence of str
        Names of the terms of a step.
    pending : Tensor (n, names), optional
        Terms of steps that an interrupted run had not yet written.

    Attributes
    ----------
    last : dict of str to float
        Means of the last line.
    """

    def __init__(self, names: Sequence[str], pending: Tensor | None = None) -> None:
        self.names = tuple(names)
        self.last: dict[str, float] = {}
        self._steps: list[Tensor] = [] if pending is None else list(pending)
        self._cutouts = 0
        self._seconds = 0.0
        self._rate = 0.0

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, values: Sequence[Tensor], *, cutouts: int, seconds: float) -> None:
        """Take the terms of a step, each of shape (), and what it was worth."""
        self._steps.append(torch.stack([value.detach().float() for value in values]))
        self._cutouts += cutouts
        self._seconds += seconds

    @property
    def pending(self) -> Tensor:
        """Terms (n, names) of the steps since the last line."""
        return torch.stack(self._steps) if self._steps else torch.zeros(0, len(self.names))

    @property
    def images_per_second(self) -> float:
        """Cutouts per second since the last line."""
        return self._cutouts / self._seconds if self._seconds > 0 else self._rate

    def is_finite(self, *, last: int | None = None) -> bool:
        """Say whether the terms since the last line, or of the last few steps, are finite."""
        steps = self._steps if last is None else self._steps[-last:]
        return not steps or bool(torch.isfinite(torch.stack(steps)).all())

    def means(self) -> dict[str, float]:
        """Return the means since the last line; those of that line where there are none."""
        if not self._steps:
            return dict(self.last)
        means = self.pending.cpu().double().mean(0)
        return dict(zip(self.names, means.tolist(), strict=True))

    def end_line(self) -> dict[str, float]:
        """Return the means since the last line, and start the next."""
        self.last = self.means()
        self._rate = self.images_per_second
        self._steps.clear()
        self._cutouts, self._seconds = 0, 0.0
        return self.last
