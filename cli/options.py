"""The register of options that several commands share, so that a flag means one thing everywhere.

A command takes an option by name, ``@option("output")``, and may only say more in its help or make
it required; the flags and the type stay those of the register.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from .console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_max_error(value: str) -> str:
    """Check a bound such as ``0.5`` (unit of the image) or ``0.125sigma`` (of the noise).

    It stays text, which the library reads.
    """
    text = value.strip()
    try:
        bound = float(text.lower().removesuffix("sigma"))
    except ValueError:
        message = f"{value!r} is not a number such as 0.5 or 0.125sigma"
        raise click.BadParameter(message) from None
    if not 0 < bound < float("inf"):
        raise click.BadParameter(f"must be above 0 and finite, got {text}; no error: --lossless")
    return text


def parse_section(value: str) -> tuple[slice, slice]:
    """Return the slices of a rectangle ``y0:y1,x0:x1``, rows first, from 0, ends excluded."""
    match = re.fullmatch(r"\s*(\d*):(\d*)\s*,\s*(\d*):(\d*)\s*", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a section such as 0:512,100:400")
    y0, y1, x0, x1 = (int(text) if text else None for text in match.groups())
    for start, stop in ((y0, y1), (x0, x1)):
        if stop is not None and stop <= (start or 0):
            raise click.BadParameter(f"{value!r} is empty: each end must lie above its start")
    return slice(y0, y1), slice(x0, x1)


def parse_duration(value: str | float) -> float:
    """Return the seconds of ``90s``, ``20m`` or ``1.5h``; a bare number is seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*", str(value).lower())
    seconds = float(match[1]) * SECONDS_PER_UNIT[match[2] or "s"] if match else 0.0
    if seconds <= 0:
        raise click.BadParameter(f"{value!r} is not a time such as 90s, 20m or 1.5h")
    return seconds


class SharedOption(NamedTuple):
    """Flags and settings of one shared option, as `click.option` takes them."""

    flags: tuple[str, ...]
    settings: dict[str, Any]


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: int) -> None:
    """Tell the console of this run how much to say; ``-q`` wins over ``-v``."""
    console = ctx.ensure_object(Console)
    if param.name == "quiet" and value:
        console.verbosity = -1
    elif value and console.verbosity >= 0:
        console.verbosity = value
    console.listen()


SHARED_OPTIONS: dict[str, SharedOption] = {
    "output": SharedOption(
        ("-o", "--output"), {"type": click.Path(path_type=Path), "help": "File to write."}
    ),
    "output-dir": SharedOption(
        ("-O", "--output-dir"),
        {
            "type": click.Path(file_okay=False, path_type=Path),
            "metavar": "DIR",
            "help": "Folder to write to, made if it is missing; each file keeps its name.",
        },
    ),
    "model": SharedOption(
        ("-m", "--model"),
        {
            "default": "default",
            "show_default": True,
            "help": "Name of a shipped model, or the folder that a training run wrote.",
        },
    ),
    "device": SharedOption(
        ("--device",),
        {
            "type": click.Choice(["auto", "cpu", "cuda", "mps"]),
            "default": "auto",
            "show_default": True,
            "help": "Where the networks run; auto takes a GPU when there is one.",
        },
    ),
    "jobs": SharedOption(
        ("-j", "--jobs"),
        {
            "type": click.IntRange(min=1),
            "default": 1,
            "show_default": True,
            "help": "Files worked on at the same time, each in a process of its own.",
        },
    ),
    "seed": SharedOption(
        ("--seed",),
        {
            "type": click.IntRange(min=0),
            "default": 0,
            "show_default": True,
            "help": "Seed of the random numbers.",
        },
    ),
    "hdu": SharedOption(
        ("--hdu",),
        {
            "type": click.IntRange(min=0),
            "help": "Take this HDU alone, counted from 0 (the primary HDU).",
        },
    ),
    "max-pixels": SharedOption(
        ("--max-pixels",),
        {
            "type": click.IntRange(min=1),
            "default": 2**34,
            "show_default": True,
            "metavar": "N",
            "help": "Refuse a file whose images have more pixels together: a small, hostile file "
            "can claim to hold a huge image.",
        },
    ),
    "overwrite": SharedOption(
        ("--overwrite",), {"is_flag": True, "help": "Replace output that is already there."}
    ),
    "json": SharedOption(
        ("--json", "as_json"),
        {"is_flag": True, "help": "Write the result as one JSON document instead of a table."},
    ),
    "quiet": SharedOption(
        ("-q", "--quiet"),
        {
            "is_flag": True,
            "expose_value": False,
            "callback": _set_verbosity,
            "help": "Write results and errors only.",
        },
    ),
    "verbose": SharedOption(
        ("-v", "--verbose"),
        {
            "count": True,
            "expose_value": False,
            "callback": _set_verbosity,
            "help": "Say more: -v for the log and all warnings, -vv for tracebacks as well.",
        },
    ),
}
"""Every option that more than one command has; `option` looks them up."""


def option(name: str, **changes: Any) -> Callable[[Command], Command]:  # noqa: ANN401
    """Return the decorator that gives a command one of `SHARED_OPTIONS`.

    Parameters
    ----------
    name : str
        Key of `SHARED_OPTIONS`.
    **changes
        Settings of `click.option` that differ in this command, such as ``help`` or ``required``.
    """
    flags, settings = SHARED_OPTIONS[name]
    return click.option(*flags, **{**settings, **changes})


def verbosity_options(command: Command) -> Command:
    """Give a command ``-q`` and ``-v``, which set the verbosity of its `Console`."""
    return option("quiet")(option("verbose")(command))


pass_console = click.make_pass_decorator(Console, ensure=True)
"""Decorator that passes the `Console` of this run as the first argument."""
