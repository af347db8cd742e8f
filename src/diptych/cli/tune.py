"""`diptych tune`: a study of hyperparameters, its finalists, and the recipe and model that were found."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli.arguments import parse_given, positional, recipe_named
from diptych.cli.output import print_json, print_table
from diptych.errors import UsageError
from diptych.options import DataOptions, TuneOptions, option
from diptych.spec import Recipe

if TYPE_CHECKING:
    from diptych.api.tuning import Tuned


@dataclass(frozen=True)
class Tune:
    """Search for a recipe and a model with a higher validation accuracy, and test what was found in both frameworks.

    Each trial is a run of its own. To resume an interrupted study, or to let another process help, repeat the command;
    with more --trials, it continues. Each recipe field is an option; together they are the recipe of the first trial.
    """

    data: str | None = positional("DATA", None)
    """Dataset name, folder of class folders, CSV or Parquet file, or a zip or tar of these."""
    space: str | Path | None = option(None, metavar="SPACE")
    """What to search: a space.json (default: see docs/tuning.md)."""
    plan: bool = False
    """Measure a few steps and print what the study will cost, without training."""
    json: bool = False
    """Print the result (or plan) as JSON."""
    tune_options: TuneOptions = field(default_factory=TuneOptions)
    data_options: DataOptions = field(default_factory=DataOptions)
    recipe_fields: Recipe = field(default_factory=Recipe)


def main(args: list[str]) -> int:
    """Plan or tune, and print what was found."""
    parsed, _ = parse_given(Tune, "tune", args, Tune(recipe_fields=recipe_named(args)))
    if parsed.data is None:
        raise UsageError("tune requires DATA, such as a folder of class folders or a name from `diptych datasets`.")
    from diptych.api import tuning

    options = {**vars(parsed.tune_options), **vars(parsed.data_options), "recipe": parsed.recipe_fields}
    options |= {"space": parsed.space, "progress": not parsed.json}
    if parsed.plan:
        _print_plan(tuning.plan(parsed.data, **options), parsed.json)
        return 0
    tuned = tuning.tune(parsed.data, **options)
    if parsed.json:
        print_json({**tuned.content, "directory": str(tuned.directory)})
    else:
        _print(tuned, parsed.data)
    return 0


def _print_plan(rows: list[dict[str, Any]], as_json: bool) -> None:
    seconds = sum(row["seconds"] for row in rows)
    if as_json:
        print_json({"rows": rows, "seconds": seconds})
        return
    clocks = [str(timedelta(seconds=round(row["seconds"]))) for row in rows]
    cells = [(row["what"], f"{row['trainings']:,}", f"{row['epochs']:,}") for row in rows]
    print_table(
        ("what", "trainings", "epochs", "about"), [(*one, clock) for one, clock in zip(cells, clocks, strict=True)]
    )
    print(f"about {timedelta(seconds=round(seconds))}, if as many trials are pruned as usual (nothing was trained)")


def _print(tuned: Tuned, data: str) -> None:
    content, folder = tuned.content, shlex.quote(str(tuned.directory))
    changed = [(name, _shown(before), _shown(after)) for name, before, after in content["changes"]]
    if changed:
        print_table(("field", "default", "tuned"), changed, title=content["title"])
    costs = content["costs"]
    if costs["overhead"] is not None:
        time, saved = timedelta(seconds=round(costs["seconds"])), costs["share_saved"] or 0.0
        print(f"trials: {time}, {costs['overhead']:.0%} of it outside of epochs; {saved:.0%} of the epochs were pruned")
    best = content["best_so_far"][-1]
    print(f"best validation accuracy: {best[1]:.2%} (trial {best[0]})")
    print(*([f"test: {content['result']['sentence']}"] if content["result"] else []), *content["remarks"], sep="\n")
    print(f"study: {tuned.directory}")
    print(f"next:  diptych train {shlex.quote(data)} --recipe {folder}/recipe.json --model {folder}/spec.json")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
