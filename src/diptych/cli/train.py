"""`diptych train`: native training in one or both engines, with live progress."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from diptych import api
from diptych.artifacts.run import Run
from diptych.cli.arguments import MaybeData, MaybeInt, MaybePath, parsed, print_json
from diptych.cli.settings import DataOptions, named_recipe
from diptych.cli.tables import runs_table
from diptych.errors import UsageError
from diptych.spec import Recipe


@dataclass(frozen=True)
class Train:
    """Train an image classifier natively in PyTorch, in TensorFlow, or in both from the same start.

    Every field of the recipe is an option too; the defaults shown are those of the recipe named.
    """

    data: MaybeData = None
    """A dataset's name (see `diptych datasets`), a folder of class folders, a CSV, Parquet, a zip or tar of these."""
    model: str = "cnn"
    """A model's name (see `diptych models`) or a spec.json."""
    engine: Annotated[Literal["torch", "tensorflow", "both"] | None, tyro.conf.arg(metavar="torch|tensorflow|both")] = (
        None
    )
    """Which framework trains: torch unless given; with --resume, the one that trained last."""
    recipe: str = "default"
    """A recipe's name (see `diptych recipes`) or a recipe.json."""
    seed: int = 0
    """Of initial weights, order, augmentation, dropout and the validation split."""
    out: Path = Path("runs")
    """Folder of all runs."""
    threads: MaybeInt = None
    """Processor threads; every core unless given; with --resume, as many as before."""
    workers: MaybeInt = None
    """Threads that prepare batches; they change no number; unless given, every core while images are streamed."""
    checkpoint_steps: MaybeInt = None
    """Save the state after so many steps, and at every epoch's end; unless given, as often as it costs below 2 %."""
    keep_checkpoints: int = 2
    """How many saved states stay."""
    stop_after: MaybeInt = None
    """Stop after this many epochs, to be resumed later."""
    resume: MaybePath = None
    """An interrupted run to go on with, in the engine that trained it last or in another."""
    force: bool = False
    """With --resume: go on even with other data, model or recipe than before, and record it."""
    replay: MaybePath = None
    """A run that diverged: repeat that step, and look at it."""
    json: bool = False
    """Print the result as JSON."""
    reading: DataOptions = field(default_factory=DataOptions)
    """How data is read."""
    settings: Recipe = field(default_factory=Recipe)
    """The recipe's fields."""


def main(arguments: list[str]) -> int:
    """Train, then print what came of it."""
    asked = parsed(Train, "train", arguments, Train(settings=named_recipe(arguments)))
    if asked.replay:
        return _replay(asked, asked.replay)
    runs = _train(asked)
    if asked.json:
        print_json([_summary(run) for run in runs])
    else:
        _tell_of_data(runs[0])
        Console().print(runs_table(runs))
    return 0


def _tell_of_data(run: Run) -> None:
    data = run.read_record()["data"]
    skipped = data.get("skipped")
    for remark in data.get("remarks", ()):
        print(remark, file=sys.stderr)
    if skipped:
        noun = "image that cannot be decoded was" if len(skipped) == 1 else "images that cannot be decoded were"
        print(f"{len(skipped):,} {noun} left out; '{run.record_path}' names them.", file=sys.stderr)


def _train(asked: Train) -> list[Run]:
    common: dict[str, Any] = {"threads": asked.threads, "workers": asked.workers, "stop_after": asked.stop_after}
    if asked.json:
        common["notify"] = lambda kind, fields: None
    if asked.resume:
        if asked.engine == "both":
            raise UsageError("--resume goes on with one run: name --engine torch or --engine tensorflow, not both.")
        _check_beside(asked, "resume", ("engine", "threads", "workers", "stop_after", "force", "json"))
        return [api.resume(asked.resume, engine=asked.engine, force=asked.force, **common)]
    if asked.force:
        raise UsageError("--force goes with --resume.")
    if asked.data is None:
        raise UsageError(
            "train needs DATA: a dataset's name, a folder of class folders, a CSV, Parquet, or a zip or tar of these. "
            "`diptych datasets` lists names."
        )
    run = api.train(
        asked.data,
        engine=asked.engine or "torch",
        model=asked.model,
        recipe=asked.settings,
        seed=asked.seed,
        out=asked.out,
        checkpoint_steps=asked.checkpoint_steps,
        keep_checkpoints=asked.keep_checkpoints,
        **asked.reading.keywords(),
        **common,
    )
    return list(run) if isinstance(run, tuple) else [run]


def _check_beside(asked: Train, option: str, others: tuple[str, ...]) -> None:
    """Refuse what does not go with an option that names a run."""
    beside = {name: getattr(asked, name) for name in (option, *others)}
    if asked != Train(**beside):
        names = [f"--{name.replace('_', '-')}" for name in others]
        raise UsageError(
            f"--{option} keeps the data, model, recipe and seed of its run; "
            f"only {', '.join(names[:-1])} and {names[-1]} go with it."
        )


def _replay(asked: Train, run: Path) -> int:
    """Repeat the step of a divergence and show it; 0 when it came out as it was recorded."""
    _check_beside(asked, "replay", ("threads", "workers", "json"))
    found = api.replay(run, threads=asked.threads, workers=asked.workers)
    if asked.json:
        print_json(found)
    else:
        print(_told(found))
    return 0 if found["reproduced"] else 1


def _told(found: dict[str, Any]) -> str:
    """What a replay found, in lines."""
    step = f"epoch {found['epoch']}, step {found['step']}, learning rate {found['learning_rate']:g}"
    lines = [f"{'reproduced' if found['reproduced'] else 'not reproduced'}: {step}, loss {found['loss']}"]
    if "largest_logit" in found:
        largest = (f"{name} {float(found[f'largest_{name}']):.3g}" for name in ("logit", "weight", "gradient"))
        lines.append(f"before it, the largest {', '.join(largest)}")
        layer = found["first_layer"]
        lines.append(f"first layer with an output that is not finite: {layer}" if layer else "all outputs are finite")
    return "\n".join(lines)


def _summary(run: Run) -> dict[str, Any]:
    record = run.read_record()
    metrics = run.read_metrics() if record["status"] == "finished" else None
    return {
        "run": str(run.directory),
        "status": record["status"],
        "engine": record["engines"][-1],
        "metrics": metrics,
    }
