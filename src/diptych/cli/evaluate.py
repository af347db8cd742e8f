"""`diptych evaluate`: the numbers of a run, on its own test split or on other data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from diptych import api
from diptych.cli.arguments import MaybeData, MaybeEngine, MaybePath, ModelPath, parsed, print_json
from diptych.cli.quiet import framework_silent
from diptych.cli.settings import PixelShape, shape_of
from diptych.evaluation.metrics import classification_report


@dataclass(frozen=True)
class Evaluate:
    """Measure a run or a shipped file: accuracy, loss, precision, recall, F1, confusion matrix, calibration."""

    model: ModelPath
    """A finished run, or a file that `diptych export` wrote."""
    data: MaybeData = None
    """A dataset's name, folder, CSV, Parquet or archive, whose test split is used; unless given, its own."""
    engine: MaybeEngine = None
    """Who computes; the one that trained it unless given."""
    trust: bool = False
    """Load a file whose format can run code: torchscript, torch-export, h5, saved-model."""
    data_dir: MaybePath = None
    """Where named datasets are kept."""
    root: MaybePath = None
    """What the paths in a table are relative to; the table's own folder unless given."""
    pixel_shape: PixelShape = None
    """Height, width and channels of a CSV's pixels, such as 28x28x1; inferred unless given."""
    bad_images: Literal["fail", "skip"] = "fail"
    """What to do about image files that cannot be decoded."""
    json: bool = False
    """Print everything as JSON."""


def main(arguments: list[str]) -> int:
    """Evaluate and print."""
    asked = parsed(Evaluate, "evaluate", arguments)
    with framework_silent():
        metrics = api.evaluate(
            asked.model,
            asked.data,
            engine=asked.engine,
            data_dir=asked.data_dir,
            root=asked.root,
            pixel_shape=shape_of(asked.pixel_shape),
            bad_images=asked.bad_images,
            trust=asked.trust,
        )
    if asked.json:
        print_json(metrics)
        return 0
    console = Console(markup=False, emoji=False)
    console.print(
        f"accuracy {metrics['accuracy']:.2%}   top-5 {metrics['top5_accuracy']:.2%}   loss {metrics['loss']:.4f}\n"
        f"calibration error {metrics['expected_calibration_error']:.4f}   images {metrics['num_samples']:,}\n",
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
