"""Sloan Digital Sky Survey: cutouts of images in g, r and i."""

from .cutouts import build_cutouts
from .facts import recipe_of

RECIPE = recipe_of(__file__, build_cutouts, {"seed", "size", "positions", "bands"})
