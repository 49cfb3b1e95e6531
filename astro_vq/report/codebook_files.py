"""Files of a codebook beside its page, and what the metrics of its run say."""

import csv
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from astro_vq.io.atomic import atomic_writer
from astro_vq.metrics.codebook import CodebookStudy
from astro_vq.metrics.codebook_drift import Drift


def read_history(run: Path) -> dict[str, list[float]]:
    """Return step, perplexity and dead codes of the metrics of a run; empty where there are none.

    Rows of validation are taken where they have these figures, or else those of training.
    """
    try:
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    names = ("step", "perplexity", "dead_codes")
    complete = [row for row in rows if all(_is_number(row.get(name)) for name in names)]
    validated = [row for row in complete if row.get("split") == "validation"]
    chosen = validated if len(validated) > 1 else complete
    if len(chosen) < 2:
        return {}
    return {name: [float(row[name]) for row in chosen] for name in names}


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and np.isfinite(float(text))
    except ValueError:
        return False


def write_hdf5(
    path: Path, study: CodebookStudy, drift: Sequence[Drift] = (), *, overwrite: bool
) -> None:
    """Write the arrays of a study: one group a level, and the map over the image.

    Parameters
    ----------
    path : Path
        File to write.
    study : CodebookStudy
        Codebooks.
    drift : sequence of Drift
        How the codes of each level moved.
    overwrite : bool
        Replace a file that exists.
    """
    with atomic_writer(path, overwrite=overwrite) as raw, h5py.File(raw, "w") as file:
        file.attrs["stride"] = study.stride
        file.attrs["cutouts"] = study.cutouts
        for level in study.levels:
            group = file.create_group(level.name)
            for name in ("vectors", "counts", "drawn", "nearest", "order", "projection"):
                group[name] = getattr(level, name)
            group.create_dataset("drawings", data=level.drawings, compression="gzip", shuffle=True)
            if level.counts.any():
                group.attrs["perplexity"] = level.perplexity
                group.attrs["entropy_bits"] = level.entropy_bits
        if study.image is not None:
            file["image"] = study.image
            for level, codes in zip(study.levels, study.image_codes, strict=True):
                file[f"image_codes/{level.name}"] = codes
        for moved in drift:
            for name in ("steps", "median", "percentile_90", "settled"):
                file[f"drift/{moved.name}/{name}"] = getattr(moved, name)
