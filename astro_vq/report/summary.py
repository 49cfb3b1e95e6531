"""What records of many images say together, by instrument and filter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from astro_vq.report.rows import is_kept, make_rows


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
        "all_kept": all(is_kept(row) for row in rows),
    }


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return float(np.median(values)) if values else None
