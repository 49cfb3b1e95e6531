"""``astro-vq tokenize``: token maps of many images in one HDF5 file."""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astro_vq.batch.inputs import is_compressed_name
from astro_vq.io.names import is_fits_name

from .batch import Done, Job, Outcome, find_inputs, report_outcomes, run_batch
from .batch_options import BatchOptions, batch_options
from .console import Column, Console, Table
from .options import option, pass_console, verbosity_options

if TYPE_CHECKING:
    from astro_vq.codec.token_output import TokenOutput


@click.command(epilog="In Python: astro_vq.TokenDataset('tokens.h5', size=16) is a torch dataset.")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path), metavar="IMAGE...")
@option("model")
@option("output", required=True, help="HDF5 file to write.")
@click.option(
    "--append", is_flag=True, help="Add to OUTPUT; files whose maps it has already are left out."
)
@option("device")
@batch_options
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def tokenize(
    console: Console,
    images: tuple[Path, ...],
    *,
    model: str,
    output: Path,
    append: bool,
    device: str,
    batch: BatchOptions,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the tokens of IMAGEs to one HDF5 file.

    Each IMAGE is a FITS file (also .fz, .gz, .bz2), an .avq file, a folder of them, or a list
    (@FILE). Every image HDU, and every plane of a cube, becomes one map of code indices, with the
    world coordinates of the map, object, file, HDU, sky level and noise (unit of the image), and
    the name and content hash of the model. A bad file is reported and left out, and the exit
    status is 1. After Ctrl-C the maps of whole files are kept; --append (or --resume) goes on.

    \b
    Examples:
      astro-vq tokenize survey/ -m run -o tokens.h5 -j 4
      astro-vq tokenize night2/*.fits -m run -o tokens.h5 --append
    """  # noqa: D301 - click reads the character \b
    append = append or (batch.resume and output.exists())
    if append and overwrite:
        raise click.UsageError("--append (or --resume) and --overwrite exclude each other")
    from astro_vq.codec.token_output import token_output

    found = find_inputs(images, batch, accepts=_is_image, what="FITS image or .avq file")
    status: int | str | None = 0
    with token_output(output, overwrite=overwrite, append=append) as writer:
        planned = [Job(file.path) for file in found if str(file.path) not in writer.sources]
        if len(planned) < len(found):
            console.note(f"{len(found) - len(planned)} files are in {output} already: left out")
        outcomes = run_batch(
            partial(tokenize_one, model=model, device=device),
            planned,
            batch,
            console,
            command="tokenize",
            settings={"model": model},
            overwrite=overwrite,
            leave_out=False,  # what OUTPUT has was left out above
        )
        try:
            report_outcomes(
                _store(outcomes, writer),
                console,
                count=len(planned),
                label="tokenize",
                show=None if as_json else console.row_printer(_table(planned), row_of),
            )
        except SystemExit as stop:  # some failed; the maps of the others are kept
            status = stop.code
    if writer.maps:
        console.note(f"{output}: {writer.maps} maps added")
    if status:
        sys.exit(status)


def _is_image(path: Path) -> bool:
    return is_fits_name(path) or is_compressed_name(path)


def tokenize_one(job: Job, *, model: str, device: str) -> Done:
    """Make the tokens of one file; they travel in the result, under ``found``."""
    from astro_vq.codec.tokenize import tokenize

    found = tokenize(job.source, model=model, device=device)
    result = {
        "input": str(job.source),
        "objects": sorted({item.object for item in found.maps} - {""}),
        "maps": [list(item.indices.shape) for item in found.maps],
        "tokens": sum(int(item.indices.size) for item in found.maps),
        "found": found,
    }
    return Done(result, found.notes)


def _store(outcomes: Iterable[Outcome], writer: "TokenOutput") -> Iterator[Outcome]:
    """Write the maps of each outcome and take them out of it."""
    for outcome in outcomes:
        found = outcome.done.result.pop("found", None)
        if found is not None:
            writer.add(found)
        yield outcome


def _table(jobs: list[Job]) -> Table:
    width = max((len(str(job.source)) for job in jobs), default=0)
    return Table(
        [Column("image", width, "<"), Column("maps"), Column("tokens", 9), Column("object", 6, "<")]
    )


def row_of(result: dict[str, Any]) -> list[str]:
    """Return the cells of one file."""
    return [
        str(result["input"]),
        str(len(result["maps"])),
        str(result["tokens"]),
        ", ".join(result["objects"]) or "-",
    ]
