"""`diptych recipes`: trainings that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import getdoc

from rich.console import Console
from rich.table import Table

from diptych.cli.arguments import parsed, print_json
from diptych.spec.codec import recipe_to_json
from diptych.spec.recipes import RECIPES


@dataclass(frozen=True)
class Recipes:
    """List the recipes that have a name."""

    json: bool = False
    """Print as JSON, with every field: a start for a recipe.json of your own."""


def main(arguments: list[str]) -> int:
    """List the named recipes."""
    asked = parsed(Recipes, "recipes", arguments)
    if asked.json:
        print_json({name: recipe_to_json(recipe()) for name, recipe in RECIPES.items()})
        return 0
    table = Table("recipe", "what it does")
    for name, recipe in RECIPES.items():
        table.add_row(name, getdoc(recipe))
    Console().print(table)
    return 0
