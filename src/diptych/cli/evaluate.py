"""`diptych evaluate`: the numbers of a run, on its own test split or on other data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from diptych import api
from diptych.cli.arguments import MaybeData, MaybeEngine, ModelPath, parsed, print_json
from diptych.cli.quiet import framework_silent
from diptych.cli.settings import OtherData
from diptych.evaluation.metrics import classification_report


@dataclass(frozen=True)
class Evaluate:
    """Measure a run or a shipped file: accuracy, loss, precision, recall, F1, confusion matrix, calibration."""

    model: ModelPath
    """A finished run, or a file that `diptych export` wrote."""
    data: MaybeData = None
    """A name, folder, CSV, Parquet or archive: its test split, else all of it; the model's own unless given."""
    engine: MaybeEngine = None
    """Who computes; the one that trained it unless given."""
    trust: bool = False
    """Load a file whose format can run code: torchscript, torch-export, h5, saved-model."""
    json: bool = False
    """Print everything as JSON."""
    reading: OtherData = field(default_factory=OtherData)
    """How data is read."""


def main(arguments: list[str]) -> int:
    """Evaluate and print."""
    asked = parsed(Evaluate, "evaluate", arguments)
    with framework_silent():
        metrics = api.evaluate(
            asked.model,
            asked.data,
            engine=asked.engine,
            trust=asked.trust,
            **asked.reading.keywords(),
        )
    if asked.json:
        print_json(metrics)
        return 0
    console = Console(markup=False, emoji=False)
    console.print(
        f"accuracy {metrics['accuracy']:.2%}   top-5 {metrics['top5_accuracy']:.2%}   loss {metrics['loss']:.4f}\n"
        f"calibration error {metrics['expected_calibration_error']:.4f}   images {metrics['num_samples']:,} "
        f"({metrics['data']['used']} of {metrics['data']['name']})\n",
        highlight=False,
    )
    console.print(classification_report(metrics), highlight=False, markup=False)
    if len(metrics["per_class"]) <= 20:
        console.print(_confusion(metrics))
    return 0


def _confusion(metrics: dict[str, Any]) -> Table:
    names = [row["name"] for row in metrics["per_class"]]
    table = Table("true \\ predicted", *[name[:8] for name in names], title="confusion matrix", title_justify="left")
    for name, counts in zip(names, metrics["confusion_matrix"], strict=True):
        table.add_row(name, *[str(count) if count else "·" for count in counts])
    return table
