"""What a data recipe is, and the table of them.

A recipe writes a data set to train or test with into a folder.  To add one: a file with a
`Recipe` named ``RECIPE`` in it, and one entry in ``RECIPES``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from astro_vq.errors import ConfigError

RECIPES: dict[str, str] = {
    "simulated": "astro_vq.data_recipes.simulated",
}
"""Name of each recipe and the module that holds it, imported when it is asked for."""


class Build(Protocol):
    """Write `count` images of a recipe into `output` and return their paths.

    The same `seed` gives the same files.  `report` is called with one line of progress a file.
    """

    def __call__(
        self,
        output: Path,
        *,
        count: int,
        seed: int = 0,
        overwrite: bool = False,
        report: Callable[[str], None] | None = None,
    ) -> list[Path]:
        """Build the data set."""
        ...


@dataclass(frozen=True)
class Recipe:
    """A data set that can be built.

    Attributes
    ----------
    name : str
        As in ``RECIPES``.
    summary : str
        One line.
    description : str
        What the images are, where they come from, and what it needs (network, disk).
    licence : str
        Terms of the data.
    bands : tuple of str
        Bands of the images; empty when there is one unnamed band.
    build : callable
        Writes the files; see `Build`.
    """

    name: str
    summary: str
    description: str
    licence: str
    bands: tuple[str, ...]
    build: Build


def load_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises
    ------
    ConfigError
        When there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}; there are: {', '.join(sorted(RECIPES))}")
    recipe = import_module(RECIPES[name]).RECIPE
    if not isinstance(recipe, Recipe):
        raise TypeError(f"RECIPE of {RECIPES[name]} is no Recipe but {type(recipe).__name__}")
    return recipe
