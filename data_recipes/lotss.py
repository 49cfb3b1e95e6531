"""LoTSS DR2 (LOFAR, 144 MHz): radio cutouts."""

from .cutouts import build_cutouts
from .facts import recipe_of

RECIPE = recipe_of(__file__, build_cutouts, {"seed", "size", "positions"})
