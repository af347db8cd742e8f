"""`diptych compare`: pairs of runs in both frameworks, or any finished runs, and the report of what they show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from diptych.api import comparisons
from diptych.api.comparisons import Comparison
from diptych.artifacts.run import Run, is_run
from diptych.cli.arguments import MaybeInt, MaybePath, parsed, print_json
from diptych.cli.settings import DataOptions, named_recipe
from diptych.comparison.experiment import Experiment
from diptych.comparison.verdict import points
from diptych.errors import UsageError
from diptych.spec import Recipe


@dataclass(frozen=True)
class Compare:
    """Compare PyTorch and TensorFlow on your data, or any finished runs, and write a report that opens from disk.

    Given DATA, trains pairs of runs from the same weights on the same batches, each in a process of its own, measures
    them, and says what the numbers support. It goes on where it was stopped, and no finished run is run again.
    Given two RUNs or more, reports how these compare. Every field of the recipe is an option too.
    """

    what: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA|RUN...")] = ()
    """A dataset's name, a folder of class folders, a CSV, Parquet, a zip or tar of these; or finished runs."""
    seeds: int = 3
    """How many pairs of runs."""
    arms: Literal["aligned", "native"] = "aligned"
    """The same mathematics in both, or each framework's own defaults."""
    explain: bool = False
    """Also switch one default at a time, and tell what each does to accuracy."""
    margin: float = 0.5
    """Difference in accuracy, in points, that would not matter."""
    plan: bool = False
    """Print what would be run and about how long it takes; run nothing."""
    model: str = "cnn"
    """A model's name (see `diptych models`) or a spec.json."""
    recipe: str = "default"
    """A recipe's name (see `diptych recipes`) or a recipe.json."""
    seed: int = 0
    """The first pair's; the others follow."""
    out: MaybePath = None
    """Folder of all runs, `runs` unless given; of the report, where runs are compared."""
    threads: MaybeInt = None
    """Processor threads; every core unless given."""
    thorough: bool = True
    """Measure speed and memory, prove parity and export; without, accuracy alone."""
    json: bool = False
    """Print what was found (or planned) as JSON."""
    reading: DataOptions = field(default_factory=DataOptions)
    """How data is read."""
    settings: Recipe = field(default_factory=Recipe)
    """The recipe's fields."""


def main(arguments: list[str]) -> int:
    """Plan or compare, and tell the verdict."""
    asked = parsed(Compare, "compare", arguments, Compare(settings=named_recipe(arguments)))
    if not asked.what:
        raise UsageError(
            "compare needs DATA (a dataset's name, a folder of class folders, a CSV, Parquet, a zip or tar of these) "
            "or two finished runs."
        )
    if len(asked.what) > 1:
        _tell(_compared(asked), asked.json)
        return 0
    comparisons.check_margin(asked.margin)
    if is_run(asked.what[0]):
        raise UsageError(f"compare wants at least two runs; '{asked.what[0]}' is one. Name another, or DATA.")
    experiment = _designed(asked)
    if asked.plan:
        _print_plan(experiment, asked.json)
        return 0
    console = Console(stderr=True)
    quiet = asked.json or not console.is_terminal
    settings: dict[str, Any] = {"notify": lambda kind, fields: None} if asked.json else {}
    found = comparisons.conduct(
        experiment,
        margin=asked.margin,
        thorough=asked.thorough,
        on_step=lambda words: (
            None if quiet else console.print(f"{words} ...", style="dim", highlight=False, markup=False)
        ),
        **settings,
    )
    _tell(found, asked.json)
    return 0


def _compared(asked: Compare) -> Comparison:
    runs = [Run.open(Path(name)) for name in asked.what]
    beside = {name: getattr(asked, name) for name in ("what", "margin", "out", "json")}
    if asked != Compare(**beside):
        raise UsageError("Finished runs are compared as they are: only --margin, --out and --json go with them.")
    return comparisons.compare_runs(runs, margin=asked.margin, out=asked.out)


def _designed(asked: Compare) -> Experiment:
    return comparisons.design(
        asked.what[0],
        seeds=asked.seeds,
        arms=asked.arms,
        explain=asked.explain,
        model=asked.model,
        recipe=asked.settings,
        seed=asked.seed,
        out=asked.out or Path("runs"),
        threads=asked.threads,
        **asked.reading.keywords(),
    )


def _print_plan(experiment: Experiment, as_json: bool) -> None:
    planned = experiment.plan()
    total = sum(run.seconds for run in planned)
    if as_json:
        rows = [
            {
                "arm": run.cell.arm,
                "seed": run.cell.seed,
                "engine": run.cell.engine,
                "status": run.status,
                "seconds": run.seconds,
            }
            for run in planned
        ]
        print_json({"runs": rows, "seconds": total})
        return
    table = Table(Column("run", justify="right"), "arm", "seed", "engine", "status", Column("about", justify="right"))
    for place, run in enumerate(planned, start=1):
        row = (run.cell.arm, str(run.cell.seed), run.cell.engine, run.status, _minutes(run.seconds))
        table.add_row(str(place), *row)
    console = Console()
    console.print(table)
    console.print(
        f"about {_minutes(total)} of training in all, one run after the other; measuring and exporting come on top. "
        "Nothing was run.",
        highlight=False,
    )


def _minutes(seconds: float) -> str:
    if not seconds:
        return "—"
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


def _tell(comparison: Comparison, as_json: bool) -> None:
    found = comparison.found
    if as_json:
        print_json({**found, "report": str(comparison.report_path)})
        return
    console = Console()
    console.print(_table(found))
    for line in (found["verdict"]["headline"], *found["verdict"]["details"], *found["remarks"]):
        console.print(line, highlight=False, markup=False)
    print(f"report: {comparison.report_path}")


def _table(found: Any) -> Table:
    """One row a side: the measures' means, and the cost that most people ask for."""
    speeds = next((cost["medians"] for cost in found["costs"] if cost["key"] == "train_throughput"), None)
    table = Table("", "accuracy", "macro F1", "loss", "training images/s", title=Text(found["title"]))
    for place, side in enumerate(found["sides"]):
        contrast = found["contrasts"][max(place - 1, 0)]
        means = [measure["means"][min(place, 1)] for measure in contrast["measures"]]
        spread = contrast["measures"][0]["deviations"]
        accuracy = f"{means[0]:.2%}" + (f" ± {points(spread[min(place, 1)]).split()[0]}" if spread else "")
        speed = f"{speeds[place]:,.0f}" if speeds and speeds[place] else ""
        table.add_row(Text(side["name"]), accuracy, f"{means[1]:.4f}", f"{means[2]:.4f}", speed)
    return table
