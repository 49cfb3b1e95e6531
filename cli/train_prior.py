"""``astro-vq train --prior``: a prior of the tokens of a model that is trained already."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astro_vq.config import DataConfig, ModelConfig, RunConfig
from astro_vq.errors import DataError
from astro_vq.training.settings import change_options, section_of

from .console import Console, format_number
from .train_progress import ProgressPrinter, format_seconds

if TYPE_CHECKING:
    from astro_vq.checkpoint import LoadedModel
    from astro_vq.training.prior import PriorResult


def train_prior_of(
    model: str,
    console: Console,
    options: dict[str, Any],
    *,
    config: RunConfig | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> "PriorResult":
    """Train a prior and print what came of it.

    Parameters
    ----------
    model : str
        Name of a shipped model, or run folder.
    console : Console
        Where to write.
    options : dict
        Options that were given, by the names of their fields.
    config : RunConfig or None
        Of a file of options; only data and training count.
    output : Path or None
        Folder to write to; None for that of the model.
    overwrite, as_json : bool
        As the flags.
    """
    of_model = sorted(name for name in options if section_of(name) == "model")
    if of_model:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in of_model)
        raise click.UsageError(f"{flags}: with --prior the model is trained already; leave it out")
    folder = output if output is not None else Path(model)
    if not folder.is_dir() and output is None:
        raise click.UsageError(
            f"{model} is no folder of yours to put a prior into: name one with -o DIR, and draw "
            "with astro-vq sample --prior DIR"
        )
    from astro_vq.checkpoint import load_model
    from astro_vq.training.prior import DEFAULTS, default_data, train_prior

    loaded = load_model(model)
    settled = config or RunConfig()
    if settled.data == DataConfig():
        settled = change_options(settled, {"data": default_data(loaded).to_dict()})
    has_end = {"steps", "time_budget"} & options.keys()
    defaults = {n: v for n, v in DEFAULTS.items() if n != "steps" or not has_end}
    if config is not None:
        defaults = {}
    settled = change_options(settled, defaults | _data_options(options) | options)
    settled = RunConfig(data=settled.data, model=ModelConfig(), training=settled.training)
    _check_there(settled.data, loaded)
    with ProgressPrinter(console) as printer:
        result = train_prior(
            loaded,
            folder,
            data=settled.data,
            training=settled.training,
            overwrite=overwrite,
            progress=printer.show,
        )
    if as_json:
        console.json(result.to_dict())
    else:
        for line in result_lines(result):
            console.result(line)
    return result


def _data_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return what given sources replace: all sources, not only those of the same kind."""
    if "fits_dir" in options or "hdf5" in options:
        return {"fits_dir": (), "hdf5": ()}
    return {}


def _check_there(data: DataConfig, loaded: "LoadedModel") -> None:
    """Raise unless all images can be looked for."""
    sources = [*data.fits_dir, *(name.partition("::")[0] for name in data.hdf5)]
    missing = [name for name in sources if not Path(name).exists()]
    if not sources or missing:
        what = f" ({', '.join(missing)})" if missing else ""
        raise DataError(
            f"the images that model {loaded.name!r} was trained on are not here{what}: name some "
            "with --fits-dir DIR or --hdf5 FILE"
        )


def result_lines(result: "PriorResult") -> list[str]:
    """Return the lines that sum a run up."""
    rate = result.rate
    return [
        f"prior       {result.output}",
        f"trained     {result.step} steps, {format_seconds(result.seconds)}",
        f"validation  {format_number(rate.prior)} bits per token; order-0 entropy "
        f"{format_number(rate.order0)} ({format_number(rate.order0_image)} with tables for each "
        f"image), fixed width {format_number(rate.fixed)}",
    ]
