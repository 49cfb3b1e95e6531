"""Reports of many images: which files, what is done already, and what they say together."""

import csv
import glob
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_vq.errors import DataError
from astro_vq.io.image import find_images
from astro_vq.report import html
from astro_vq.report.html import Cell, number_cell, text_cell, truth_cell
from astro_vq.report.study import RECORD_FORMAT, ReportSettings

COLUMNS = (
    "input", "INSTRUME", "FILTER", "kind", "choice", "fidelity", "swept", "input_bytes",
    "output_bytes", "ratio", "image_ratio", "bits_per_pixel", "header_bits", "token_bits",
    "pixel_bits", "model_bits", "noise_floor_bits", "bits_above_floor", "max_error_allowed",
    "max_error", "max_error_sigma", "rms_error_sigma", "keeps_bound", "identical", "sources",
    "flux_bias", "flux_median", "flux_90", "psf_flux_90", "position_90", "position_pixels",
    "size_90", "lost", "lost_snr", "invented", "invented_snr", "compress_seconds",
    "decompress_seconds",
)  # fmt: skip
"""Columns of the CSV file: one row for each image and way to compress it."""


def find_inputs(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths, folders and patterns stand for, each once, in order.

    Parameters
    ----------
    paths : sequence of Path
        Files (returned as they are, whether they exist or not), folders (all images below), and
        patterns such as ``night*/*.fits`` that the shell left alone.

    Raises
    ------
    DataError
        A folder holds no images, or a pattern fits none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = find_images(path)
            if not inside:
                raise DataError(f"{path}: no FITS image in this folder or below")
            found += inside
        elif not path.exists() and any(sign in str(path) for sign in "*?["):
            matches = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207
            if not matches:
                raise DataError(f"{path}: no file fits this pattern")
            found += matches
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def page_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for the page of each file: its own, made unique by its folders."""
    names = [path.name for path in paths]
    result = []
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            name = "__".join([*path.parent.parts[-2:], path.name]).replace("/", "")
        result.append(name)
    counts: dict[str, int] = {}
    for index, name in enumerate(result):
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            result[index] = f"{name}-{counts[name]}"
    return result


def settings_key(settings: ReportSettings, path: Path) -> str:
    """Return a hash of what a record depends on: settings, and size and time of the file."""
    stat = path.stat()
    about = [RECORD_FORMAT, settings.to_dict(), stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """Return a record that was written earlier, None when it is missing, damaged or outdated."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(saved, dict) or saved.get("key") != key:
        return None
    record = saved.get("record")
    return record if isinstance(record, dict) else None


def write_record(path: Path, key: str, record: Mapping[str, Any]) -> None:
    """Write a record with the key that it belongs to, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps({"key": key, "record": record}, allow_nan=False)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def make_rows(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one flat row, with `COLUMNS`, for each trial of an image's record."""
    image = record["image"]
    for trial in record["trials"]:
        photometry, layers = trial["photometry"], trial["layer_bits_per_pixel"]
        spreads = photometry["differences_in_errors"]
        has_sources = photometry["usable"] > 0
        row: dict[str, Any] = {
            "input": record["input"],
            "INSTRUME": image["keywords"].get("INSTRUME", ""),
            "FILTER": image["keywords"].get("FILTER", ""),
            "kind": image["kind"],
            **{f"{name}_bits": layers[name] for name in layers},
            "sources": photometry["sources"],
            "flux_bias": spreads["flux"]["bias"] if has_sources else None,
            "flux_median": spreads["flux"]["median"] if has_sources else None,
            "position_pixels": photometry["position_pixels"] if has_sources else None,
        }
        for name in ("flux", "psf_flux", "position", "size"):
            row[f"{name}_90"] = spreads[name]["percentile_90"] if has_sources else None
        for name in ("lost", "lost_snr", "invented", "invented_snr"):
            row[name] = photometry[name]
        for name in COLUMNS:
            row.setdefault(name, trial.get(name))
        yield {name: row[name] for name in COLUMNS}


def render_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the CSV table of all records: a line of titles, then `make_rows` of each."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerows(make_rows(record))
    return buffer.getvalue()


def summarise(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Summarise records by instrument, filter and way to compress.

    Returns
    -------
    list of dict
        ``INSTRUME``, ``FILTER``, ``choice``, number of ``files``, sums of bytes, ``ratio`` of the
        sums, medians of ``bits_per_pixel``, ``bits_above_floor`` and ``flux_90``, the sum of
        ``lost``, and whether ``all_kept`` their promise; then a row for all files of a choice.
    """
    rows = [row for record in records for row in make_rows(record) if not row["swept"]]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["INSTRUME"], row["FILTER"], row["choice"]), []).append(row)
    result = [_summarise_group(*key, group) for key, group in sorted(groups.items())]
    choices = list(dict.fromkeys(row["choice"] for row in rows))
    result += [
        _summarise_group("all", "", choice, [row for row in rows if row["choice"] == choice])
        for choice in choices
    ]
    return result


def _summarise_group(
    instrument: str, band: str, choice: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    before = sum(row["input_bytes"] for row in rows)
    after = sum(row["output_bytes"] for row in rows)
    return {
        "INSTRUME": instrument or "not stated",
        "FILTER": band,
        "choice": choice,
        "files": len(rows),
        "input_bytes": before,
        "output_bytes": after,
        "ratio": before / after,
        "bits_per_pixel": _median(rows, "bits_per_pixel"),
        "bits_above_floor": _median(rows, "bits_above_floor"),
        "flux_90": _median(rows, "flux_90"),
        "lost": sum(row["lost"] for row in rows),
        "all_kept": all(_is_kept(row) for row in rows),
    }


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return float(np.median(values)) if values else None


def _is_kept(row: Mapping[str, Any]) -> bool:
    if row["fidelity"] == "lossless":
        return bool(row["identical"])
    return row["keeps_bound"] is not False


def render_overview(
    records: Sequence[Mapping[str, Any]],
    failures: Sequence[tuple[str, str]],
    links: Mapping[str, str],
) -> Iterator[str]:
    """Yield the parts of the page over many images.

    Parameters
    ----------
    records : sequence of mapping
        Of all images.
    failures : sequence of tuple (file, message)
        Files that could not be reported on.
    links : mapping of str to str
        Address of the page of each input.
    """
    yield html.heading(f"Compression report of {len(records)} images", 1)
    summary = summarise(records)
    totals = [row for row in summary if row["INSTRUME"] == "all"]
    items = [
        (f"{row['ratio']:.2f} \u00d7", f"smaller: {row['choice']}, {row['files']} files")
        for row in totals[:4]
    ]
    if totals:
        items.append((html.format_bytes(totals[0]["input_bytes"]), "before"))
    if failures:
        items.append((str(len(failures)), "files failed"))
    yield html.cards(items)
    if failures:
        yield html.heading("Failed")
        rows = [[text_cell(name), text_cell(message, long=True)] for name, message in failures]
        yield html.table(("file", "why"), rows)
    yield html.heading("By instrument and filter")
    yield _summary_table(summary)
    yield html.heading("Images")
    yield _image_table(records, links)
    advised = [record for record in records if record["recommendation"]]
    if advised:
        yield html.heading("Recommended bounds")
        yield _advice_table(advised, links)


def _summary_table(summary: Sequence[Mapping[str, Any]]) -> str:
    titles = (
        "instrument", "filter", "fidelity", "files", "before", "after", "ratio", "bits/pixel",
        "above floor", "flux 90 %", "lost", "kept",
    )  # fmt: skip
    rows = [
        [
            text_cell(row["INSTRUME"]),
            text_cell(row["FILTER"]),
            text_cell(row["choice"]),
            number_cell(row["files"]),
            Cell(html.format_bytes(row["input_bytes"]), float(row["input_bytes"])),
            Cell(html.format_bytes(row["output_bytes"]), float(row["output_bytes"])),
            number_cell(row["ratio"], 4),
            number_cell(row["bits_per_pixel"]),
            number_cell(row["bits_above_floor"]),
            number_cell(row["flux_90"], 2),
            number_cell(row["lost"]),
            truth_cell(row["all_kept"], "yes", "NO"),
        ]
        for row in summary
    ]
    return html.table(titles, rows, ours=[row["INSTRUME"] == "all" for row in summary])


def _image_table(records: Sequence[Mapping[str, Any]], links: Mapping[str, str]) -> str:
    titles = (
        "image", "kind", "fidelity", "ratio", "bits/pixel", "above floor", "max error / noise",
        "kept", "sources", "flux bias", "flux 90 %", "lost", "invented", "compress s",
    )  # fmt: skip
    rows = []
    for record in records:
        for row in make_rows(record):
            if row["swept"]:
                continue
            name = Path(row["input"]).name
            rows.append(
                [
                    text_cell(name, link=links.get(row["input"], "")),
                    text_cell(row["kind"]),
                    text_cell(row["choice"]),
                    number_cell(row["ratio"], 4),
                    number_cell(row["bits_per_pixel"]),
                    number_cell(row["bits_above_floor"]),
                    number_cell(row["max_error_sigma"]),
                    truth_cell(_is_kept(row), "yes", "NO"),
                    number_cell(row["sources"]),
                    number_cell(row["flux_bias"], 2),
                    number_cell(row["flux_90"], 2),
                    number_cell(row["lost"]),
                    number_cell(row["invented"]),
                    number_cell(row["compress_seconds"]),
                ]
            )
    return html.table(titles, rows)


def _advice_table(records: Sequence[Mapping[str, Any]], links: Mapping[str, str]) -> str:
    rows = []
    for record in records:
        advice = record["recommendation"]
        reasons = next(iter(advice["exceeded"].items()), None)
        limiting = "" if reasons is None else f"{reasons[0]}: {', '.join(reasons[1])}"
        rows.append(
            [
                text_cell(Path(record["input"]).name, link=links.get(record["input"], "")),
                number_cell(advice["factor"]),
                number_cell(advice["ratio"]),
                text_cell(limiting, long=True),
            ]
        )
    titles = ("image", "bound / noise", "ratio", "what the next looser one exceeds")
    factors = [r["recommendation"]["factor"] for r in records if r["recommendation"]["factor"]]
    lead = ""
    if factors and len(factors) == len(records):
        lead = html.verdict(
            f"{min(factors):g} sigma is acceptable for all of them",
            f"The median of the recommendations is {float(np.median(factors)):g} sigma.",
        )
    elif factors:
        lead = html.paragraph(f"For {len(records) - len(factors)} images no bound is acceptable.")
    return lead + html.table(titles, rows)


def describe_row(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of the short table on a terminal for one row of `make_rows`."""

    def show(value: float | None, digits: int = 3) -> str:
        return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"

    kept = "yes" if _is_kept(row) else "NO"
    if row["fidelity"] == "tokens":
        kept = "-"
    return [
        Path(row["input"]).name,
        str(row["choice"]),
        show(row["ratio"], 4),
        show(row["bits_per_pixel"], 4),
        show(row["noise_floor_bits"], 4),
        show(row["max_error_sigma"]),
        kept,
        str(row["sources"]),
        show(row["flux_90"], 2),
        str(row["lost"]),
        show(row["compress_seconds"]),
    ]


TERMINAL_TITLES = (
    "image", "fidelity", "ratio", "bits/pixel", "floor", "max/noise", "kept", "sources",
    "flux 90%", "lost", "seconds",
)  # fmt: skip
"""Titles of the columns of `describe_row`."""
