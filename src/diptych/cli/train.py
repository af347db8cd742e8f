"""`diptych train`: train in one or both frameworks, with live progress."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diptych.cli.arguments import parse_given, positional, recipe_named
from diptych.cli.output import print_json, print_table
from diptych.errors import UsageError
from diptych.options import DataOptions, TrainOptions, option
from diptych.spec import Recipe

if TYPE_CHECKING:
    from diptych.artifacts.run import Run

BESIDE_RESUME = ("out", "engine", "device", "threads", "workers", "stop_after", "log", "force", "json")


@dataclass(frozen=True)
class Train:
    """Train an image classifier in PyTorch, in TensorFlow, or in both from the same weights.

    Each recipe field is an option; the defaults shown are those of the recipe set by --recipe.
    """

    data: str | None = positional("DATA", None)
    """Dataset name (see `diptych datasets`), folder of class folders, CSV or Parquet file, or a zip or tar of these."""
    resume: str | None = option(None, metavar="RUN")
    """Run to resume; a folder resumes its latest unfinished run, and `last` the latest unfinished run in --out."""
    force: bool = False
    """With --resume: resume even if the data, model or recipe has changed, and record the changes."""
    json: bool = False
    """Print the result as JSON."""
    training_options: TrainOptions = field(default_factory=TrainOptions)
    data_options: DataOptions = field(default_factory=DataOptions)
    recipe_fields: Recipe = field(default_factory=Recipe)


def main(args: list[str]) -> int:
    """Train and print the results."""
    parsed, given = parse_given(Train, "train", args, Train(recipe_fields=recipe_named(args)))
    runs = _runs(parsed, given)
    if parsed.json:
        summaries = []
        for run in runs:
            record = run.read_record()
            metrics = run.read_metrics() if record.status == "finished" else None
            facts: dict[str, Any] = {"status": record.status, "engine": record.engines[-1], "metrics": metrics}
            facts |= {"evaluates": record.evaluates}
            about = {"data": {"inferred": record.data.inferred, "remarks": record.data.remarks}}
            summaries.append({"run": str(run.directory), **facts, **about, "split_sizes": record.split_sizes})
        print_json(summaries)
        return 0
    _print_table(runs)
    _print_next_steps(runs)
    return 0


def _runs(parsed: Train, given: set[str]) -> Sequence[Run]:
    from diptych.api.training import resume, train

    if parsed.resume is not None:
        options = vars(parsed.training_options)
        if unfit := sorted(given - {"resume", *BESIDE_RESUME}):
            flags = [f"--{name.rstrip('_').replace('_', '-')}" for name in (unfit[0], *BESIDE_RESUME)]
            refused = "DATA" if unfit[0] == "data" else flags[0]
            kept = "which uses the run's data, model, recipe and seed"
            raise UsageError(
                f"{refused} cannot be changed by --resume, {kept}. Options that can: {', '.join(flags[1:])}."
            )
        chosen = {name: options[name] for name in given if name in options}
        return [resume(parsed.resume, force=parsed.force, **chosen, progress=not parsed.json)]
    if parsed.force:
        raise UsageError("--force requires --resume.")
    if parsed.data is None:
        raise UsageError("train requires DATA, such as a folder of class folders or a name from `diptych datasets`.")
    options = {**vars(parsed.training_options), **vars(parsed.data_options), "recipe": parsed.recipe_fields}
    if "model" not in given:  # a default contradicts nothing
        del options["model"]
    runs = train(parsed.data, **options, progress=not parsed.json)
    return runs if isinstance(runs, tuple) else [runs]


def _print_table(runs: Sequence[Run]) -> None:
    from statistics import median

    from diptych.artifacts.events import read_events
    from diptych.evaluation import caution

    rows, cautions, split = [], [], runs[0].read_record().evaluates
    for run in runs:
        record = run.read_record()
        epochs = read_events(run.events_path, "epoch")
        speed = median(epoch["images_per_second"] for epoch in epochs) if epochs else 0
        accuracy, loss = str(record.status), ""
        if record.status == "finished":
            metrics = run.read_metrics()
            accuracy, loss = f"{metrics['accuracy']:.2%}", f"{metrics['loss']:.4f}"
        engines = " → ".join(dict.fromkeys(start.engine for start in record.engines))
        if record.status == "finished" and (more := caution(metrics)):
            cautions.append(f"{engines}: {split} accuracy {accuracy}{more}")
        rows.append((engines, record.recipe.precision, accuracy, loss, f"{speed:,.0f}", str(len(epochs))))
    print_table(("engine", "precision", f"{split} accuracy", f"{split} loss", "images/s", "epochs"), rows)
    print(*cautions, f"images: {runs[0].read_record().split_sizes}", sep="\n")


def _print_next_steps(runs: Sequence[Run]) -> None:
    from diptych.training.tracking import tracked

    for run in runs:
        print(f"run:   {run.directory}")
        if run.plots_dir.exists():
            print(f"plots: {run.plots_dir}")
        for name, one in sorted(tracked(run).items()):
            print(f"log:   {name}: {one.get('place') or 'failed'}")
    folder = shlex.quote(str(runs[0].directory))
    commands = [f"evaluate {folder}", f"predict {folder} IMAGE...", f"export {folder} --to onnx"]
    if runs[0].read_record().status != "finished":
        commands = [f"train --resume {folder}"]
    print("next: ", "\n       ".join(f"diptych {command}" for command in commands))
