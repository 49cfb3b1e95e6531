"""``astro-vq sample``: new images, drawn from a model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import astro_vq
from astro_vq.io.atomic import refuse_existing

from .console import Console, format_number
from .options import option, pass_console, verbosity_options

if TYPE_CHECKING:
    from astro_vq.codec.sample import Samples


@click.command(epilog="Generated images are no observations; their header says so.")
@click.argument("model")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images to draw.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="Side of an image in pixels, a multiple of the pixels per token (default: 64, or what "
    "the model takes).",
)
@click.option(
    "--prior",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the prior of the model's tokens (default: beside the model).",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Below 1 for likelier images with less variety; 1 is the prior itself.",
)
@option("output", required=True, help="FITS file to write: a cube, one plane an image.")
@option("device")
@option("seed")
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def sample(
    console: Console,
    model: str,
    *,
    number: int,
    size: int | None,
    prior: Path | None,
    temperature: float,
    output: Path,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw images from a MODEL.

    MODEL is the folder of a training run or the name of a shipped model. VAE, IWAE and
    hierarchical VAE draw from the prior of their latents. VQ-VAE and VQ-VAE-2 draw tokens from a
    PixelCNN, which astro-vq train --prior MODEL trains and puts beside the model. Pixels are mean
    values (without noise) above the sky, in units of its noise; for models with tokens the HDU
    TOKENS has them.

    \b
    Examples:
      astro-vq sample run -n 16 -o samples.fits
      astro-vq sample default --prior prior/ --size 128 --seed 7 -o samples.fits
    """  # noqa: D301 - click reads the character \b
    refuse_existing(output, overwrite=overwrite)
    try:
        samples: Samples = astro_vq.sample(
            model,
            number,
            size=size,
            prior=prior,
            temperature=temperature,
            seed=seed,
            device=device,
        )
    except ValueError as err:
        if size is not None and "multiples" in str(err):
            raise click.BadParameter(str(err), param_hint="--size") from err
        raise
    samples.write(output, overwrite=overwrite)
    origin = samples.origin
    if as_json:
        console.json({"output": str(output), "shape": list(samples.images.shape)} | origin)
        return
    shape = " x ".join(str(side) for side in samples.images.shape)
    console.result(
        f"{output}: {shape} from {origin['model']} ({origin['kind']}), prior {origin['prior']}, "
        f"seed {origin['seed']}, temperature {format_number(origin['temperature'])}"
    )
