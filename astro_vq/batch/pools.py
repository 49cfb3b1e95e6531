"""What runs jobs: here one after the other; see `processes` and `cluster` for the others."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from astro_vq.batch.jobs import Job, Outcome, Work, attempt


class Finished(NamedTuple):
    """A job that is no longer with a pool.

    Attributes
    ----------
    number : int
        Given when it was submitted.
    outcome : Outcome or None
        What came of it; None when the process that did it died.
    reason : str
        How it died.
    """

    number: int
    outcome: Outcome | None
    reason: str = ""


class Pool(Protocol):
    """Runs jobs, as many at a time as it has room for."""

    @property
    def capacity(self) -> int:
        """Jobs that it may hold at a time; may change while it runs."""
        ...

    def submit(self, number: int, job: Job) -> None:
        """Take a job; never more than `capacity` at a time."""
        ...

    def wait(self) -> Sequence[Finished]:
        """Return at least one finished job; there must be one that is not finished yet."""
        ...

    def close(self) -> None:
        """Stop whatever still runs, and free everything."""
        ...


class SerialPool:
    """Does each job in this process when it is waited for.

    Parameters
    ----------
    work : callable
        Does one job.
    """

    capacity = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._held: list[tuple[int, Job]] = []

    def submit(self, number: int, job: Job) -> None:
        """Keep a job."""
        self._held.append((number, job))

    def wait(self) -> Sequence[Finished]:
        """Do the job."""
        number, job = self._held.pop()
        return [Finished(number, attempt(self._work, job))]

    def close(self) -> None:
        """Forget the job that was not done."""
        self._held.clear()
