"""Many files with one call: which they are, where each output goes, and what is said of them."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from astro_vq.batch.hashing import FileState
from astro_vq.batch.inputs import FoundFile, find_files, read_list
from astro_vq.batch.jobs import Done, Job, Outcome, Work, attempt
from astro_vq.batch.manifest import Manifest
from astro_vq.batch.pools import Pool, SerialPool
from astro_vq.batch.recording import RecordedWork
from astro_vq.batch.run import run_jobs
from astro_vq.io.names import is_fits_name

from .batch_options import BatchOptions
from .console import Console

__all__ = ["Done", "Job", "Outcome", "Work", "attempt"]

PACKED_SUFFIXES = (".gz", ".bz2", ".fz")
"""Endings of images that are unpacked to be compressed; what comes back is plain FITS."""

MOST_NAMES = 20
"""Files named in the last line of a run that failed for some; the others are counted."""


def unpacked_name(name: str) -> str:
    """Return the name of an image without the ending that says how it is packed."""
    for suffix in PACKED_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def find_inputs(
    paths: Iterable[Path | str],
    batch: BatchOptions,
    *,
    accepts: Callable[[Path], bool] = is_fits_name,
    what: str = "FITS image",
) -> list[FoundFile]:
    """Return the files to work on: arguments, and what ``--files-from`` lists.

    Parameters
    ----------
    paths : iterable of Path or str
        Arguments: files, folders, patterns, and lists (``@list.txt``).
    batch : BatchOptions
        Where else names come from.
    accepts, what
        See `find_files`.

    Raises
    ------
    click.UsageError
        There is no file at all.
    """
    names: list[Path | str] = [*paths]
    if batch.files_from is not None:
        lists_stdin = str(batch.files_from) == "-"
        names.extend(read_list(sys.stdin if lists_stdin else batch.files_from))
    found = find_files(names, accepts=accepts, what=what)
    if not found:
        raise click.UsageError("there is no file to work on: name files or folders")
    return found


def weights_hash(model: str) -> str | None:
    """Return the SHA-256 of a model's weights, which may change; None for one that is shipped."""
    path = Path(model)
    path = path / "model.safetensors" if path.is_dir() else path
    return FileState.of(path).sha256 if path.is_file() else None


def plan_jobs(
    sources: Sequence[Path | FoundFile],
    rename: Callable[[str], str | None],
    *,
    output: Path | None,
    output_dir: Path | None,
) -> list[Job]:
    """Decide where the result of each file goes; output folders are made.

    Parameters
    ----------
    sources : sequence of Path or FoundFile
        Files to work on.
    rename : callable
        Returns the name of the output for the name of an input, or None when there is no telling.
    output, output_dir : Path or None
        The values of ``-o`` and ``-O``; without either, outputs lie beside their inputs. Files
        that were found in a folder lie in the same folders below ``-O`` as below that one.

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
    found = [file if isinstance(file, FoundFile) else FoundFile(file) for file in sources]
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    folders: set[Path] = set()
    inputs = {file.path.absolute() for file in found}
    for file in found:
        source = file.path
        target = output if output is not None else _target(file, rename, output_dir)
        whole = target.absolute()
        if whole in taken:
            raise click.UsageError(f"{taken[whole]} and {source} would both be written to {target}")
        if whole in inputs:
            raise click.UsageError(f"the output {target} is an input; choose another with -o or -O")
        taken[whole] = source
        folders.add(target.parent)
        jobs.append(Job(source, target))
    if output_dir is not None:
        for folder in (output_dir, *sorted(folders)):
            folder.mkdir(parents=True, exist_ok=True)
    return jobs


def _target(file: FoundFile, rename: Callable[[str], str | None], folder: Path | None) -> Path:
    """Return the output of one file, beside it or in the folder."""
    name = rename(file.path.name)
    if name is None:
        raise click.UsageError(f"cannot tell a name for the output of {file.path}; give it with -o")
    return file.path.parent / name if folder is None else folder / file.below / name


def run_batch(
    work: Work,
    jobs: Sequence[Job],
    batch: BatchOptions,
    console: Console,
    *,
    command: str,
    settings: Mapping[str, Any],
    overwrite: bool = False,
    leave_out: bool = True,
) -> Iterator[Outcome]:
    """Do all jobs here, in several processes or on a cluster; outcomes come in order.

    Parameters
    ----------
    work : callable
        Does one job.
    jobs : sequence of Job
        What to do.
    batch : BatchOptions
        Who does it, and where it is written down.
    console : Console
        Says how much processes shall say.
    command, settings, overwrite
        For the manifest, see `Manifest`.
    leave_out : bool
        Leave out jobs that the manifest says are done.
    """
    with ExitStack() as stack:
        manifest = None
        if batch.manifest is not None:
            manifest = stack.enter_context(
                Manifest(
                    batch.manifest, command, settings, resume=batch.resume, overwrite=overwrite
                )
            )
            work = RecordedWork(work, leaves_out=leave_out)
        pool = _make_pool(work, len(jobs), batch, console)
        yield from run_jobs(jobs, pool, retries=batch.retries, manifest=manifest)


def _make_pool(work: Work, count: int, batch: BatchOptions, console: Console) -> Pool:
    if batch.dask is not None:
        from astro_vq.batch.cluster import DaskPool

        return DaskPool(work, batch.dask)
    processes = min(batch.jobs, count)
    if processes <= 1:
        return SerialPool(work)
    from astro_vq.batch.processes import ProcessPool

    return ProcessPool(work, processes, initialise=partial(_listen, console.verbosity))


def _listen(verbosity: int) -> None:
    """Send warnings and log of a process to stderr."""
    Console(verbosity).listen()


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
        What `run_batch` yields.
    console : Console
        Where to write.
    count : int
        Number of outcomes to come.
    label : str
        What stands before the progress bar.
    show : callable or None
        Prints one result; None prints all of them as one JSON list at the end.
    """
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    skipped = 0
    with console.progress(outcomes, length=count, label=label, rows=show is not None) as running:
        for outcome in running:
            skipped += outcome.done.is_skipped
            if outcome.is_failure:
                failed.append(str(outcome.source))
            _report_trouble(outcome, console)
            if show is None:
                results.append(outcome.to_dict())
            elif not outcome.error and not outcome.done.is_skipped:
                show(outcome.done.result)
    if show is None:
        console.json(results)
    if skipped:
        console.note(f"{skipped} of {count} files were done already, and are unchanged")
    if failed and count > 1:
        names = ", ".join(failed[:MOST_NAMES])
        more = f" and {len(failed) - MOST_NAMES} more" if len(failed) > MOST_NAMES else ""
        console.failure(f"{len(failed)} of {count} files failed: {names}{more}")
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
