"""The page over many images: totals, a summary by instrument and filter, and every image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_vq.report import html
from astro_vq.report.html import Cell, number_cell, text_cell, truth_cell
from astro_vq.report.rows import is_kept, make_rows
from astro_vq.report.summary import summarise


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
                    truth_cell(is_kept(row), "yes", "NO"),
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
