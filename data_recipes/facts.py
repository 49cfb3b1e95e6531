"""Recipes of data from elsewhere: their facts are a ``.toml`` beside the module of the survey."""

import tomllib
from pathlib import Path
from typing import Any

from astro_vq.errors import ConfigError

from .base import Build, Recipe

_NEEDED = ("name", "summary", "description", "licence", "citation", "home", "size", "count")


def recipe_of(module: str, build: Build, options: set[str]) -> Recipe:
    """Return the recipe of a survey.

    Parameters
    ----------
    module : str
        ``__file__`` of the survey's module; the facts are in the ``.toml`` of the same name.
    build : callable
        See `Build`.
    options : set of str
        Fields of `BuildOptions` that it reads, besides ``mirror`` and ``count``.

    Raises
    ------
    ConfigError
        When a fact is missing.
    """
    path = Path(module).with_suffix(".toml")
    facts: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in (*_NEEDED, "urls", "checked", "written") if key not in facts]
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}")
    return Recipe(
        **{key: facts[key] for key in _NEEDED},
        urls=tuple(facts["urls"]),
        options=frozenset(options | {"mirror", "count"}),
        build=build,
        bands=tuple(facts.get("bands", ())),
        checked=str(facts["checked"] or ""),
        written=str(facts["written"]),
        facts=facts,
    )
