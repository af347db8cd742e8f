"""`diptych describe`: what a shipped file says of itself, read without running anything in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from diptych import api
from diptych.cli.arguments import parsed, print_json


@dataclass(frozen=True)
class Describe:
    """Tell what a file that `diptych export` wrote is; nothing in it is run."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The file, or the folder of a SavedModel or of OpenVINO."""
    json: bool = False
    """Print everything as JSON, the model's spec too."""


def main(arguments: list[str]) -> int:
    """Read the card and print it."""
    asked = parsed(Describe, "describe", arguments)
    found = api.describe(asked.file)
    if asked.json:
        print_json(found)
        return 0
    taken = found["input"]
    shape = f"{taken['height']} × {taken['width']}, {taken['colours']}"
    names = found["class_names"]
    rows = {
        "format": found["format"],
        "model": f"{found['model']}, trained on {found['dataset']} by {' and '.join(found['trained_by']) or 'others'}",
        "input": f"'{taken['name']}': uint8 images, (N, {taken['height']}, {taken['width']}, {taken['channels']}), "
        f"0–255: {shape}; normalisation is inside",
        "resize": taken["resize"],
        "outputs": f"{' and '.join(found['outputs'])}, (N, {len(names)})",
        "classes": ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else ""),
        "size": f"{found['bytes']:,} bytes",
        "parity": f"{found['parity']} (equal for every file of this very model)",
        "diptych": found["diptych"],
    }
    if "calibration" in found:
        rows["ranges"] = ", ".join(f"{key} {value}" for key, value in found["calibration"].items() if key != "indices")
    table = Table(show_header=False, box=None)
    for key, value in rows.items():
        table.add_row(key, value)
    Console(markup=False, emoji=False).print(table, highlight=False)
    return 0
