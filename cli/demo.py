"""``astro-vq demo``: a simulated sky through the three fidelities, with no input and no network."""

from pathlib import Path
from typing import Any

import click

from .console import Column, Console, Table, format_bytes, format_number
from .options import option, pass_console, verbosity_options

DEFAULT_FOLDER = Path("astro-vq-demo")


@click.command()
@option(
    "output",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    metavar="DIR",
    help="Folder for the image, the compressed files and the picture.",
)
@click.option(
    "--size",
    type=click.IntRange(min=64),
    default=1024,
    show_default=True,
    help="Width and height of the simulated frame in pixels.",
)
@option("model")
@option("seed", help="Seed of the simulated sky.")
@option("device")
@option("overwrite")
@option("json")
@verbosity_options
@pass_console
def demo(
    console: Console,
    *,
    output: Path,
    size: int,
    model: str,
    seed: int,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Show the three fidelities on a simulated sky.

    Simulates a frame, compresses and decompresses it in each fidelity, and measures what comes
    back. Writes sky.fits, for each fidelity the compressed and the decompressed file, and demo.png:
    the original, what was decoded, and the difference. The table gives the largest error that was
    promised, and the largest, root-mean-square and median absolute errors that were measured, all
    in units of the noise of the sky (sigma); bits per pixel and ratio are those of the whole file.

    \b
    Examples:
      astro-vq demo
      astro-vq demo -o sky-demo --size 2048 --seed 7
    """  # noqa: D301 - click reads the character \b
    from .demo_run import run_demo  # needs astropy and matplotlib, which --help does not

    table = Table(
        [
            Column("fidelity", 9, "<"),
            Column("promised", 10),
            Column("max error", 10),
            Column("rms", 10),
            Column("median", 10),
            Column("bits/pixel", 10),
            Column("ratio", 6),
            Column("size", 7),
            Column("seconds", 7),
        ]
    )
    rows = run_demo(
        output,
        size=size,
        model=model,
        seed=seed,
        device=device,
        overwrite=overwrite,
        report=console.note,
    )
    if as_json:
        console.json(rows)
    else:
        console.result(table.header)
        for row in rows:
            console.result(table.row(cells_of(row)))
        console.result(
            "errors (promised; largest, rms and median found) in units of sky noise (sigma)"
        )
    console.note(f"picture: {output / 'demo.png'}")


def cells_of(row: dict[str, Any]) -> list[str]:
    """Return the cells of one fidelity."""
    promised = row["promised_error_sigma"]
    return [
        row["fidelity"],
        "none" if promised is None else format_number(promised),
        format_number(row["max_error_sigma"]),
        format_number(row["rms_error_sigma"]),
        format_number(row["median_error_sigma"]),
        format_number(row["bits_per_pixel"]),
        format_number(row["ratio"]),
        format_bytes(row["output_bytes"]),
        format_number(row["seconds"], 3),
    ]
