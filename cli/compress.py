"""``astro-vq compress``: images to .avq files."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import astro_vq

from .batch import (
    Done,
    Job,
    find_inputs,
    plan_jobs,
    report_outcomes,
    run_batch,
    unpacked_name,
    weights_hash,
)
from .batch_options import BatchOptions, batch_options, require_manifest
from .console import Column, Console, Table, format_bytes, format_number
from .options import option, parse_max_error, pass_console, verbosity_options
from .streams import STDIN, Source, SourceParam, is_streamed, run_streamed

if TYPE_CHECKING:
    from astro_vq.codec.compress import CompressionResult


@click.command(epilog="The .avq file is itself a FITS file; astro-vq info shows what is inside.")
@click.argument("images", nargs=-1, type=SourceParam(urls=False))
@option(
    "output",
    help="Compressed file to write (default: the image's name and .avq, such as m31.fits.avq).",
)
@option("output-dir")
@option("model")
@click.option(
    "--lossless",
    is_flag=True,
    help="Every bit of pixels and header comes back (integers' default).",
)
@click.option(
    "--max-error",
    type=parse_max_error,
    metavar="X[sigma]",
    help="No finite pixel is off by more than X: in the unit of the image (physical values, after "
    "BSCALE and BZERO), or as a multiple of its noise, such as 0.125sigma (default of floating "
    "point images: 0.03125sigma).",
)
@click.option(
    "--tokens",
    "tokens_only",
    is_flag=True,
    help="Store the model's tokens only: the smallest file, for which no bound holds.",
)
@click.option(
    "--no-tokens", is_flag=True, help="Leave the tokens out: pixels only, and no model is needed."
)
@click.option(
    "--effort",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="Time to spend on a smaller file: 1 is the fastest, 9 the smallest.",
)
@click.option(
    "--embed-model", is_flag=True, help="Put the model's weights into the file, to decode anywhere."
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Decode what was written, and compare it with the image, before it is called done "
    "(default: where it is lossless).",
)
@click.option(
    "--delete-input",
    is_flag=True,
    help="Delete each image when its file is on disk and was verified; not with --tokens.",
)
@click.option(
    "--quality",
    type=click.FloatRange(min=1),
    metavar="SIGMA",
    help="Significance at which a source becomes tokens, in sigma (default: 5 with --tokens, else "
    "10); smaller is better and takes more bytes.",
)
@click.option(
    "--bits-per-pixel",
    type=click.FloatRange(min=0, min_open=True),
    help="Instead of --quality: the best one whose tokens take at most so many bits per pixel.",
)
@click.option(
    "--non-negative",
    is_flag=True,
    help="For weights and inverse variances, within a bound: refuse images with negative pixels, "
    "give none back, and 0 exactly where there was 0.",
)
@click.option(
    "--non-negative-hdu",
    "non_negative_hdus",
    multiple=True,
    metavar="HDU",
    help="The same for one HDU, by its number or name (WHT); may be given more than once.",
)
@click.option(
    "--dither",
    type=click.IntRange(0, 2**32 - 1),
    metavar="SEED",
    help="Quantise floating point images with a subtractive dither: coarse steps do not bias the "
    "mean of many pixels or exposures. Exact zeros stay; each image gets a seed of its own.",
)
@option("device")
@batch_options
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def compress(
    console: Console,
    images: tuple[Source, ...],
    *,
    output: Path | None,
    output_dir: Path | None,
    model: str,
    lossless: bool,
    max_error: str | None,
    tokens_only: bool,
    no_tokens: bool,
    effort: int,
    embed_model: bool,
    verify: bool | None,
    delete_input: bool,
    quality: float | None,
    bits_per_pixel: float | None,
    non_negative: bool,
    non_negative_hdus: tuple[str, ...],
    dither: int | None,
    device: str,
    batch: BatchOptions,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compress FITS images.

    Each IMAGE (.fits, also .fz, .gz or .bz2; a folder of them, or a list: @FILE) becomes one .avq
    file: every image HDU in tiles, the headers card for card, tables unchanged. Unless told
    otherwise, integer images are kept lossless, and floating point images to 1/32 of the noise of
    their sky (0.03125sigma). Bounds are in the unit of the image; bits per pixel and ratio count
    the whole file that is written. Files that are found in a folder lie in the same folders below
    that of -O as below theirs. IMAGE may be - for stdin; that, or what has -o -, goes to stdout.

    \b
    Examples:
      astro-vq compress m31.fits
      astro-vq compress night/*.fits -O packed --max-error 0.125sigma -j 4
      astro-vq compress survey/ -O packed -j 8 --manifest run.jsonl --resume
      astro-vq compress raw/ -O archive --lossless --delete-input
      astro-vq compress m31_weight.fits --max-error 0.001 --non-negative
      astro-vq compress night/*.fits -O packed --max-error 0.5sigma --dither 1
      astro-vq compress - --lossless < m31.fits > m31.fits.avq
    """  # noqa: D301 - click reads the character \b
    chosen = [
        flag
        for flag, given in (
            ("--lossless", lossless),
            ("--max-error", max_error is not None),
            ("--tokens", tokens_only),
        )
        if given
    ]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} exclude each other: choose one fidelity")
    if tokens_only and no_tokens:
        raise click.UsageError("--tokens and --no-tokens together would store nothing")
    if no_tokens and embed_model:
        raise click.UsageError("--no-tokens needs no model, so there is none to embed")
    if quality is not None and bits_per_pixel is not None:
        raise click.UsageError("--quality and --bits-per-pixel exclude each other")
    signs: bool | list[int | str] = non_negative or [
        int(hdu) if hdu.isdecimal() else hdu for hdu in non_negative_hdus
    ]
    if tokens_only and (signs or dither is not None):
        raise click.UsageError("--non-negative and --dither go with --max-error, not with --tokens")
    if lossless and dither is not None:
        raise click.UsageError("--lossless and --dither exclude each other: nothing is quantised")
    if signs and dither is not None:
        raise click.UsageError("--non-negative and --dither exclude each other")
    if delete_input and (tokens_only or verify is False):
        flag = "--tokens" if tokens_only else "--no-verify"
        raise click.UsageError(
            f"--delete-input and {flag} exclude each other: only what was found "
            "to be within its bound is deleted"
        )
    require_manifest(batch)
    settings: dict[str, Any] = {
        "model": model,
        "fidelity": chosen[0].removeprefix("--") if chosen else None,
        "max_error": max_error,
        "tokens": not no_tokens,
        "effort": effort,
        "embed_model": embed_model,
        "quality": quality,
        "bits_per_pixel": bits_per_pixel,
        "non_negative": signs or False,
        "dither": dither,
    }
    work = partial(
        compress_one,
        device=device,
        overwrite=overwrite,
        verify="lossless" if verify is None else verify,
        delete_input=delete_input,
        **settings,
    )
    if is_streamed(images, output):
        if delete_input:
            raise click.UsageError("--delete-input needs images and outputs that are local files")
        run_streamed(
            work,
            images,
            output,
            batch,
            console,
            name_of=compressed_name,
            output_dir=output_dir,
            label="compress",
            show=None if as_json else console.row_printer(compression_table(len(STDIN)), row_of),
        )
        return
    planned = plan_jobs(
        find_inputs(images, batch), compressed_name, output=output, output_dir=output_dir
    )
    table = compression_table(max(len(str(job.source)) for job in planned))
    report_outcomes(
        run_batch(
            work,
            planned,
            batch,
            console,
            command="compress",
            settings=settings | {"weights": weights_hash(model)},
            overwrite=overwrite,
        ),
        console,
        count=len(planned),
        label="compress",
        show=None if as_json else console.row_printer(table, row_of),
    )


def compressed_name(name: str) -> str:
    """Return the name of the compressed file."""
    return f"{unpacked_name(name)}.avq"


def compress_one(job: Job, *, overwrite: bool, **choices: Any) -> Done:  # noqa: ANN401
    """Compress one file; return what came of it."""
    result: CompressionResult = astro_vq.compress(
        job.source, job.output, overwrite=overwrite or job.may_replace, **choices
    )
    return Done(result.to_dict(), result.notes)


def compression_table(name_width: int) -> Table:
    """Return the table that has one row for each file that was compressed."""
    return Table(
        [
            Column("image", name_width, "<"),
            Column("fidelity", 9, "<"),
            Column("max error", 10),
            Column("bits/pixel", 10),
            Column("ratio", 6),
            Column("before", 7),
            Column("after", 7),
            Column("seconds", 7),
        ]
    )


def row_of(result: dict[str, Any]) -> list[str]:
    """Return the cells of one compressed file."""
    return [
        str(result["input"]),
        str(result["fidelity"]),
        "none" if result["max_error"] is None else format_number(result["max_error"]),
        format_number(result["bits_per_pixel"]),
        format_number(result["ratio"]),
        format_bytes(result["input_bytes"]),
        format_bytes(result["output_bytes"]),
        format_number(result["seconds"], 3),
    ]
