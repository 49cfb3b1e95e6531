"""What a data recipe is, and the table of them.

A recipe writes a data set to train or test with into a folder.  To add one: a file with a
`Recipe` named ``RECIPE`` in it (and a ``.toml`` with its facts when it comes from elsewhere), and
one entry in ``RECIPES``.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from astro_vq.errors import ConfigError

from .folder import BuildFolder, BuildResult

RECIPES: dict[str, str] = {
    "simulated": "astro_vq.data_recipes.simulated_frames",
    "legacy-survey": "astro_vq.data_recipes.legacy_survey",
    "sdss": "astro_vq.data_recipes.sdss",
    "first": "astro_vq.data_recipes.first",
    "lotss": "astro_vq.data_recipes.lotss",
    "hst": "astro_vq.data_recipes.hst",
    "jwst": "astro_vq.data_recipes.jwst",
    "ztf-stamps": "astro_vq.data_recipes.ztf_stamps",
    "ztf-alerts": "astro_vq.data_recipes.ztf_alerts",
    "galaxy10": "astro_vq.data_recipes.galaxy10",
    "mirabest": "astro_vq.data_recipes.mirabest",
    "keck": "astro_vq.data_recipes.keck",
    "lco": "astro_vq.data_recipes.lco",
}
"""Name of each recipe and the module that holds it, imported when it is asked for."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class BuildOptions:
    """What the user may choose; a recipe takes those that its `Recipe.options` names.

    Attributes
    ----------
    count : int or None
        Images (or objects, or files) at most; the recipe's own number when None.
    seed : int
        Of what is drawn at random.
    size : int or None
        Side of the images in pixels.
    positions : Path or None
        CSV file with the columns ra and dec in degrees, and name if there is one.
    bands : tuple of str
        Bands to ask for.
    mirror : str
        Server to ask instead of the original ones.
    """

    count: int | None = None
    seed: int = 0
    size: int | None = None
    positions: Path | None = None
    bands: tuple[str, ...] = ()
    mirror: str = ""


Build = Callable[["Recipe", BuildFolder, BuildOptions, Report], None]
"""Put the images of a recipe into the folder; called again, go on where it stopped."""


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
        What the images are, where they come from, and what it needs.
    licence : str
        Terms of the data.
    citation : str
        What to cite when it is used.
    home : str
        Page that describes the data; https.
    urls : tuple of str
        What is asked, with the places of templates in braces; empty without a network.
    size : str
        What it takes on disk.
    count : int
        Images, objects or files when `BuildOptions.count` is None.
    options : frozenset of str
        Fields of `BuildOptions` that it reads.
    build : callable
        See `Build`.
    bands : tuple of str
        Bands of the images; empty when there is one unnamed band.
    checked : str
        Date on which the URLs were asked and answered as described; '' when they never were.
    written : str
        Date on which the facts were put down.
    facts : dict
        Everything else that its ``.toml`` says.
    """

    name: str
    summary: str
    description: str
    licence: str
    citation: str
    home: str
    urls: tuple[str, ...]
    size: str
    count: int
    options: frozenset[str]
    build: Build
    bands: tuple[str, ...] = ()
    checked: str = ""
    written: str = ""
    facts: dict[str, Any] | None = None


def load_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises
    ------
    ConfigError
        When there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
    recipe = import_module(RECIPES[name]).RECIPE
    if not isinstance(recipe, Recipe):
        raise TypeError(f"RECIPE of {RECIPES[name]} is no Recipe but {type(recipe).__name__}")
    return recipe


def build_recipe(
    name: str,
    output: Path,
    options: BuildOptions | None = None,
    *,
    overwrite: bool = False,
    report: Report | None = None,
) -> BuildResult:
    """Build a data set into a folder that ``astro-vq train`` takes.

    A build that was broken off goes on when it is started again with the same options.

    Parameters
    ----------
    name : str
        Of the recipe.
    output : Path
        Folder, made if it is missing; see `BuildFolder` for what is in it.
    options : BuildOptions, optional
        What to choose.
    overwrite : bool
        Replace another build in the folder.
    report : callable, optional
        Called with a line of progress.

    Returns
    -------
    BuildResult

    Raises
    ------
    ConfigError
        For an unknown recipe, or an option that it does not take.
    FileExistsError
        When the folder holds something else.
    DownloadError
        When something cannot be fetched.
    """
    recipe = load_recipe(name)
    chosen = options or BuildOptions()
    given = {key for key, value in asdict(chosen).items() if value != getattr(BuildOptions(), key)}
    if given - recipe.options:
        flags = ", ".join(f"--{key}" for key in sorted(given - recipe.options))
        takes = ", ".join(f"--{key}" for key in sorted(recipe.options)) or "no options"
        raise ConfigError(f"the recipe {name} has no use for {flags}; it takes {takes}")
    about = {
        "recipe": recipe.name,
        "options": {key: str(value) for key, value in asdict(chosen).items() if key in given},
        "licence": recipe.licence,
        "citation": recipe.citation,
        "home": recipe.home,
        "urls": list(recipe.urls),
    }
    with BuildFolder(output, about, overwrite=overwrite) as folder:
        recipe.build(recipe, folder, chosen, report or (lambda line: None))
        return folder.finish()
