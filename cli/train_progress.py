"""The progress of a training run on stderr."""

import shutil
import sys
import time
from typing import Self

import click

from astro_vq.training.reports import Note, StepReport, ValidationReport

from .console import Console, format_number

SECONDS_BETWEEN_LINES = 30.0
"""Pause between lines of progress where stderr is no terminal."""

HIDDEN_TERMS = frozenset({"nll", "nll_per_dim", "bits_per_dim", "mse", "gradient_norm"})
"""Terms that stand in metrics.csv only; the loss says nearly the same."""


class ProgressPrinter:
    """Shows where a run stands: on a terminal one line that is renewed, elsewhere now and then.

    Parameters
    ----------
    console : Console
        Says how talkative to be; nothing is shown if it is quiet.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_terminal = sys.stderr.isatty()
        self._has_line = False
        self._last = time.monotonic() - 0.8 * SECONDS_BETWEEN_LINES  # a first sign of life soon

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def show(self, report: Note | StepReport | ValidationReport) -> None:
        """Show one report."""
        if self._console.verbosity < 0:
            return
        if isinstance(report, StepReport):
            self._show_step(report)
            return
        self._clear()
        text = report.text if isinstance(report, Note) else describe_validation(report)
        self._console.note(text)

    def _show_step(self, report: StepReport) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{describe_step(report)[:width]}", nl=False, err=True)
            self._has_line = True
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._console.note(describe_step(report))

    def _clear(self) -> None:
        if self._has_line:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._has_line = False


def describe_step(report: StepReport) -> str:
    """Return one line: how far, how long, loss terms, speed, codes."""
    terms = dict(report.terms)
    perplexity, dead = terms.pop("perplexity", None), terms.pop("dead_codes", None)
    shown = " ".join(
        f"{name} {format_number(value)}"
        for name, value in terms.items()
        if name not in HIDDEN_TERMS
    )
    parts = [
        f"{report.progress:4.0%}",
        format_seconds(report.seconds),
        f"step {report.step}",
        shown,
        f"{report.images_per_second:.0f} images/s",
    ]
    if perplexity is not None:
        parts.append(f"perplexity {format_number(perplexity)}")
    if dead is not None:
        parts.append(f"dead codes {dead:.0f}")
    return ", ".join(parts)


def describe_validation(report: ValidationReport) -> str:
    """Return one line: loss beside that of the sky level, use of the codes."""
    parts = [f"validation at step {report.step}: loss {format_number(report.terms['loss'])}"]
    if "loss" in report.sky:
        parts.append(f"sky level alone {format_number(report.sky['loss'])}")
    if report.counts and report.perplexity is not None:
        parts.append(f"{report.codes_used} of {len(report.counts)} codes used")
        parts.append(f"perplexity {format_number(report.perplexity)}")
    return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours where there are any (``1:02:03``)."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, whole = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
