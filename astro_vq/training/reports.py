"""What a training run tells whoever watches it, and what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from astro_vq.errors import AstroVQError


class DivergenceError(AstroVQError, ArithmeticError):
    """The loss or its gradient is no longer a finite number."""


@dataclass(frozen=True)
class Note:
    """Something to know about the run.

    Parameters
    ----------
    text : str
        One line.
    """

    text: str


@dataclass(frozen=True)
class StepReport:
    """Where the run stands.

    Parameters
    ----------
    step : int
        Optimiser steps done.
    progress : float
        Share of the run that is done, 0 to 1.
    seconds : float
        Training time so far, earlier parts of a resumed run included.
    terms : mapping of str to float
        Loss terms, means over the steps since the last line of metrics.
    learning_rate : float
        Of the last step.
    images_per_second : float
        Cutouts trained on per second, data loading included, validation not.
    """

    step: int
    progress: float
    seconds: float
    terms: Mapping[str, float]
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class ValidationReport:
    """How the model does on images that it was not trained on.

    Parameters
    ----------
    step : int
        Optimiser steps done.
    cutouts : int
        Cutouts looked at.
    terms : mapping of str to float
        Loss terms, means over valid pixels.
    sky : mapping of str to float
        The same terms, as far as they exist, for an image that is nothing but its sky level.
    counts : tuple of int
        How often each code was used; empty for models without codes.
    perplexity : float or None
        exp of the entropy of the codes.
    """

    step: int
    cutouts: int
    terms: Mapping[str, float]
    sky: Mapping[str, float]
    counts: tuple[int, ...] = ()
    perplexity: float | None = None

    @property
    def codes_used(self) -> int:
        """Codes that were used at least once."""
        return sum(count > 0 for count in self.counts)


Progress = Callable[[Note | StepReport | ValidationReport], None]
"""Is called with every report, in the process and thread that trains."""


@dataclass(frozen=True)
class TrainingResult:
    """What came of a run.

    Parameters
    ----------
    output : Path
        The run folder.
    step : int
        Optimiser steps done.
    seconds : float
        Training time, earlier parts of a resumed run included.
    images : int
        Cutouts trained on.
    interrupted : bool
        Whether a signal ended the run; it can be resumed.
    terms : mapping of str to float
        Loss terms on training data, means over the last line of metrics.
    validation : ValidationReport or None
        The last validation; None where it was not reached.
    """

    output: Path
    step: int
    seconds: float
    images: int
    interrupted: bool
    terms: Mapping[str, float] = field(default_factory=dict)
    validation: ValidationReport | None = None
