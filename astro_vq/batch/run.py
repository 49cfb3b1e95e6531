"""Jobs through a pool: a few at a time, again where a process died, in order, and written down."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from astro_vq.batch.jobs import Job, Outcome
from astro_vq.batch.manifest import Manifest
from astro_vq.batch.pools import Finished, Pool
from astro_vq.io.atomic import remove_leftovers

RETRIES = 2
"""Further attempts at a job whose process died, or that met an error of input or output."""

AHEAD = 16
"""Outcomes that may wait for an earlier one, for each job that a pool holds."""


class _Entry(NamedTuple):
    number: int
    job: Job
    attempt: int


def run_jobs(
    jobs: Iterable[Job],
    pool: Pool,
    *,
    retries: int = RETRIES,
    ordered: bool = True,
    manifest: Manifest | None = None,
) -> Iterator[Outcome]:
    """Do jobs, and yield what came of each; one that fails does not stop the others.

    Jobs are taken one by one as the pool has room for them, so that their number does not matter.
    A job whose process died is tried again, as is one that failed with an error that may pass
    (of input and output); what is left then is its outcome.

    Parameters
    ----------
    jobs : iterable of Job
        What to do.
    pool : Pool
        Who does it; closed at the end.
    retries : int
        Further attempts.
    ordered : bool
        Yield outcomes in the order of the jobs; otherwise as they come.
    manifest : Manifest, optional
        Where each job is written down, before it is begun and when it is done.

    Yields
    ------
    Outcome
        One for each job.
    """
    runner = _Runner(jobs, pool, retries, ordered, manifest)
    try:
        yield from runner.outcomes()
    finally:
        pool.close()


class _Runner:
    def __init__(
        self,
        jobs: Iterable[Job],
        pool: Pool,
        retries: int,
        ordered: bool,
        manifest: Manifest | None,
    ) -> None:
        self._jobs = enumerate(jobs)
        self._pool = pool
        self._retries = retries
        self._ordered = ordered
        self._manifest = manifest
        self._again: deque[_Entry] = deque()
        self._running: dict[int, _Entry] = {}
        self._waiting: dict[int, Outcome] = {}
        self._next = 0

    def outcomes(self) -> Iterator[Outcome]:
        self._submit()
        while self._running:
            for finished in self._pool.wait():
                self._take(finished)
            ready = list(self._ready())
            self._submit()  # the pool works on while whoever asked looks at these
            yield from ready

    def _submit(self) -> None:
        """Fill the pool; what is begun and done is in the manifest before the next job starts."""
        entries: list[_Entry] = []
        while len(self._running) + len(entries) < self._pool.capacity:
            entry = self._choose()
            if entry is None:
                break
            entries.append(entry)
        if self._manifest is not None:
            for entry in entries:
                self._manifest.begin(entry.job)
            self._manifest.flush()
        for entry in entries:
            self._running[entry.number] = entry
            self._pool.submit(entry.number, entry.job)

    def _choose(self) -> _Entry | None:
        if self._again:
            return self._again.popleft()
        if self._ordered and len(self._waiting) >= AHEAD * self._pool.capacity:
            return None
        number, job = next(self._jobs, (0, None))
        if job is None:
            return None
        job = job._replace(is_new=job.output is not None and not job.output.exists())
        if self._manifest is not None:
            job = self._manifest.recall(job)
            if job.may_replace and job.previous is None:
                _clean_up(job)  # begun by a run that did not end it
        return _Entry(number, job, 1)

    def _take(self, finished: Finished) -> None:
        entry = self._running.pop(finished.number)
        outcome = finished.outcome
        died = outcome is None
        if outcome is None:
            _clean_up(entry.job)
            outcome = Outcome(entry.job.source, error=finished.reason, output=entry.job.output)
        if entry.attempt <= self._retries and (died or outcome.may_pass):
            # it may have died, or met its error, when the output was there already
            job = entry.job._replace(may_replace=entry.job.may_replace or entry.job.is_new)
            self._again.append(_Entry(entry.number, job, entry.attempt + 1))
            return
        if died:
            outcome = replace(outcome, error=f"{outcome.error}; tried {entry.attempt} times")
        outcome = _named(replace(outcome, attempts=entry.attempt), entry.job)
        if self._manifest is not None:
            self._manifest.end(entry.job, outcome)
        self._waiting[entry.number] = outcome

    def _ready(self) -> Iterator[Outcome]:
        if not self._ordered:
            while self._waiting:
                yield self._waiting.pop(next(iter(self._waiting)))
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1


def _named(outcome: Outcome, job: Job) -> Outcome:
    """Return an outcome with the names of the job as it was given, relative ones stay so."""
    if outcome.source == job.source:
        return outcome
    names = {str(path.absolute()): str(path) for path in (job.source, job.output) if path}
    result = {
        key: names.get(value, value) if isinstance(value, str) else value
        for key, value in outcome.done.result.items()
    }
    done = outcome.done._replace(result=result)
    return replace(outcome, source=job.source, output=job.output, done=done)


def _clean_up(job: Job) -> None:
    """Remove what a process that died was writing."""
    if job.output is not None:
        remove_leftovers(job.output)
