"""``astro-vq evaluate``: how well models explain images, side by side."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astro_vq.io.atomic import refuse_existing

from .console import Column, Console, Table, format_number
from .cutout_options import CutoutOptions, cutout_options
from .options import option, pass_console, verbosity_options

if TYPE_CHECKING:
    from astro_vq.data.weights import WeightKind
    from astro_vq.metrics.likelihood import Evaluation


@click.command(
    epilog="Likelihoods are of pixels in network units, asinh((value - sky) / sigma); give images "
    "that training did not see."
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@cutout_options(
    cutouts=512,
    help_of_data="FITS file, folder of FITS files, or HDF5 file (FILE or FILE::DATASET)",
    required=True,
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draws of the importance bound of variational models; 0 leaves it out.",
)
@click.option(
    "--weights",
    metavar="NAME",
    help="Weight maps, as in training: an extension (WHT), or a file beside each image, with an "
    "asterisk for its name; for models of --likelihood-scale given.",
)
@click.option(
    "--weight-kind",
    type=click.Choice(["inverse-variance", "relative", "variance", "sigma"]),
    default="inverse-variance",
    show_default=True,
    help="What weight maps hold, in the unit of the image.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Images to measure fluxes of sources on at most; 0 leaves fluxes out.",
)
@option("output", metavar="PLOT", help="Plot to write (.png, .pdf or .svg).")
@option("device")
@option("seed")
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def evaluate(
    console: Console,
    models: tuple[str, ...],
    *,
    images: CutoutOptions,
    samples: int,
    weights: str | None,
    weight_kind: "WeightKind",
    frames: int,
    output: Path | None,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Evaluate one or more MODELs on the same images.

    MODEL is the name of a shipped model or the folder of a training run. The table has, for each
    model: the negative log-likelihood of pixels given latents (NLL, nats per cutout, and bits per
    pixel), what the latents cost (code, nats per cutout), the importance bound (with --samples),
    correlation of neighbours in residuals on the sky before and after whitening by the
    likelihood (0 is white), squared residuals in units of the likelihood's covariance (chi2, 1 is
    right), and bias and scatter of source fluxes in units of their errors (a model that takes
    away nothing but noise has 0 and about 1).

    \b
    Examples:
      astro-vq evaluate run --data held-out/
      astro-vq evaluate normal correlated --data held-out/ --samples 500 -o compare.png
    """  # noqa: D301 - click reads the character \b
    if output is not None:
        if output.suffix not in (".png", ".pdf", ".svg"):
            raise click.BadParameter(f"{output} must end in .png, .pdf or .svg", param_hint="-o")
        refuse_existing(output, overwrite=overwrite)
    from astro_vq.checkpoint import load_model
    from astro_vq.codec.windows import choose_device
    from astro_vq.data.cutouts import CutoutIndex
    from astro_vq.data.weights import WeightSource
    from astro_vq.metrics.likelihood import EvaluationData
    from astro_vq.metrics.likelihood import evaluate as evaluate_model

    where = choose_device(device)
    loaded = [load_model(name, device=where) for name in models]
    maps = None if weights is None else WeightSource(weights, weight_kind)
    index = CutoutIndex.build(images.folders, images.stacks, bands=images.bands, weights=maps)
    console.note(index.report())
    _check_size(loaded, images.cutout_size)
    prepared = EvaluationData.prepare(
        index,
        cutout_size=images.cutout_size,
        max_cutouts=images.cutouts,
        max_frames=frames,
        seed=seed,
    )
    results = []
    pairs = list(zip(models, loaded, strict=True))
    with console.progress(pairs, length=len(pairs), label="models") as bar:
        for name, model in bar:
            results.append(evaluate_model(model, prepared, samples=samples, seed=seed, name=name))
    if len({result.is_discrete for result in results}) > 1:
        console.note("likelihoods of bins and densities stand side by side: not to be compared")
    if as_json:
        console.json([result.to_dict() for result in results])
    else:
        _print_table(console, results)
    if output is not None:
        _write_plot(output, results)
        console.note(f"wrote {output}")


def _check_size(loaded: list[Any], cutout_size: int) -> None:
    for model in loaded:
        pixels = getattr(model.model.likelihood, "pixels", None)
        side = None if pixels is None else math.isqrt(pixels // model.model.channels)
        if side not in (None, cutout_size):
            raise click.BadParameter(
                f"the noise covariance of {model.name} is that of cutouts of {side} pixels",
                param_hint="--cutout-size",
            )
        if cutout_size % model.model.stride:
            raise click.BadParameter(
                f"{cutout_size} is no multiple of {model.model.stride}, the pixels per token of "
                f"{model.name}",
                param_hint="--cutout-size",
            )


def _print_table(console: Console, results: "list[Evaluation]") -> None:
    width = max(len("model"), *(len(result.name) for result in results))
    table = Table(
        [
            Column("model", width, "<"),
            Column("likelihood", max(len(result.likelihood) for result in results), "<"),
            Column("NLL", 8),
            Column("+-", 5),
            Column("bits/dim", 8),
            Column("code", 7),
            Column("bound", 8),
            Column("lag-1", 7),
            Column("whitened", 8),
            Column("chi2", 6),
            Column("flux bias", 9),
            Column("scatter", 7),
            Column("found", 5),
        ]
    )
    console.result(table.header)
    for result in results:
        white, fluxes = result.whiteness, result.fluxes
        cells = [
            format_number(result.nll, 5),
            format_number(result.nll_error, 2),
            format_number(result.bits_per_dim),
            format_number(result.code),
            format_number(result.bound, 5),
            *([_signed(white.lag_one), _signed(white.whitened_lag_one)] if white else ["-", "-"]),
            format_number(result.chi_squared, 3),
            *(
                [_signed(fluxes.bias), format_number(fluxes.scatter, 3), f"{fluxes.found:.0%}"]
                if fluxes
                else ["-", "-", "-"]
            ),
        ]
        console.result(table.row([result.name, result.likelihood, *cells]))


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _write_plot(path: Path, results: "list[Evaluation]") -> None:
    from astro_vq.io.atomic import atomic_writer

    from .evaluate_figure import draw_evaluations

    buffer = io.BytesIO()
    draw_evaluations(results).savefig(buffer, format=path.suffix[1:], dpi=120)
    with atomic_writer(path, overwrite=True) as file:
        file.write(buffer.getvalue())
