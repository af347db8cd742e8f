"""Recipe fields as options: their defaults are those of the recipe that the arguments name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from diptych.spec import Recipe, recipes
from diptych.spec.codec import read_recipe


def named_recipe(arguments: list[str]) -> Recipe:
    """The recipe that the arguments name: its fields are the defaults of the options."""
    names = [after for before, after in pairwise(arguments) if before == "--recipe"]
    names += [argument.partition("=")[2] for argument in arguments if argument.startswith("--recipe=")]
    name = names[-1] if names else "default"
    return read_recipe(Path(name)) if name.endswith(".json") else recipes.recipe(name)
