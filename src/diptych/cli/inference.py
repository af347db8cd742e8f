"""`diptych evaluate` and `diptych predict`: use a run or an exported file."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field

from diptych.cli.arguments import parse, positional
from diptych.cli.output import framework_silent, print_json, print_table
from diptych.errors import UsageError
from diptych.options import ModelOptions, OtherDataOptions
from diptych.spec.typed import Count

MOST_CLASSES = 20


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run or an exported file: accuracy, loss, precision, recall, F1, confusion matrix, calibration."""

    model: str = positional("RUN|FILE")
    """A finished run, or a file written by `diptych export`."""
    data: str | None = positional("DATA", None)
    """Dataset name, folder, CSV or Parquet file, or an archive (default: the training data); without a test split, all
    images are used."""
    options: ModelOptions = field(default_factory=ModelOptions)
    json: bool = False
    """Print everything as JSON."""
    data_options: OtherDataOptions = field(default_factory=OtherDataOptions)


@dataclass(frozen=True)
class Predict:
    """Classify images with a run or an exported file; exits with 1 if some images cannot be read."""

    model: str = positional("RUN|FILE")
    """A finished run, or a file written by `diptych export`."""
    images: tuple[str, ...] = positional("IMAGE...", ())
    """Image files, folders, or patterns such as 'photos/*.png'."""
    top: Count = 3
    """Number of classes to print per image."""
    options: ModelOptions = field(default_factory=ModelOptions)
    json: bool = False
    """Print as JSON."""


def evaluate(args: list[str]) -> int:
    """Evaluate and print the metrics."""
    parsed = parse(Evaluate, "evaluate", args)
    from diptych.api import inference

    with framework_silent():
        metrics = inference.evaluate(parsed.model, parsed.data, **vars(parsed.options), **vars(parsed.data_options))
    if parsed.json:
        print_json(metrics)
        return 0
    from diptych.evaluation import SCORES, caution

    about = metrics["data"]
    for line in (*about["inferred"], *about["remarks"]):
        print(line, file=sys.stderr)
    print(
        f"accuracy {metrics['accuracy']:.2%}{caution(metrics)}   top-5 {metrics['top5_accuracy']:.2%}   "
        f"loss {metrics['loss']:.4f}\n"
        f"calibration error {metrics['expected_calibration_error']:.4f}   images {metrics['num_samples']:,} "
        f"({about['used']} of {about['name']})\n"
    )
    averages = [{"name": f"{kind} average", **metrics[kind], "support": ""} for kind in ("macro", "weighted")]
    print_table(
        ("class", *SCORES, "support"),
        [
            (row["name"], *(f"{row[score]:.4f}" for score in SCORES), str(row["support"]))
            for row in (*metrics["per_class"], *averages)
        ],
    )
    if len(metrics["per_class"]) <= MOST_CLASSES:
        names = [row["name"] for row in metrics["per_class"]]
        counts = [[str(count) if count else "·" for count in row] for row in metrics["confusion_matrix"]]
        titles = ("true \\ predicted", *(name[:8] for name in names))
        rows = [(name, *row) for name, row in zip(names, counts, strict=True)]
        print_table(titles, rows, title="confusion matrix", title_justify="left")
    return 0


def predict(args: list[str]) -> int:
    """Predict and print one line per image."""
    parsed = parse(Predict, "predict", args)
    if not parsed.images:
        raise UsageError("predict requires IMAGE...: files, folders, or patterns such as 'photos/*.png'.")
    from diptych.api import inference

    with framework_silent():
        predictions = inference.predict(parsed.model, parsed.images, top=parsed.top, **vars(parsed.options))
    code = int(any(prediction.error for prediction in predictions))
    if parsed.json:
        print_json([asdict(prediction) for prediction in predictions])
        return code
    width = max(len(prediction.image) for prediction in predictions if prediction.classes)
    for prediction in predictions:
        classes = "  ".join(f"{name} {share:.2%}" for name, share in prediction.classes)
        if prediction.error:
            print(f"diptych: {prediction.error}", file=sys.stderr)
        else:
            print(f"{prediction.image:{width}}  {classes}")
    return code
