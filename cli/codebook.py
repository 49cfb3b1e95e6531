"""``astro-vq codebook``: what the codes of a model draw, and how they are used."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astro_vq.io.atomic import refuse_existing

from .console import Column, Console, Table, format_number
from .cutout_options import CutoutOptions, cutout_options
from .options import option, pass_console, verbosity_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command(epilog="Without --data the codes are drawn, but their use cannot be counted.")
@click.argument("model")
@cutout_options(
    cutouts=1024,
    help_of_data="Folder of FITS files, or HDF5 file (FILE or FILE::DATASET), to count the use of "
    "codes on",
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="FITS image to map the codes over (default: one of the cutouts).",
)
@option(
    "output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder to write to, made if it is missing.",
)
@option("device")
@option("seed")
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def codebook(
    console: Console,
    model: str,
    *,
    images: CutoutOptions,
    image: Path | None,
    output: Path,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Show the codes of a MODEL: what they draw, and how they are used.

    MODEL is the name of a shipped model or the folder of a training run. The folder gets
    codebook.html (which needs nothing beside it), the figures as PNG, codebook.json with all
    figures, and codebook.h5 with codes, counts, drawings, distances, order and projection.

    \b
    Examples:
      astro-vq codebook run --data cutouts/ -o codes
      astro-vq codebook default --data sky/decam --image m31.fits -o codes
    """  # noqa: D301 - click reads the character \b
    page = output / "codebook.html"
    refuse_existing(page, overwrite=overwrite)
    from astro_vq.checkpoint import load_model
    from astro_vq.codec.windows import choose_device
    from astro_vq.data.cutouts import CutoutIndex
    from astro_vq.metrics.codebook import study_codebooks
    from astro_vq.metrics.codebook_drift import measure_drift
    from astro_vq.report.codebook_files import read_history, write_hdf5
    from astro_vq.report.pages.codebook import render_codebook
    from astro_vq.report.produce import write_text
    from astro_vq.training.snapshots import read_snapshots

    loaded = load_model(model, device=choose_device(device))
    index = None
    if images.data:
        index = CutoutIndex.build(images.folders, images.stacks, bands=images.bands)
        console.note(index.report())
    study = study_codebooks(
        loaded,
        index,
        cutout_size=images.cutout_size,
        max_cutouts=images.cutouts,
        image=None if image is None else _read_image(image, loaded.model.channels),
        seed=seed,
    )
    about = {
        "name": loaded.name,
        "hash": loaded.hash,
        "data": f"used on {', '.join(images.data)}" if images.data else "no data",
    }
    run = Path(model)
    history = read_history(run) if run.is_dir() else {}
    drift = measure_drift(read_snapshots(run)) if run.is_dir() else []
    text, figures = render_codebook(study, about, history, drift)
    document: dict[str, Any] = {
        "model": about,
        "stride": study.stride,
        "cutouts": study.cutouts,
        "levels": [level.to_dict() for level in study.levels],
        "history": history,
        "drift": [level.to_dict() for level in drift],
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (output / f"{name}.png").write_bytes(figure)
    write_hdf5(output / "codebook.h5", study, drift, overwrite=True)
    write_text(output / "codebook.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_text(page, text, overwrite=True)
    if as_json:
        console.json(document)
    else:
        _print_table(console, document)
    console.note(f"wrote {page}")


def _read_image(path: Path, channels: int) -> "NDArray[np.float32]":
    """Return the largest image of a file in network units, (C, H, W)."""
    import numpy as np

    from astro_vq.data.scaling import Scaling
    from astro_vq.errors import DataError
    from astro_vq.io.fits import open_fits
    from astro_vq.report.subject import choose_subject

    if channels != 1:
        raise DataError(f"--image shows one channel, but the model takes {channels}; leave it out")
    with open_fits(path) as file:
        subject = choose_subject(file, path)
    if not subject.has_pixels:
        raise DataError(f"{path}: no pixel is finite")
    return np.asarray(Scaling.measure(subject.pixels).forward(subject.pixels))[None]


def _print_table(console: Console, document: dict[str, Any]) -> None:
    table = Table(
        [
            Column("level", 8, "<"),
            Column("codes", 6),
            Column("tokens", 8),
            Column("perplexity", 10),
            Column("bits/token", 10),
            Column("dead", 5),
            Column("nearest distance", 16),
        ]
    )
    console.result(table.header)
    for level in document["levels"]:
        console.result(
            table.row(
                [
                    level["name"],
                    str(level["codes"]),
                    str(level["tokens"]),
                    format_number(level["perplexity"]),
                    format_number(level["entropy_bits"]),
                    "-" if level["dead"] is None else str(level["dead"]),
                    format_number(level["nearest_distance_median"]),
                ]
            )
        )
