"""``astro-vq verify``: whether compressed files are undamaged, and keep what they promise."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import astro_vq
from astro_vq.batch.inputs import is_compressed_name

from .batch import Done, Job, find_inputs, report_outcomes, run_batch
from .batch_options import BatchOptions, batch_options, require_manifest
from .console import Column, Console, Table, format_number
from .options import option, pass_console, verbosity_options
from .streams import Source, SourceParam, is_streamed, run_streamed

if TYPE_CHECKING:
    from astro_vq.codec.verify import VerificationReport


@click.command()
@click.argument("files", nargs=-1, type=SourceParam())
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="Compare with the original as well: headers byte for byte, each pixel with the bound.",
)
@option(
    "model",
    default=None,
    show_default=False,
    help="Model to decode --tokens files with, instead of the one that the file names; only "
    "needed with --against.",
)
@option("device")
@option("max-pixels")
@batch_options
@option("json")
@verbosity_options
@pass_console
def verify(
    console: Console,
    files: tuple[Source, ...],
    *,
    against: Path | None,
    model: str | None,
    device: str,
    max_pixels: int,
    batch: BatchOptions,
    as_json: bool,
) -> None:
    """Check that compressed FILEs are undamaged (folders and lists, @FILE, too).

    Compares every checksum and decodes every tile. FILE may be a URL, or - for stdin. With
    --against the file is also compared with the image that it was made from; errors are in the
    unit of the image. The exit status is 1 if anything is wrong, and every problem is named.

    \b
    Examples:
      astro-vq verify packed/*.avq
      astro-vq verify m31.fits.avq --against m31.fits
    """  # noqa: D301 - click reads the character \b
    require_manifest(batch)
    work = partial(verify_one, against=against, model=model, device=device, max_pixels=max_pixels)
    if is_streamed(files):
        run_streamed(
            work,
            files,
            None,
            batch,
            console,
            name_of=None,
            label="verify",
            show=None if as_json else console.row_printer(verification_table(files), row_of),
        )
        return
    found = find_inputs(files, batch, accepts=is_compressed_name, what=".avq file")
    if against is not None and len(found) > 1:
        raise click.UsageError(f"--against is for one file, but there are {len(found)}")
    table = verification_table([file.path for file in found])
    report_outcomes(
        run_batch(
            work,
            [Job(file.path) for file in found],
            batch,
            console,
            command="verify",
            settings={"against": against and str(against), "model": model},
        ),
        console,
        count=len(found),
        label="verify",
        show=None if as_json else console.row_printer(table, row_of),
    )


def verify_one(job: Job, **choices: Any) -> Done:  # noqa: ANN401
    """Verify one file; return what was found."""
    report: VerificationReport = astro_vq.verify(job.source, **choices)
    return Done(report.to_dict(), problems=report.problems)


def verification_table(sources: Sequence[object]) -> Table:
    """Return the table that has one row for each file that was verified."""
    return Table(
        [
            Column("file", max(len(str(source)) for source in sources), "<"),
            Column("state", 7, "<"),
            Column("fidelity", 9, "<"),
            Column("hdus"),
            Column("tiles", 6),
            Column("damaged"),
            Column("max error", 10),
            Column("found", 10),
        ]
    )


def row_of(result: dict[str, Any]) -> list[str]:
    """Return the cells of one file."""
    images = [hdu for hdu in result["hdus"] if "tiles" in hdu]
    promised = [hdu["max_error"] for hdu in images]
    found = [hdu["largest_error"] for hdu in images if "largest_error" in hdu]
    has_bound = bool(promised) and None not in promised
    return [
        result["file"],
        "ok" if result["ok"] else "damaged",
        ", ".join(dict.fromkeys(hdu["fidelity"] for hdu in images)) or "lossless",
        str(len(result["hdus"])),
        str(sum(hdu["tiles"] for hdu in images)),
        str(sum(hdu.get("damaged_tiles", 0) for hdu in images)),
        format_number(max(promised)) if has_bound else "none",
        format_number(max(found, default=None)),
    ]
