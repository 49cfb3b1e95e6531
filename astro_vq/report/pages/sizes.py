"""Tables of sizes and errors."""

from collections.abc import Iterator
from typing import Any

from astro_vq.report import html
from astro_vq.report.html import Cell, number_cell, text_cell, truth_cell
from astro_vq.report.study import ImageStudy


def size_parts(study: ImageStudy) -> Iterator[str]:
    """Yield tables of sizes and errors: of the file, by layer, by HDU."""
    yield html.heading("Sizes and errors")
    yield _size_table(study)
    yield html.paragraph(
        "Ratio is the size of the input file over that of the compressed file; bits per pixel "
        "count all of the compressed file. The noise floor is what the sky noise alone costs "
        "at that bound, its correlation between neighbours used; sources cost more. Where a "
        "file has several images, errors are over all of them, but those in units of the noise "
        "are of the image shown."
    )
    yield html.heading("Bits per pixel by layer", 3)
    yield _layer_table(study)
    yield html.notes(sorted({n for t in study.trials for n in t.trial.notes}))
    if _hdu_rows(study):
        yield html.folded("Errors of each image HDU", _hdu_table(study))


def _size_table(study: ImageStudy) -> str:
    titles = (
        "fidelity", "ratio", "bits/pixel", "noise floor", "above it", "max error allowed",
        "max error seen", "rms / noise", "kept", "bytes",
    )  # fmt: skip
    rows = []
    for item in study.trials:
        record = item.record
        rows.append(
            [
                text_cell(item.trial.choice.label),
                number_cell(record["ratio"], 4),
                number_cell(record["bits_per_pixel"], 4),
                number_cell(record["noise_floor_bits"], 4),
                number_cell(record["bits_above_floor"]),
                number_cell(record["max_error_allowed"]),
                number_cell(record["max_error"]),
                number_cell(record["rms_error_sigma"]),
                _kept_cell(record),
                number_cell(record["output_bytes"], 9),
            ]
        )
    return html.table(titles, rows, ours=_stressed(study))


def _kept_cell(record: dict[str, Any]) -> Cell:
    if record["fidelity"] == "lossless":
        return truth_cell(record["identical"], "identical", "NOT identical")
    return truth_cell(record["keeps_bound"], "yes", "NO")


def _stressed(study: ImageStudy) -> list[bool]:
    """Return which trials were asked for, when a sweep adds others."""
    swept = any(item.swept for item in study.trials)
    return [swept and not item.swept for item in study.trials]


def _layer_table(study: ImageStudy) -> str:
    titles = ("fidelity", "header", "tokens", "pixels", "model", "whole", "image ratio")
    rows = []
    for item in study.trials:
        record, layers = item.record, item.record["layer_bits_per_pixel"]
        rows.append(
            [
                text_cell(item.trial.choice.label),
                *(number_cell(layers[name]) for name in ("header", "token", "pixel", "model")),
                number_cell(record["bits_per_pixel"]),
                number_cell(record["image_ratio"], 4),
            ]
        )
    return html.table(titles, rows, ours=_stressed(study))


def _hdu_rows(study: ImageStudy) -> list[list[Cell]]:
    rows = []
    for item in study.asked:
        if len(item.record["hdus"]) < 2:
            continue
        for hdu in item.record["hdus"]:
            rows.append(
                [
                    text_cell(item.trial.choice.label),
                    number_cell(hdu["index"]),
                    text_cell(hdu["name"]),
                    text_cell(" x ".join(str(n) for n in hdu["shape"])),
                    text_cell(hdu["dtype"]),
                    number_cell(hdu["max_error_allowed"]),
                    number_cell(hdu["max_error"]),
                    truth_cell(hdu["keeps_bound"], "yes", "NO"),
                    truth_cell(hdu["identical"]),
                    number_cell(hdu["missing"]),
                    number_cell(hdu["misplaced"]),
                ]
            )
    return rows


def _hdu_table(study: ImageStudy) -> str:
    titles = ("fidelity", "HDU", "name", "shape", "dtype", "allowed", "max error", "kept",
              "identical", "missing", "misplaced")  # fmt: skip
    return html.table(titles, _hdu_rows(study))
