"""``astro-vq report``: what compression saves and what it does to the science."""

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astro_vq.io.atomic import refuse_existing

from .batch import Done, Job, Outcome, find_inputs, report_outcomes, run_batch
from .batch_options import BatchOptions, batch_options
from .console import Column, Console, Table
from .options import option, parse_max_error, pass_console, verbosity_options

if TYPE_CHECKING:
    from astro_vq.report.settings import ReportSettings


@click.command(
    epilog="Limits of --sweep: flux, bias, psf-flux, position, size, ellipticity, lost-snr, "
    "invented-snr, noise, sky, correlation; see the documentation for what each means."
)
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@option("output", help="Page to write (.html); JSON and CSV go beside it under the same name.")
@option(
    "output-dir",
    help="Folder for a page an image, an overview (index.html), report.json and report.csv.",
)
@option("model")
@click.option("--lossless", is_flag=True, help="Report on lossless compression.")
@click.option(
    "--max-error",
    "max_errors",
    type=parse_max_error,
    multiple=True,
    metavar="X[sigma]",
    help="Report on this bound, in the unit of the image or of its noise (0.125sigma); repeatable.",
)
@click.option("--tokens", "tokens_only", is_flag=True, help="Report on tokens alone.")
@click.option("--no-tokens", is_flag=True, help="Leave the tokens out where pixels are kept.")
@click.option(
    "--peers",
    is_flag=True,
    help="Run other codecs on the same pixels at the same bound (pip install astro-vq[bench]).",
)
@click.option(
    "--sweep",
    is_flag=True,
    help="Try bounds from 1/64 to 4 sigma, and recommend the loosest one within the limits.",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=VALUE",
    help="Limit for --sweep, such as flux=0.1 (in flux errors), or noise=none; repeatable.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Significance of a source, in sigma of the image smoothed with its PSF.",
)
@click.option(
    "--fwhm",
    type=click.FloatRange(min=0, min_open=True),
    help="Width of point sources in pixels (default: measured).",
)
@click.option(
    "--radius",
    type=click.FloatRange(min=0, min_open=True),
    help="Radius of the aperture in pixels (default: 1.35 times the FWHM, at least 2).",
)
@option("hdu", help="Look at this HDU, counted from 0 (default: the largest image).")
@click.option(
    "--effort",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="Time to spend on smaller files: 1 is the fastest, 9 the smallest.",
)
@option("device")
@click.option(
    "--devices",
    metavar="NAME,NAME",
    help="Run on each of these devices, such as cpu,cuda, and check that all write the same bytes.",
)
@batch_options
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def report(
    console: Console,
    images: tuple[Path, ...],
    *,
    output: Path | None,
    output_dir: Path | None,
    model: str,
    lossless: bool,
    max_errors: tuple[str, ...],
    tokens_only: bool,
    no_tokens: bool,
    peers: bool,
    sweep: bool,
    limits: tuple[str, ...],
    threshold: float,
    fwhm: float | None,
    radius: float | None,
    hdu: int | None,
    effort: int,
    device: str,
    devices: str | None,
    batch: BatchOptions,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Report on what compression does to images.

    Each IMAGE (a FITS file, a folder, or a quoted pattern) is compressed and decompressed in every
    way asked for (the default of the image when none is). The page shows sizes by layer, the
    distance to the noise floor, errors against the bound, what happens to fluxes, positions and
    shapes of sources, residuals, and time. Nothing that is compressed here is kept.

    \b
    Examples:
      astro-vq report m31.fits --max-error 0.125sigma --lossless --peers -o report.html
      astro-vq report m31.fits --sweep --limit flux=0.1 --limit lost-snr=6 -o bound.html
      astro-vq report night/ -O reports -j 4 --resume
    """  # noqa: D301 - click reads the character \b
    if (output is None) == (output_dir is None):
        raise click.UsageError("give the page with -o PAGE.html, or a folder of pages with -O DIR")
    if batch.resume and output_dir is None:
        raise click.UsageError("--resume needs a folder of pages: -O DIR")
    if limits and not sweep:
        raise click.UsageError("--limit goes with --sweep")
    from astro_vq.report.choice import parse_choice
    from astro_vq.report.inputs import page_names
    from astro_vq.report.limits import parse_limits
    from astro_vq.report.settings import ReportSettings

    try:
        wanted = parse_limits(limits)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--limit") from None
    choices = [parse_choice("max-error", bound) for bound in dict.fromkeys(max_errors)]
    choices += [parse_choice("lossless")] * lossless + [parse_choice("tokens")] * tokens_only
    settings = ReportSettings(
        choices=tuple(choices),
        model=model,
        effort=effort,
        tokens=not no_tokens,
        devices=_parse_devices(devices) or (device,),
        peers=peers,
        sweep=sweep,
        limits=wanted,
        hdu=hdu,
        threshold=threshold,
        fwhm=fwhm,
        radius=radius,
    )
    _check_devices(settings.devices)
    sources = [file.path for file in find_inputs(images, batch)]
    if output is not None:
        _check_outputs(output, overwrite=overwrite)
    else:
        _check_folder(output_dir, overwrite=overwrite or batch.resume)
    with tempfile.TemporaryDirectory(prefix="astro-vq-report-") as scratch:
        folder = output_dir or Path(scratch)
        (folder / "records").mkdir(parents=True, exist_ok=True)
        names = page_names(sources)
        planned = [
            Job(source, folder / f"{name}.html")
            for source, name in zip(sources, names, strict=True)
        ]
        work = partial(
            report_one, settings=settings, whole_page=output_dir is not None, resume=batch.resume
        )
        table = _make_table(sources)
        if not as_json:
            console.result(table.header)
        outcomes = run_batch(
            work,
            planned,
            batch,
            console,
            command="report",
            settings=json.loads(json.dumps(settings.to_dict(), default=str)),
            overwrite=overwrite,
            leave_out=False,  # `report_one` reads the record of a page that is up to date
        )
        report_outcomes(
            _finish(outcomes, planned, console, output, output_dir, overwrite=overwrite),
            console,
            count=len(planned),
            label="report",
            show=None if as_json else partial(_show, console, table),
        )


def report_one(job: Job, *, settings: "ReportSettings", whole_page: bool, resume: bool) -> Done:
    """Report on one image; return its record, and what failed."""
    from astro_vq.report.produce import Piece, report_image

    if job.output is None:
        raise ValueError("a report needs a page to write")
    piece = Piece(job.output, job.output.parent / "records" / f"{job.output.stem}.json")
    record = report_image(job.source, piece, settings, whole_page=whole_page, resume=resume)
    problems = [f"{item['choice']}: {item['error']}" for item in record["failures"]]
    problems += [
        f"{trial['choice']}: the decoded image does not keep its promise"
        for trial in record["trials"]
        if trial["keeps_bound"] is False
        or (trial["fidelity"] == "lossless" and not trial["identical"])
    ]
    for trial in record["trials"]:
        for other in trial["devices"]:
            what = f"{trial['choice']}: {other['device']}"
            if not other["same_bytes"]:
                problems.append(f"{what} wrote other bytes")
            elif not other["same_pixels"] and trial["fidelity"] != "tokens":
                problems.append(f"{what} decoded other pixels")
    return Done(record, record["notes"], problems)


def _parse_devices(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    unknown = [name for name in names if name not in ("auto", "cpu", "cuda", "mps")]
    if unknown:
        raise click.BadParameter(
            f"{', '.join(unknown)!r} is no device; take auto, cpu, cuda or mps",
            param_hint="--devices",
        )
    return names


def _check_devices(names: tuple[str, ...]) -> None:
    """Refuse early a device that is not here."""
    if {*names} <= {"auto", "cpu"}:
        return
    from astro_vq.training.devices import choose_device  # torch only when it is needed

    for name in names:
        choose_device(name)


def _check_outputs(page: Path, *, overwrite: bool) -> None:
    """Refuse early what could not be written after a long run."""
    if page.is_dir():
        raise click.UsageError(f"-o {page} is a folder; to write into it use -O {page}")
    if page.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"-o names a page, such as {page.with_suffix('.html')}, not {page}")
    if not page.parent.is_dir():
        raise FileNotFoundError(f"cannot write {page}: the folder {page.parent} does not exist")
    for path in (page, page.with_suffix(".json"), page.with_suffix(".csv")):
        refuse_existing(path, overwrite=overwrite)


def _check_folder(folder: Path | None, *, overwrite: bool) -> None:
    if folder is not None and (folder / "index.html").exists() and not overwrite:
        raise FileExistsError(
            f"{folder} holds a report already; --overwrite makes it anew, --resume goes on with it"
        )


def _finish(
    outcomes: Iterator[Outcome],
    planned: list[Job],
    console: Console,
    output: Path | None,
    output_dir: Path | None,
    *,
    overwrite: bool,
) -> Iterator[Outcome]:
    """Pass outcomes on, and write the pages over all of them after the last one."""
    records: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    pages: dict[str, Path] = {}
    for outcome, job in zip(outcomes, planned, strict=True):
        if outcome.error:
            failures.append((str(outcome.source), outcome.error))
        elif job.output is not None:
            records.append(outcome.done.result)
            pages[str(outcome.done.result["input"])] = job.output
        yield outcome
    from astro_vq.report.produce import write_folder, write_single

    if not records:
        return
    if output is not None:
        written = write_single(output, records, failures, pages, overwrite=overwrite)
    elif output_dir is not None:
        written = write_folder(output_dir, records, failures, pages)
    console.note(f"wrote {', '.join(str(path) for path in written)}")


def _make_table(sources: list[Path]) -> Table:
    from astro_vq.report.rows import TERMINAL_TITLES

    width = min(max(len(source.name) for source in sources), 44)
    widths = {"image": width, "fidelity": 20, "ratio": 6, "max/noise": 9, "flux 90%": 8}
    return Table(
        [
            Column(title, widths.get(title, 5), "<" if title in ("image", "fidelity") else ">")
            for title in TERMINAL_TITLES
        ]
    )


def _show(console: Console, table: Table, record: dict[str, Any]) -> None:
    from astro_vq.report.rows import describe_row, make_rows

    for row in make_rows(record):
        console.result(table.row(describe_row(row)))
    advice = record["recommendation"]
    if advice is not None:
        from astro_vq.report.limits import Recommendation

        console.result(f"{Path(record['input']).name}: {Recommendation(**advice).describe()}")
