"""Hubble Space Telescope: cutouts of the CANDELS mosaics of GOODS-North."""

from .cutouts import build_cutouts
from .facts import recipe_of

RECIPE = recipe_of(__file__, build_cutouts, {"seed", "size", "positions"})
