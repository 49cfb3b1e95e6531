"""FIRST (VLA, 1.4 GHz): radio cutouts, such as of the sources of Radio Galaxy Zoo."""

from .cutouts import build_cutouts
from .facts import recipe_of

RECIPE = recipe_of(__file__, build_cutouts, {"seed", "size", "positions"})
