"""Recipes: what is to be merged, as a person writes it.

recipe       what every recipe comes to
mergekit     reads the subset of mergekit's YAML that is a linear merge
strict_yaml  YAML without surprises
hub_cache    finds models by their Hub names
"""

from model_attest.recipes.mergekit import read_recipe
from model_attest.recipes.recipe import Parent, Recipe, Rule

__all__ = ["Parent", "Recipe", "Rule", "read_recipe"]
