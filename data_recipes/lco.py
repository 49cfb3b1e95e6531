"""Las Cumbres Observatory: raw frames of the corpus AstroCompress."""

from .facts import recipe_of
from .file_list import build_listed

RECIPE = recipe_of(__file__, build_listed, {"seed"})
