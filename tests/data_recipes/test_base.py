import pytest
from astro_vq.data_recipes.base import RECIPES, Recipe, load_recipe

from astro_vq.errors import ConfigError


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_of_the_table_loads_under_its_name(name):
    recipe = load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert recipe.name == name
    assert recipe.summary
    assert "\n" not in recipe.summary
    assert recipe.licence
    assert callable(recipe.build)


def test_an_unknown_recipe_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="simulated"):
        load_recipe("nothing")
