"""`diptych datasets`: the data that has a name."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from diptych.cli.arguments import parsed, print_json
from diptych.data.sources import names


@dataclass(frozen=True)
class Datasets:
    """List the datasets that have a name; a folder of class folders needs none."""

    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """List the named datasets."""
    asked = parsed(Datasets, "datasets", arguments)
    known = names()
    if asked.json:
        print_json([{"name": one.name, "description": one.description} for one in known])
        return 0
    table = Table("dataset", "what it is")
    for one in known:
        table.add_row(one.name, one.description)
    Console().print(table)
    return 0
