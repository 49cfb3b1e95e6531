"""``metrics.csv``: one row per line of metrics, written as the run goes."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, TextIO

FIRST_COLUMNS = ("step", "split", "epoch", "seconds", "learning_rate", "images_per_second")

Row = dict[str, str]


class MetricsLog:
    """Appends rows to a CSV file, each flushed at once.

    Columns: ``step`` (optimiser steps done), ``split`` ('train' or 'validation'), ``epoch``,
    ``seconds`` (training time), ``learning_rate``, ``images_per_second``, then the terms that the
    first row brings and those that are named. Numbers are written so that they read back as the
    same floats; a cell without a value is empty.

    Parameters
    ----------
    path : Path
        File to write.
    columns : sequence of str
        Names of terms, in order; a row may leave some out, but bring no others.
    keep : int
        Rows at the start of an existing file that stay. A run that is resumed so drops what an
        interrupted one wrote after its last checkpoint.

    Attributes
    ----------
    rows : int
        Rows in the file.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, keep: int = 0) -> None:
        self.columns = (*FIRST_COLUMNS, *(c for c in columns if c not in FIRST_COLUMNS))
        kept = read_metrics(path)[:keep] if keep and path.exists() else []
        self.rows = len(kept)
        fresh = path.with_name(f"{path.name}.new")
        with fresh.open("w", newline="", encoding="utf-8") as file:
            writer = self._make_writer(file, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        fresh.replace(path)
        self._file: TextIO = path.open("a", newline="", encoding="utf-8")
        self._writer = self._make_writer(self._file, extrasaction="raise")

    def _make_writer(
        self, file: TextIO, *, extrasaction: Literal["ignore", "raise"]
    ) -> "csv.DictWriter[str]":
        return csv.DictWriter(
            file, self.columns, restval="", extrasaction=extrasaction, lineterminator="\n"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, values: Mapping[str, int | float | str]) -> None:
        """Write one row.

        Raises
        ------
        ValueError
            A value has no column.
        """
        unknown = sorted(set(values) - set(self.columns))
        if unknown:
            raise ValueError(f"no column for {unknown}; columns are {list(self.columns)}")
        self._writer.writerow({name: _text(value) for name, value in values.items()})
        self._file.flush()
        self.rows += 1


def _text(value: float | str) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def read_metrics(path: Path) -> list[Row]:
    """Return the rows of a file of metrics; rows that were cut off are left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and None not in row]


def read_series(rows: Sequence[Row], split: str, column: str) -> tuple[list[float], list[float]]:
    """Return steps and values of one column for one split; empty cells are left out."""
    pairs = [
        (float(row["step"]), float(row[column]))
        for row in rows
        if row["split"] == split and row.get(column)
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]
