"""Many files with one call: where each output goes, and work that survives a bad file."""

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import click

from .console import Console, describe_error

PACKED_SUFFIXES = (".gz", ".bz2", ".fz")
"""Endings of images that are unpacked to be compressed; what comes back is plain FITS."""


_INTERRUPTED = threading.Event()
"""Set in a process of a pool when Ctrl-C has ended one of its jobs."""


class Job(NamedTuple):
    """One file to work on, and where its result goes if it is written."""

    source: Path
    output: Path | None = None


class Done(NamedTuple):
    """What the work on one file gives: a JSON-able result, notes, and what is wrong with it."""

    result: dict[str, Any]
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()


class Outcome(NamedTuple):
    """What came of one file: what was done, or an error message with its traceback."""

    source: Path
    done: Done
    error: str = ""
    trace: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the exit status must say so."""
        return bool(self.error or self.done.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the result, or the input and the error, as a JSON object."""
        return {"input": str(self.source), "error": self.error} if self.error else self.done.result


Work = Callable[[Job], Done]
"""Does one job; must be picklable for several processes."""


def unpacked_name(name: str) -> str:
    """Return the name of an image without the ending that says how it is packed."""
    for suffix in PACKED_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def plan_jobs(
    sources: Sequence[Path],
    rename: Callable[[str], str | None],
    *,
    output: Path | None,
    output_dir: Path | None,
) -> list[Job]:
    """Decide where the result of each file goes; an output folder is made.

    Parameters
    ----------
    sources : sequence of Path
        Files to work on.
    rename : callable
        Returns the name of the output for the name of an input, or None when there is no telling.
    output, output_dir : Path or None
        The values of ``-o`` and ``-O``; without either, outputs lie beside their inputs.

    Returns
    -------
    list of Job
        One job a file, in the order given.

    Raises
    ------
    click.UsageError
        When ``-o`` and ``-O`` are both given, ``-o`` meets several files or a folder, two outputs
        would be the same file, an output is an input, or the name of an output cannot be told.
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("give -o or -O, not both")
    if output is not None and len(sources) > 1:
        raise click.UsageError(
            f"-o names one file, but there are {len(sources)} inputs; use -O DIR"
        )
    if output is not None and output.is_dir():
        raise click.UsageError(f"-o {output} is a folder; to write into it use -O {output}")
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    inputs = {source.absolute() for source in sources}
    for source in sources:
        target = output if output is not None else _target(source, rename, output_dir)
        if target.absolute() in taken:
            raise click.UsageError(
                f"{taken[target.absolute()]} and {source} would both be written to {target}"
            )
        if target.absolute() in inputs:
            raise click.UsageError(f"the output {target} is an input; choose another with -o or -O")
        taken[target.absolute()] = source
        jobs.append(Job(source, target))
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
    return jobs


def _target(source: Path, rename: Callable[[str], str | None], folder: Path | None) -> Path:
    """Return the output of one file, beside it or in the folder."""
    name = rename(source.name)
    if name is None:
        raise click.UsageError(f"cannot tell a name for the output of {source}; give it with -o")
    return (source.parent if folder is None else folder) / name


def run_jobs(
    work: Work, jobs: Sequence[Job], *, processes: int, console: Console
) -> Iterator[Outcome]:
    """Do all jobs, in this process or in several; a job that fails does not stop the others.

    Outcomes come in the order of the jobs.
    """
    processes = min(processes, len(jobs))
    if processes <= 1:
        for job in jobs:
            yield attempt(work, job)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(threads, console.verbosity),
    ) as pool:
        futures = [pool.submit(_attempt_in_process, work, job) for job in jobs]
        try:
            for job, future in zip(jobs, futures, strict=True):
                yield _await(job, future)
        finally:
            for future in futures:
                future.cancel()


def attempt(work: Work, job: Job) -> Outcome:
    """Do one job and return what came of it, an error included."""
    try:
        return Outcome(job.source, work(job))
    except Exception as error:  # reported and counted by `report_outcomes`
        return Outcome(
            job.source,
            Done({}),
            error=describe_error(error),
            trace="".join(traceback.format_exception(error)).rstrip(),
        )


def report_outcomes(
    outcomes: Iterable[Outcome],
    console: Console,
    *,
    count: int,
    label: str,
    show: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Print each outcome as it comes, and leave with status 1 if any job failed.

    Parameters
    ----------
    outcomes : iterable of Outcome
        What `run_jobs` yields.
    console : Console
        Where to write.
    count : int
        Number of outcomes to come.
    label : str
        What stands before the progress bar.
    show : callable or None
        Prints one result; None prints all of them as one JSON list at the end.
    """
    seen: list[Outcome] = []
    with console.progress(outcomes, length=count, label=label, rows=show is not None) as running:
        for outcome in running:
            seen.append(outcome)
            _report_trouble(outcome, console)
            if show is not None and not outcome.error:
                show(outcome.done.result)
    if show is None:
        console.json([outcome.to_dict() for outcome in seen])
    failed = [str(outcome.source) for outcome in seen if outcome.is_failure]
    if failed and count > 1:
        console.failure(f"{len(failed)} of {count} files failed: {', '.join(failed)}")
    if failed:
        sys.exit(1)


def _report_trouble(outcome: Outcome, console: Console) -> None:
    """Write notes, problems and the error of one file to stderr."""
    subject = str(outcome.source)
    for note in outcome.done.notes:
        console.note(f"{subject}: {note}")
    for problem in outcome.done.problems:
        console.failure(problem, subject=subject)
    if outcome.error:
        if console.verbosity >= 2:
            console.note(outcome.trace)
        console.failure(outcome.error, subject=subject)


def _attempt_in_process(work: Work, job: Job) -> Outcome:
    """Do one job in a process of the pool, unless the user has interrupted it before."""
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt
    try:
        return attempt(work, job)
    except KeyboardInterrupt:
        _INTERRUPTED.set()  # jobs that the pool has handed out already would still be done
        raise


def _await(job: Job, future: "Future[Outcome]") -> Outcome:
    """Wait for a job in another process; a process that died counts as its failure."""
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(
            job.source, Done({}), error="its process ended early (out of memory?); try a smaller -j"
        )


def _start_process(threads: int, verbosity: int) -> None:
    """Prepare a process of the pool, before anything heavy is imported."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    Console(verbosity).listen()
