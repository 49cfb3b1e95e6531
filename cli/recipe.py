"""``astro-vq recipe``: data sets to train with, listed, described and built."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import Column, Console, Table
from .options import option, pass_console, verbosity_options

if TYPE_CHECKING:
    from astro_vq.data_recipes.base import Recipe


@click.command()
@click.argument("action", type=click.Choice(["list", "show", "build"]))
@click.argument("name", required=False)
@option("output", metavar="DIR", help="Folder to build into, made if it is missing.")
@click.option("--count", type=click.IntRange(min=1), help="Images, objects or files at most.")
@click.option("--size", type=click.IntRange(min=8), help="Side of the images in pixels.")
@click.option(
    "--positions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Objects to cut out: a CSV file with the columns ra and dec in degrees, and name.",
)
@click.option("--bands", metavar="TEXT", default="", help="Bands to ask for, such as g,r.")
@click.option(
    "--mirror",
    metavar="URL",
    default="",
    help="Server to ask instead of the original ones, with the same paths on it.",
)
@option("seed", help="Seed of what is simulated or drawn.")
@option("overwrite", help="Replace another build that is in DIR.")
@option("json")
@verbosity_options
@pass_console
def recipe(
    console: Console,
    action: str,
    name: str | None,
    *,
    output: Path | None,
    count: int | None,
    size: int | None,
    positions: Path | None,
    bands: str,
    mirror: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """List, show or build data sets to train with.

    "list" names them; "show" gives the source, licence, citation, size and options of one; "build"
    writes it into DIR/train, DIR/validation and DIR/test, split by object, ready for astro-vq
    train. Without a network, only "simulated" can be built. A build that broke off goes on when the
    same command is given again.

    \b
    Examples:
      astro-vq recipe list
      astro-vq recipe show legacy-survey
      astro-vq recipe build simulated -o sky --count 40
      astro-vq recipe build legacy-survey -o cutouts --positions galaxies.csv
    """  # noqa: D301 - click reads the character \b
    from astro_vq.data_recipes.base import RECIPES, BuildOptions, build_recipe, load_recipe

    if action == "list":
        show_list(console, [load_recipe(key) for key in RECIPES], as_json=as_json)
        return
    if name is None:
        raise click.UsageError(f"which recipe? astro-vq recipe {action} NAME; see recipe list")
    if action == "show":
        show_recipe(console, load_recipe(name), as_json=as_json)
        return
    if output is None:
        raise click.UsageError("name a folder to build into: -o DIR")
    options = BuildOptions(
        count=count,
        seed=seed,
        size=size,
        positions=positions,
        bands=tuple(band.strip() for band in bands.split(",") if band.strip()),
        mirror=mirror,
    )
    result = build_recipe(name, output, options, overwrite=overwrite, report=console.note)
    if as_json:
        console.json(
            {
                "output": str(result.folder),
                "images": result.images,
                "left_out": result.left_out,
                "train": result.train_options,
            }
        )
        return
    for split, images in result.images.items():
        console.result(f"{split:<11}{images} images")
    for left, reason in list(result.left_out.items())[:5]:
        console.note(f"left out {left}: {reason}")
    if result.left_out:
        console.note(f"left out {len(result.left_out)} in all; recipe.json lists them")
    console.note(f"to train: astro-vq train {result.train_options} -o RUN")


def facts_of(entry: "Recipe") -> dict[str, object]:
    """Return what ``--json`` writes of a recipe."""
    return {
        "name": entry.name,
        "summary": entry.summary,
        "description": entry.description,
        "licence": entry.licence,
        "citation": entry.citation,
        "home": entry.home,
        "urls": list(entry.urls),
        "size": entry.size,
        "count": entry.count,
        "bands": list(entry.bands),
        "options": sorted(entry.options),
        "checksum": checksum_of(entry),
        "checked": entry.checked or None,
        "written": entry.written or None,
    }


def show_list(console: Console, recipes: "list[Recipe]", *, as_json: bool) -> None:
    """Print one line a recipe."""
    if as_json:
        console.json([facts_of(entry) for entry in recipes])
        return
    table = Table([Column("name", max(len(r.name) for r in recipes), "<"), Column("what", 0, "<")])
    console.result(table.header)
    for entry in recipes:
        console.result(table.row([entry.name, entry.summary]))


def show_recipe(console: Console, entry: "Recipe", *, as_json: bool) -> None:
    """Print all facts of a recipe."""
    if as_json:
        console.json(facts_of(entry))
        return
    flags = " ".join(f"--{name}" for name in sorted(entry.options))
    lines = {
        "name": entry.name,
        "what": entry.summary,
        "about": entry.description,
        "licence": entry.licence,
        "cite": entry.citation,
        "home": entry.home or "-",
        "size": f"{entry.size}; {entry.count} unless --count says otherwise",
        "bands": ", ".join(entry.bands) or "-",
        "options": flags,
    }
    for title, text in lines.items():
        console.result(f"{title:<10}{text}")
    for url in entry.urls:
        console.result(f"{'url':<10}{url}")
    if entry.urls:
        console.result(f"{'checksum':<10}{checksum_of(entry)}")
        checked = f"answered on {entry.checked}"
        never = f"NOT CHECKED: all is from documentation ({entry.written}), no URL was ever asked"
        console.result(f"{'checked':<10}{checked if entry.checked else never}")


def checksum_of(entry: "Recipe") -> str:
    """Say where checksums come from."""
    facts = entry.facts or {}
    if not entry.urls:
        return "none needed"
    if "pattern" in facts:
        return "SHA-256 of each file, from the list of files"
    return str(facts.get("checksum") or "not stated by the publisher; recorded when fetched")
