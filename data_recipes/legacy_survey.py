"""DESI Legacy Imaging Surveys: cutouts of co-added images in g, r and z."""

from .cutouts import build_cutouts
from .facts import recipe_of

RECIPE = recipe_of(__file__, build_cutouts, {"seed", "size", "positions", "bands"})
