"""Recipes: what is to be merged, as a person writes it.

recipe       what every recipe comes to
mergekit     reads mergekit's YAML
parameters   reads its numbers, gradients and conditions; `settings` has what they come to
methods      what each merge method takes, and mergekit's defaults
references   finds the models: folders, or by `hub_cache` their Hub names
strict_yaml  YAML without surprises; `members` takes it apart
"""

from model_attest.recipes.mergekit import read_recipe
from model_attest.recipes.recipe import Parent, Recipe

__all__ = ["Parent", "Recipe", "read_recipe"]
