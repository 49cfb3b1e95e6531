"""Flat rows of records: for the CSV file and for the table on a terminal."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

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
TERMINAL_TITLES = (
    "image", "fidelity", "ratio", "bits/pixel", "floor", "max/noise", "kept", "sources",
    "flux 90%", "lost", "seconds",
)  # fmt: skip
"""Titles of the columns of `describe_row`."""


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


def is_kept(row: Mapping[str, Any]) -> bool:
    """Tell whether an image kept what its fidelity promises."""
    if row["fidelity"] == "lossless":
        return bool(row["identical"])
    return row["keeps_bound"] is not False


def describe_row(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of the short table on a terminal for one row of `make_rows`."""

    def show(value: float | None, digits: int = 3) -> str:
        return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"

    kept = "yes" if is_kept(row) else "NO"
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
