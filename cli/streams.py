"""Inputs that are no local files (stdin, URLs), and output that goes to stdout."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from astro_vq.batch.jobs import Job, Outcome, Work, attempt

from .batch import report_outcomes
from .batch_options import BatchOptions
from .console import Console

STREAM = "-"
STDIN = "<stdin>"
"""What stdin is called in results and messages."""

Source = Path | str
"""A file, `STREAM`, or a URL (always text)."""


class SourceParam(click.Path):
    """Type of an argument that may be a URL, which stays text; all else becomes a path.

    Parameters
    ----------
    urls : bool
        Whether URLs are taken; without, they are wrong usage.
    """

    def __init__(self, *, urls: bool = True) -> None:
        super().__init__(path_type=Path, allow_dash=True)
        self._urls = urls

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return a URL as it is, and a path of anything else."""
        if isinstance(value, str) and "://" in value:
            if not self._urls:
                self.fail(f"URLs cannot be read here: curl -s {value} | astro-vq ... -", param, ctx)
            return value
        return super().convert(value, param, ctx)


def is_streamed(sources: Sequence[Source], output: Path | None = None) -> bool:
    """Whether an input is no local file, or the output is stdout."""
    streamed = any(isinstance(source, str) or str(source) == STREAM for source in sources)
    return streamed or str(output) == STREAM


def run_streamed(
    work: Work,
    sources: Sequence[Source],
    output: Path | None,
    batch: BatchOptions,
    console: Console,
    *,
    name_of: Callable[[str], str | None] | None,
    output_dir: Path | None = None,
    label: str,
    show: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Do the one job of a command line for which `is_streamed`, and report it.

    Results of a job that writes to stdout are told on stderr.

    Parameters
    ----------
    work : callable
        Does the job; its input, and its output, may be a file object.
    sources : sequence of Path or str
        One input.
    output : Path or None
        The value of ``-o``; without it, what came from stdin goes to stdout, and what came from a
        URL to the current folder, or `output_dir`.
    batch : BatchOptions
        None of it can be used here.
    console : Console
        Where to write.
    name_of : callable or None
        Returns the name of the output for the name of an input; None when nothing is written.
    output_dir : Path or None
        The value of ``-O``, made if it is missing.
    label, show
        See `report_outcomes`.

    Raises
    ------
    click.UsageError
        There are several inputs, options that need files, or a terminal where bytes should go.
    """
    if len(sources) != 1 or batch.files_from is not None:
        raise click.UsageError("stdin, stdout and URLs work with one input at a time")
    if batch.manifest is not None or batch.dask is not None:
        raise click.UsageError("--manifest and --dask need local files")
    source = sources[0]
    if output is not None and output_dir is not None:
        raise click.UsageError("give -o or -O, not both")
    if name_of is not None and output is None:
        output = _default_output(source, name_of, output_dir)
    to_stdout = name_of is not None and str(output) == STREAM
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: send it to a file, or give -o FILE")
    with ExitStack() as stack:
        given: Any = stack.enter_context(opened(source))
        target: Any = stack.enter_context(tempfile.TemporaryFile()) if to_stdout else output
        outcome = attempt(work, Job(given, target))
        outcome = _named(outcome, source, STREAM if to_stdout else None)
        if to_stdout:
            console.uses_stdout = False
            if not outcome.error:
                _copy_to_stdout(target)
    report_outcomes([outcome], console, count=1, label=label, show=show)


@contextmanager
def opened(source: Source) -> Iterator[Source | BinaryIO]:
    """Give a source back as what the library reads: stdin as a file that can be searched."""
    if str(source) != STREAM:
        yield source
        return
    if sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal: send a file to it, or name one")
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.seek(0)
        yield file


def _default_output(
    source: Source, name_of: Callable[[str], str | None], folder: Path | None
) -> Path:
    if not isinstance(source, str):
        if folder is not None:
            raise click.UsageError("what comes from stdin has no name: give -o, not -O")
        return Path(STREAM)
    from astro_vq.codec.paths import url_name

    name = name_of(url_name(source))
    if name is None:
        raise click.UsageError(f"cannot tell a name for the output of {source}; give it with -o")
    if folder is None:
        return Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _copy_to_stdout(file: BinaryIO) -> None:
    file.seek(0)
    sys.stdout.flush()
    shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _named(outcome: Outcome, source: Source, output: str | None) -> Outcome:
    """Return an outcome that calls streams by the names that the user gave them."""
    shown = STDIN if str(source) == STREAM else str(source)
    result = dict(outcome.done.result)
    for key, name in (("input", shown), ("file", shown), ("output", output)):
        if key in result and name is not None:
            result[key] = name
    error = outcome.error.replace("<file object>", shown)
    return Outcome(
        Path(shown), outcome.done._replace(result=result), error=error, trace=outcome.trace
    )
