"""What the commands say: results on stdout; progress, notes, warnings and errors on stderr.

`Console` is made once per run, carried by click's context, and knows how talkative to be. With
``-q`` only results and errors remain, with ``-v`` the library's log and the warnings of other
packages come too, and with ``-vv`` errors come with their traceback.
"""

import contextlib
import json
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO, TypeVar

import click

from astro_vq.errors import AstroVQWarning, describe_error, one_line

T = TypeVar("T")


class Column(NamedTuple):
    """One column of a `Table`: its title, its least width, and on which side its text stands."""

    title: str
    width: int = 0
    align: str = ">"


class Table:
    """A table whose rows can be printed one by one, while the work goes on.

    Parameters
    ----------
    columns : sequence of Column
        Columns from left to right; a longer title widens its column.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    @property
    def header(self) -> str:
        """The line of titles."""
        return self.row([column.title for column in self._columns])

    def row(self, cells: Sequence[str]) -> str:
        """Return one line; a text longer than its column pushes the rest to the right."""
        parts = [
            f"{cell:{column.align}{max(column.width, len(column.title))}}"
            for column, cell in zip(self._columns, cells, strict=True)
        ]
        return "  ".join(parts).rstrip()


class _StderrHandler(logging.Handler):
    """Writes log records to whatever stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        click.echo(self.format(record), err=True)


class Console:
    """Where and how much to write.

    Attributes
    ----------
    verbosity : int
        -1 quiet, 0 normal, 1 with the library's log, 2 with tracebacks.
    uses_stdout : bool
        Whether results go to stdout; False while a command writes a file to it.
    """

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.uses_stdout = True

    def result(self, text: str) -> None:
        """Write a line of the result to stdout."""
        click.echo(text, err=not self.uses_stdout)

    def json(self, document: object) -> None:
        """Write the result as one JSON document to stdout."""
        self.result(json.dumps(document, indent=2, allow_nan=False))

    def note(self, text: str) -> None:
        """Write a line that is not the result to stderr, unless quiet."""
        if self.verbosity >= 0:
            click.echo(text, err=True)

    def error(self, error: BaseException, *, subject: str = "") -> None:
        """Write an error as one line to stderr, with the traceback at ``-vv``.

        Parameters
        ----------
        error : BaseException
            What went wrong.
        subject : str
            File that it happened to; named first unless the message names it already.
        """
        if self.verbosity >= 2:
            click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
        self.failure(describe_error(error), subject=subject)

    def failure(self, message: str, *, subject: str = "") -> None:
        """Write a message that says what failed as one line to stderr."""
        prefix = f"{subject}: " if subject and subject not in message else ""
        click.echo(f"astro-vq: error: {prefix}{message}", err=True)

    def row_printer(
        self, table: Table, row_of: Callable[[dict[str, Any]], Sequence[str]]
    ) -> Callable[[dict[str, Any]], None]:
        """Return a function that prints results as rows, with the titles before the first."""
        titles = iter([table.header])

        def show(result: dict[str, Any]) -> None:
            for title in titles:
                self.result(title)
            self.result(table.row(row_of(result)))

        return show

    @contextlib.contextmanager
    def progress(
        self, items: Iterable[T], *, length: int, label: str, rows: bool = False
    ) -> Iterator[Iterator[T]]:
        """Give back the items behind a bar on stderr.

        The bar is shown if stderr is a terminal, unless quiet, and unless rows of a result are
        printed to the same terminal meanwhile (``rows``), which show the progress themselves.
        """
        wanted = self.verbosity >= 0 and length > 1 and sys.stderr.isatty()
        if not wanted or (rows and sys.stdout.isatty()):
            yield iter(items)
            return
        with click.progressbar(items, length=length, label=label, file=sys.stderr) as bar:
            yield iter(bar)

    def listen(self) -> None:
        """Send warnings and the library's log to stderr, as much as the verbosity asks for."""
        warnings.showwarning = self._show_warning
        if not sys.warnoptions and self.verbosity < 1:
            warnings.simplefilter("ignore")
            warnings.simplefilter("once", AstroVQWarning)
        logger = logging.getLogger("astro_vq")
        if any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
            logger.handlers = []  # of a command that ran in this process before
            logger.setLevel(logging.NOTSET)
        if self.verbosity >= 1:
            handler = _StderrHandler()
            handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
            logger.handlers = [handler]
            logger.setLevel(logging.INFO if self.verbosity == 1 else logging.DEBUG)

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Write a warning as one line (the signature is that of `warnings.showwarning`)."""
        where = "" if issubclass(category, AstroVQWarning) else f"{category.__name__}: "
        self.note(f"astro-vq: warning: {where}{one_line(str(message))}")


def format_bytes(count: int) -> str:
    """Return a number of bytes for people: powers of ten, three digits ("1.23 MB")."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{count} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def format_number(value: Any, digits: int = 4) -> str:  # noqa: ANN401
    """Return a number with this many digits, and a dash for None."""
    return "-" if value is None else f"{value:.{digits}g}"
