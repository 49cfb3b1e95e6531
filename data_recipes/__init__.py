"""Recipes that make or fetch data sets; installed as `astro_vq.data_recipes`."""
