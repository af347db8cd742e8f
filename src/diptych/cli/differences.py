"""`diptych differences`: the ledger."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from diptych.cli.arguments import parsed, print_json
from diptych.engines.differences import LEDGER


@dataclass(frozen=True)
class Differences:
    """Where TensorFlow and PyTorch disagree, what is done here, and the test that proves it."""

    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """Print the ledger."""
    asked = parsed(Differences, "differences", arguments)
    if asked.json:
        print_json([asdict(row) for row in LEDGER])
        return 0
    table = Table("key", "PyTorch", "TensorFlow / Keras", "rule here", show_lines=True)
    for row in LEDGER:
        table.add_row(row.key, row.torch, row.tensorflow, row.rule)
    Console().print(table)
    return 0
