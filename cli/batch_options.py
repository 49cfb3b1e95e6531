"""The options of every command that works on many files."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import click

from .options import Command, option


class BatchOptions(NamedTuple):
    """Which files beside the arguments, who works on them, and where that is written down.

    Attributes
    ----------
    jobs : int
        Processes on this machine.
    dask : str or None
        Address of a Dask scheduler to use instead.
    files_from : Path or None
        File of names, ``-`` for stdin.
    manifest : Path or None
        File of JSON lines to write.
    resume : bool
        Go on with what an earlier run began.
    retries : int
        Further attempts at a job that was lost.
    """

    jobs: int = 1
    dask: str | None = None
    files_from: Path | None = None
    manifest: Path | None = None
    resume: bool = False
    retries: int = 2


def batch_options(command: Command) -> Command:
    """Give a command the options of `BatchOptions`, which come as one argument ``batch``."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        batch = BatchOptions(**{name: options.pop(name) for name in BatchOptions._fields})
        if batch.dask is not None and batch.jobs > 1:
            raise click.UsageError("give -j or --dask, not both")
        return command(*arguments, batch=batch, **options)

    decorated: Any = gathered
    for decorate in reversed(
        (
            option("jobs"),
            click.option(
                "--dask",
                metavar="ADDRESS",
                help="Work on a Dask cluster instead: the address of its scheduler "
                "(tcp://host:8786), or its scheduler file (.json).",
            ),
            click.option(
                "--files-from",
                type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
                metavar="LIST",
                help="Take more names from this file, one a line; - reads them from stdin. "
                "@LIST as an argument does the same.",
            ),
            click.option(
                "--manifest",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="RUN.jsonl",
                help="Write down each file as JSON lines: hashes of input and output, figures, "
                "errors.",
            ),
            click.option(
                "--resume",
                is_flag=True,
                help="Go on with the run of the manifest: leave out what is done and unchanged.",
            ),
            click.option(
                "--retries",
                type=click.IntRange(min=0),
                default=2,
                show_default=True,
                help="Further attempts at a file whose process died or that could not be read or "
                "written.",
            ),
        )
    ):
        decorated = decorate(decorated)
    result: Command = decorated
    return result


def require_manifest(batch: BatchOptions) -> None:
    """Refuse ``--resume`` when there is no manifest that says what was done.

    Raises
    ------
    click.UsageError
        Resume is asked for alone.
    """
    if batch.resume and batch.manifest is None:
        raise click.UsageError("--resume needs the manifest of the run: --manifest RUN.jsonl")
