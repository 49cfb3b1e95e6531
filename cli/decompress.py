"""``astro-vq decompress``: .avq files back to FITS images."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import astro_vq
from astro_vq.batch.inputs import is_compressed_name

from .batch import (
    Done,
    Job,
    find_inputs,
    plan_jobs,
    report_outcomes,
    run_batch,
    unpacked_name,
)
from .batch_options import BatchOptions, batch_options, require_manifest
from .console import Column, Console, Table, format_bytes, format_number
from .options import option, parse_section, pass_console, verbosity_options
from .streams import Source, SourceParam, is_streamed, run_streamed

if TYPE_CHECKING:
    from astro_vq.codec.decompress import DecompressionResult


@click.command()
@click.argument("files", nargs=-1, type=SourceParam())
@option("output", help="FITS file to write (default: the name of the .avq file without .avq).")
@option("output-dir")
@option("hdu")
@click.option(
    "--section",
    type=parse_section,
    metavar="Y0:Y1,X0:X1",
    help="Decode this rectangle alone: rows, then columns, in pixels counted from 0, ends excluded "
    "(FITS pixel x, y is x-1, y-1 here); reads only the tiles that it needs.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="Decode what is left of a damaged file: lost tiles are named, and become NaN, BLANK or 0.",
)
@option(
    "model",
    default=None,
    show_default=False,
    help="Model to decode --tokens files with, instead of the one that the file names: a name or "
    "the folder of a training run. Its content hash must be that of the file.",
)
@option("device")
@option("max-pixels")
@batch_options
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def decompress(
    console: Console,
    files: tuple[Source, ...],
    *,
    output: Path | None,
    output_dir: Path | None,
    hdu: int | None,
    section: tuple[slice, slice] | None,
    keep_going: bool,
    model: str | None,
    device: str,
    max_pixels: int,
    batch: BatchOptions,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Get FITS images back from .avq files.

    Each FILE (or each .avq file of a folder, or of a list: @FILE) becomes the FITS file that it
    was made from: the pixels within the bound that was chosen when it was compressed (every bit of
    them after --lossless), the headers card for card, in the unit and the type of the original.
    Checksums are verified tile by tile. FILE may be a URL, of which a section reads only the tiles
    that it needs, or - for stdin; what comes from stdin, or with -o -, goes to stdout.

    \b
    Examples:
      astro-vq decompress m31.fits.avq -o m31-again.fits
      astro-vq decompress m31.fits.avq --section 0:512,1024:2048 -o corner.fits
      astro-vq decompress https://example.org/m31.fits.avq --section 0:64,0:64 -o - > corner.fits
    """  # noqa: D301 - click reads the character \b
    require_manifest(batch)
    work = partial(
        decompress_one,
        hdu=hdu,
        section=section,
        keep_going=keep_going,
        model=model,
        device=device,
        max_pixels=max_pixels,
        overwrite=overwrite,
    )
    if is_streamed(files, output):
        table = decompression_table(files, [])
        run_streamed(
            work,
            files,
            output,
            batch,
            console,
            name_of=original_name,
            output_dir=output_dir,
            label="decompress",
            show=None if as_json else console.row_printer(table, row_of),
        )
        return
    found = find_inputs(files, batch, accepts=is_compressed_name, what=".avq file")
    planned = plan_jobs(found, original_name, output=output, output_dir=output_dir)
    corner = section and [[part.start, part.stop] for part in section]
    settings = {"hdu": hdu, "section": corner, "keep_going": keep_going, "model": model}
    table = decompression_table([job.source for job in planned], [job.output for job in planned])
    report_outcomes(
        run_batch(
            work,
            planned,
            batch,
            console,
            command="decompress",
            settings=settings,
            overwrite=overwrite,
        ),
        console,
        count=len(planned),
        label="decompress",
        show=None if as_json else console.row_printer(table, row_of),
    )


def original_name(name: str) -> str | None:
    """Return the name of the decompressed file; None when the name does not end in .avq."""
    if not name.lower().endswith(".avq"):
        return None
    return unpacked_name(name[: -len(".avq")]) or None


def decompress_one(job: Job, *, overwrite: bool, **choices: Any) -> Done:  # noqa: ANN401
    """Decompress one file; return what came of it."""
    result: DecompressionResult = astro_vq.decompress(
        job.source, job.output, overwrite=overwrite or job.may_replace, **choices
    )
    return Done(result.to_dict(), result.notes, result.damaged)


def decompression_table(sources: Sequence[object], outputs: Sequence[object]) -> Table:
    """Return the table that has one row for each file that was decompressed."""
    return Table(
        [
            Column("file", max((len(str(source)) for source in sources), default=0), "<"),
            Column("output", max((len(str(output)) for output in outputs), default=0), "<"),
            Column("size", 7),
            Column("seconds", 7),
        ]
    )


def row_of(result: dict[str, Any]) -> list[str]:
    """Return the cells of one decompressed file."""
    return [
        str(result["input"]),
        str(result["output"]),
        format_bytes(result["output_bytes"]),
        format_number(result["seconds"], 3),
    ]
