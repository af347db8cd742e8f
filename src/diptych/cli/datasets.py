"""`diptych datasets`: the data that has a name."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from diptych.cli.arguments import parsed, print_json
from diptych.data.sources import KINDS, NamedDataset, names


@dataclass(frozen=True)
class Datasets:
    """List the datasets that have a name; files and folders need none."""

    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """List the named datasets."""
    asked = parsed(Datasets, "datasets", arguments)
    known = names()
    if asked.json:
        print_json([_measures(one) | {"description": one.description} for one in known])
        return 0
    table = Table("dataset", "what it is", "classes", "images", "size")
    for one in known:
        height, width, channels = one.image_shape
        num_images = one.num_train + one.num_test
        table.add_row(
            one.name, one.description, f"{len(one.class_names):,}", f"{num_images:,}", f"{height}×{width}×{channels}"
        )
    console = Console()
    console.print(table)
    console.print(f"DATA may also be a path: {KINDS}.", soft_wrap=True)
    return 0


def _measures(one: NamedDataset) -> dict[str, object]:
    return {
        "name": one.name,
        "classes": len(one.class_names),
        "train": one.num_train,
        "test": one.num_test,
        "image_shape": one.image_shape,
        "mirror": one.mirror,
    }
