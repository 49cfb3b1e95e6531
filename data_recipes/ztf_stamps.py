"""Zwicky Transient Facility: stamps of alerts by object and candidate."""

from .cutouts import build_cutouts
from .facts import recipe_of

RECIPE = recipe_of(__file__, build_cutouts, {"positions", "bands"})
