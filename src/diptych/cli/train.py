"""`diptych train`: native training in one or both engines, with live progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from diptych import api
from diptych.artifacts.run import Run
from diptych.cli.arguments import MaybeData, MaybeInt, MaybePath, parsed, print_json
from diptych.cli.settings import named_recipe
from diptych.cli.tables import runs_table
from diptych.errors import UsageError
from diptych.spec import Recipe


@dataclass(frozen=True)
class Train:
    """Train an image classifier natively in PyTorch, in TensorFlow, or in both from the same start.

    Every field of the recipe is an option too; the defaults shown are those of the recipe named.
    """

    data: MaybeData = None
    """A dataset's name (see `diptych datasets`) or a folder of class folders."""
    model: str = "cnn"
    """A model's name (see `diptych models`) or a spec.json."""
    engine: Annotated[Literal["torch", "tensorflow", "both"] | None, tyro.conf.arg(metavar="torch|tensorflow|both")] = (
        None
    )
    """Which framework trains: torch unless given; with --resume, the one that began."""
    recipe: str = "default"
    """A recipe's name (see `diptych recipes`) or a recipe.json."""
    seed: int = 0
    """Of initial weights, order, augmentation, dropout and the validation split."""
    out: Path = Path("runs")
    """Folder of all runs."""
    data_dir: MaybePath = None
    """Where named datasets are kept; DIPTYCH_DATA or ~/.cache/diptych unless given."""
    image_size: MaybeInt = None
    """Side in pixels that images are brought to; a folder's images become 64 unless given."""
    channels: Annotated[Literal[1, 3] | None, tyro.conf.arg(metavar="1|3")] = None
    """3 for RGB, 1 for grey."""
    threads: MaybeInt = None
    """Processor threads; every core unless given."""
    resume: MaybePath = None
    """An interrupted run to go on with, in the engine that began it or in another."""
    stop_after: MaybeInt = None
    """Stop after this many epochs, to be resumed later."""
    json: bool = False
    """Print the result as JSON."""
    settings: Recipe = field(default_factory=Recipe)
    """The recipe's fields."""


def main(arguments: list[str]) -> int:
    """Train, then print what came of it."""
    asked = parsed(Train, "train", arguments, Train(settings=named_recipe(arguments)))
    runs = _train(asked)
    if asked.json:
        print_json([_summary(run) for run in runs])
    else:
        Console().print(runs_table(runs))
    return 0


def _train(asked: Train) -> list[Run]:
    common: dict[str, Any] = {"threads": asked.threads, "stop_after": asked.stop_after}
    if asked.json:
        common["notify"] = lambda kind, fields: None
    if asked.resume:
        if asked.engine == "both":
            raise UsageError("--resume goes on with one run: name --engine torch or --engine tensorflow, not both.")
        _check_resume(asked)
        return [api.resume(asked.resume, engine=asked.engine, **common)]
    if asked.data is None:
        raise UsageError(
            "train needs DATA: a dataset's name or a folder of class folders. `diptych datasets` lists names."
        )
    run = api.train(
        asked.data,
        engine=asked.engine or "torch",
        model=asked.model,
        recipe=asked.settings,
        seed=asked.seed,
        out=asked.out,
        data_dir=asked.data_dir,
        image_size=None if asked.image_size is None else (asked.image_size, asked.image_size),
        channels=asked.channels,
        **common,
    )
    return list(run) if isinstance(run, tuple) else [run]


def _check_resume(asked: Train) -> None:
    beside = {name: getattr(asked, name) for name in ("resume", "engine", "threads", "stop_after", "json")}
    if asked != Train(**beside):
        raise UsageError(
            "--resume keeps the data, model, recipe and seed of its run; "
            "only --engine, --threads, --stop-after and --json go with it."
        )


def _summary(run: Run) -> dict[str, Any]:
    record = run.read_record()
    metrics = run.read_metrics() if record["status"] == "finished" else None
    return {
        "run": str(run.directory),
        "status": record["status"],
        "engine": record["engines"][-1],
        "metrics": metrics,
    }
