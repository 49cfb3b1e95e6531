"""From files to pages: the work on one image of a report, and the files of a whole report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from astro_vq.io.atomic import atomic_writer
from astro_vq.report import html
from astro_vq.report.pages.image import render_parts
from astro_vq.report.pages.overview import render_overview
from astro_vq.report.records import read_record, settings_key, write_record
from astro_vq.report.rows import render_csv
from astro_vq.report.settings import ReportSettings
from astro_vq.report.study import study_image
from astro_vq.report.summary import summarise


class Piece(NamedTuple):
    """Where the work on one image leaves what it made.

    Attributes
    ----------
    page : Path
        HTML: a whole page, or its parts for a page over several images.
    record : Path
        JSON with the record and the key that tells whether it is up to date.
    """

    page: Path
    record: Path


def report_image(
    source: Path, piece: Piece, settings: ReportSettings, *, whole_page: bool, resume: bool
) -> dict[str, Any]:
    """Study one image and write its page and record.

    Parameters
    ----------
    source : Path
        FITS file.
    piece : Piece
        What to write; existing files are replaced.
    settings : ReportSettings
        What to do.
    whole_page : bool
        Write a page of its own rather than parts of one.
    resume : bool
        Take the record and page that are there when they belong to this file and settings.

    Returns
    -------
    dict
        The record.
    """
    key = settings_key(settings, source)
    if resume and piece.page.is_file():
        record = read_record(piece.record, key)
        if record is not None:
            return record
    study = study_image(source, settings)
    body = list(render_parts(study, anchor="" if whole_page else piece.page.stem))
    text = "\n".join(body)
    if whole_page:
        body.insert(0, '<nav><a href="index.html">All images</a></nav>')
        text = html.render_page(f"astro-vq: {source.name}", body)
    write_text(piece.page, text, overwrite=True)
    write_record(piece.record, key, study.record)
    return study.record


def write_single(
    output: Path,
    records: Sequence[Mapping[str, Any]],
    failures: Sequence[tuple[str, str]],
    parts: Mapping[str, Path],
    *,
    overwrite: bool,
) -> list[Path]:
    """Write one page over all images, and JSON and CSV beside it.

    Parameters
    ----------
    output : Path
        The page; the others have its name with .json and .csv.
    records : sequence of mapping
        Of the images.
    failures : sequence of tuple (file, message)
        Files that could not be reported on.
    parts : mapping of str to Path
        Files with the parts of each input's page.
    overwrite : bool
        Replace files that exist.

    Returns
    -------
    list of Path
        The files written.
    """
    body: list[str] = []
    if len(records) != 1 or failures:
        links = {name: f"#{path.stem}" for name, path in parts.items()}
        body += render_overview(records, failures, links)
    body += [parts[str(record["input"])].read_text(encoding="utf-8") for record in records]
    title = f"astro-vq: {Path(str(records[0]['input'])).name}" if len(records) == 1 else "astro-vq"
    written = [output, output.with_suffix(".json"), output.with_suffix(".csv")]
    write_text(written[0], html.render_page(title, body), overwrite=overwrite)
    _write_tables(written[1], written[2], records, failures, overwrite=overwrite)
    return written


def write_folder(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    failures: Sequence[tuple[str, str]],
    pages: Mapping[str, Path],
) -> list[Path]:
    """Write the overview of a folder of pages: index.html, report.json and report.csv.

    Parameters
    ----------
    folder : Path
        Where the pages are; files of an earlier run are replaced.
    records, failures
        See `write_single`.
    pages : mapping of str to Path
        Page of each input.
    """
    links = {name: path.name for name, path in pages.items()}
    text = html.render_page("astro-vq report", render_overview(records, failures, links))
    written = [folder / "index.html", folder / "report.json", folder / "report.csv"]
    write_text(written[0], text, overwrite=True)
    _write_tables(written[1], written[2], records, failures, overwrite=True)
    return written


def _write_tables(
    json_path: Path,
    csv_path: Path,
    records: Sequence[Mapping[str, Any]],
    failures: Sequence[tuple[str, str]],
    *,
    overwrite: bool,
) -> None:
    document = {
        "images": list(records),
        "failures": [{"input": name, "error": message} for name, message in failures],
        "summary": summarise(records),
    }
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_text(json_path, text, overwrite=overwrite)
    write_text(csv_path, render_csv(records), overwrite=overwrite)


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a text file that appears under its name only when it is complete."""
    with atomic_writer(path, overwrite=overwrite) as file:
        file.write(text.encode("utf-8"))
