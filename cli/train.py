"""``astro-vq train``: a folder of images to a model.

Every field of the configuration is an option: the options are made from the dataclasses of
`astro_vq.config`, their help from the docstrings.
"""

import dataclasses
import inspect
import re
import shlex
import sys
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

import astro_vq
from astro_vq.config import RunConfig, read_toml
from astro_vq.training.launch import Launch
from astro_vq.training.settings import SECTIONS, change_options

from .console import Console, format_number
from .options import (
    SHARED_OPTIONS,
    Command,
    option,
    parse_duration,
    pass_console,
    verbosity_options,
)
from .train_prior import train_prior_of
from .train_progress import ProgressPrinter, format_seconds

if TYPE_CHECKING:
    from astro_vq.training.reports import TrainingResult

HELP = {
    "fits_dir": "Folder of FITS files, searched with all folders below it. May be repeated.",
    "hdf5": "HDF5 file, or one dataset of it (FILE::DATASET), of images (N, H, W) or "
    "(N, C, H, W). May be repeated.",
    "bands": "Bands to stack as channels, such as g,r,z.",
    "noise_covariance": "FITS image of the autocovariance of the noise, 2L+1 by 2L+1 pixels, lag "
    "zero in the middle, network units squared, for --likelihood multivariate-normal. Without it "
    "the noise is measured on sky pixels of the training images. With --likelihood-covariance "
    "full: the matrix between all pixels of a cutout; EXTNAME may say CHOLESKY or PRECISION.",
    "weights": "Weight maps of the images: the name of an extension of each file (WHT), or of a "
    "file beside it, with an asterisk for the image's name; of HDF5 stacks another data set. "
    "Pixels whose weight is not positive do not count; --likelihood-scale given takes the noise "
    "of each pixel from them.",
    "weight_kind": "What weight maps hold, in the unit of the image: inverse variances; relative "
    "ones, which are scaled to the noise of the sky; variances; or standard deviations.",
    "steps": "Optimiser steps. Without --steps and --time-budget: 10000.",
    "time_budget": "Time to train, such as 90s, 5m or 1h; the run ends at this or at --steps, "
    "whichever comes first.",
    "clip": "Largest norm of the gradient, or none.",
    "bin_width": "Bin width of the discretised likelihoods, network units.",
    "lowest": "Centre of the lowest bin, network units.",
    "highest": "Centre of the highest bin, network units.",
    "flux_weight": "Weight of the optional term that matches total flux.",
    "spectrum_weight": "Weight of the optional term that matches the power spectrum.",
    "log_every": "Steps between lines of metrics.",
    "validate_every": "Steps between validations (there are ten a run at least).",
    "checkpoint_every": "Steps between checkpoints (there is one every five minutes at least).",
}
"""Help of options whose docstring is shared or too short for the command line."""

TITLES = {
    "data": "Data",
    "model": "Model (each kind reads the options of its parts)",
    "training": "Training",
}


def parse_number_or_none(value: str | float) -> float | None:
    """Return a number, or None for the word none."""
    if str(value).strip().lower() == "none":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor none") from None


class SectionedCommand(click.Command):
    """A command whose help lists options by the section of the configuration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the run first."""
        groups: dict[str, list[tuple[str, str]]] = {"Run": [], **{t: [] for t in TITLES.values()}}
        places = {
            f.name: TITLES[section]
            for section, cls in SECTIONS.items()
            for f in dataclasses.fields(cls)
        }
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups[places.get(parameter.name or "", "Run")].append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def field_help(cls: type) -> dict[str, str]:
    """Return the description of each parameter in a numpydoc docstring."""
    described: dict[str, str] = {}
    text = inspect.cleandoc(cls.__doc__ or "")
    for match in re.finditer(r"^([\w, ]+) : .*\n((?:    .*\n?)+)", text, re.MULTILINE):
        lines = " ".join(match[2].split()).replace("`", "")
        for name in match[1].split(","):
            described[name.strip()] = lines
    return described


def option_of_field(field: "dataclasses.Field[Any]", hint: Any, text: str) -> Any:  # noqa: ANN401
    """Return the decorator that gives a command the option of one field."""
    flag = f"--{field.name.replace('_', '-')}"
    flags = ("-m", flag) if field.name == "model" else (flag,)
    settings: dict[str, Any] = {
        "default": field.default,
        "show_default": field.default is not None and field.default != (),
        "help": HELP.get(field.name, text),
    }
    if field.name in SHARED_OPTIONS and field.name != "model":
        return option(field.name)
    parts = typing.get_args(hint)
    if field.name == "time_budget":
        settings |= {"type": parse_duration, "metavar": "TIME"}
    elif field.name == "clip":
        settings |= {"type": parse_number_or_none, "metavar": "NUMBER|none"}
    elif typing.get_origin(hint) is Literal:
        settings["type"] = click.Choice(parts)
    elif typing.get_origin(hint) is tuple:
        settings |= {"multiple": True, "type": parts[0], "metavar": "TEXT"}
        if parts[0] is int:
            settings["type"], settings["metavar"] = str, "N,N,..."
    elif hint is bool:
        flags = (f"{flag}/--no-{flag.removeprefix('--')}",)
    else:
        kind = next((p for p in parts if p is not types.NoneType), hint)
        settings["type"] = kind
    return click.option(*flags, field.name, **settings)


def config_options(command: Command) -> Command:
    """Give a command one option for each field of the configuration."""
    for cls in reversed(SECTIONS.values()):
        hints, described = typing.get_type_hints(cls), field_help(cls)
        for field in reversed(dataclasses.fields(cls)):
            command = option_of_field(field, hints[field.name], described[field.name])(command)
    return command


def given_options(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the user gave, lists taken apart at commas."""
    given = {
        name: value
        for name, value in values.items()
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    for name, kind in (("bands", str), ("levels", int)):
        if name in given:
            texts = [text for value in given[name] for text in value.split(",") if text.strip()]
            try:
                given[name] = tuple(kind(text.strip()) for text in texts)
            except ValueError:
                flag = f"--{name}"
                raise click.BadParameter(
                    f"{texts} are not whole numbers", param_hint=flag
                ) from None
    return given


@click.command(
    cls=SectionedCommand,
    epilog="The run folder is a model: astro-vq compress -m RUN image.fits",
)
@option(
    "output",
    metavar="RUN",
    help="Run folder to write (needed, but with --prior: there it is the model's own folder).",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of options, in tables [data], [model] and [training]; flags win over it.",
)
@click.option("--resume", is_flag=True, help="Continue the run in RUN where it stopped.")
@click.option(
    "--prior",
    metavar="MODEL",
    help="Train no model, but the prior of the tokens of this one, for astro-vq sample; on the "
    "images that it was trained on, unless others are named.",
)
@option("overwrite", help="Replace the run (or prior) that is in RUN.")
@option("json")
@config_options
@verbosity_options
@pass_console
@click.pass_context
def train(
    ctx: click.Context,
    console: Console,
    /,
    *,
    output: Path | None,
    config_file: Path | None,
    resume: bool,
    prior: str | None,
    overwrite: bool,
    as_json: bool,
    **values: Any,  # noqa: ANN401
) -> None:
    """Train a model on folders of FITS files or HDF5 cutouts.

    Frames are cut at random; whole files or objects are kept out for validation. Pixels are
    scaled to network units, asinh((value - sky) / sigma), image by image. RUN then holds the
    model, its configuration, metrics.csv, a checkpoint, plots and a model card. Ctrl-C ends the
    run early with all of these, and --resume continues it as if nothing had happened.

    \b
    Examples:
      astro-vq train --fits-dir cutouts/ -o run --time-budget 20m
      astro-vq train --config run.toml --codes 512 --steps 20000 -o run2
      astro-vq train -o run --resume
      torchrun --nproc-per-node 2 -m astro_vq train --fits-dir cutouts/ -o run --batch-size 64
      astro-vq train --prior run --time-budget 10m
    """  # noqa: D301 - click reads the character \b
    if prior is not None and resume:
        raise click.UsageError("a prior is trained in one go: --resume does not go with --prior")
    if prior is None and output is None:
        written = next(param for param in ctx.command.params if param.name == "output")
        raise click.MissingParameter(ctx=ctx, param=written)
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    options = given_options(ctx, values)
    if prior is not None:
        ended = train_prior_of(
            prior,
            console,
            options,
            config=None if config_file is None else read_toml(config_file),
            output=output,
            overwrite=overwrite,
            as_json=as_json,
        )
        if ended.interrupted:
            sys.exit(1)
        return
    assert output is not None
    config: RunConfig | dict[str, Any] = options
    if config_file is not None:
        config = change_options(read_toml(config_file), options)
    elif not resume:
        config = change_options(RunConfig(), options)
    if isinstance(config, RunConfig) and not (config.data.fits_dir or config.data.hdf5):
        raise click.UsageError("there is nothing to train on: give --fits-dir DIR or --hdf5 FILE")
    launch = Launch.from_environment()
    printer = ProgressPrinter(console)
    with printer:
        result = astro_vq.train(
            config, output, resume=resume, overwrite=overwrite, progress=printer.show
        )
    if not launch.is_first:
        return
    if as_json:
        console.json(result_object(result))
    else:
        for line in result_lines(result):
            console.result(line)
    if result.interrupted:
        folder = shlex.quote(str(output))
        console.note(f"interrupted; to continue: astro-vq train -o {folder} --resume")
        sys.exit(1)


def result_object(result: "TrainingResult") -> dict[str, Any]:
    """Return what ``--json`` writes."""
    last = result.validation
    return {
        "output": str(result.output),
        "steps": result.step,
        "images": result.images,
        "seconds": round(result.seconds, 3),
        "interrupted": result.interrupted,
        "training": dict(result.terms),
        "validation": None if last is None else dict(last.terms),
        "sky": None if last is None else dict(last.sky),
        "codes": None if last is None or not last.counts else len(last.counts),
        "codes_used": None if last is None or not last.counts else last.codes_used,
        "perplexity": None if last is None else last.perplexity,
    }


def result_lines(result: "TrainingResult") -> list[str]:
    """Return the lines that sum a run up."""
    time = format_seconds(result.seconds)
    lines = [
        f"run         {result.output}",
        f"trained     {result.step} steps, {result.images} cutouts, {time}",
    ]
    last = result.validation
    if last is not None:
        loss = f"validation  loss {format_number(last.terms['loss'])}"
        if "loss" in last.sky:
            loss += f"; of the sky level alone {format_number(last.sky['loss'])}"
        lines.append(loss)
        if last.counts and last.perplexity is not None:
            lines.append(
                f"codes       {last.codes_used} of {len(last.counts)} used on validation data, "
                f"perplexity {format_number(last.perplexity)}"
            )
    return lines
