"""`diptych compare`: pairs of runs in both frameworks, or any finished runs, and a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli.arguments import parse_given, positional, recipe_named
from diptych.cli.output import print_json, print_table
from diptych.errors import UsageError
from diptych.options import CompareOptions, DataOptions
from diptych.spec import Recipe

if TYPE_CHECKING:
    from diptych.api.comparison import Comparison

BESIDE_RUNS = ("margin", "out", "verify_files", "json")


@dataclass(frozen=True)
class Compare:
    """Compare PyTorch and TensorFlow on your data, or compare finished runs, and write a self-contained report.

    With DATA, trains pairs of runs from the same weights on the same batches, each run in its own process. To resume
    an interrupted comparison, repeat the command. With two or more RUNs, compares these runs. Each recipe field is an
    option.
    """

    what: tuple[str, ...] = positional("DATA|RUN...", ())
    """Dataset name, folder of class folders, CSV or Parquet file, or a zip or tar of these; or finished runs."""
    margin: float = 0.5
    """Largest difference in accuracy, in percentage points, that counts as equivalent."""
    thorough: bool = True
    """Also measure speed, memory and why the runs of a seed disagree, verify parity, and export the models."""
    plan: bool = False
    """Print the missing runs and their estimated time without training."""
    verify_files: bool = False
    """With RUNs: also verify files of more than 64 MB against manifest.json; smaller files always are."""
    json: bool = False
    """Print the result (or plan) as JSON."""
    comparison_options: CompareOptions = field(default_factory=CompareOptions)
    data_options: DataOptions = field(default_factory=DataOptions)
    recipe_fields: Recipe = field(default_factory=Recipe)


def main(args: list[str]) -> int:
    """Plan or compare, and print the verdict."""
    parsed, given = parse_given(Compare, "compare", args, Compare(recipe_fields=recipe_named(args)))
    if not parsed.what:
        raise UsageError("compare requires DATA, such as a dataset's name or a folder, or at least two finished runs.")
    from diptych.api import comparison
    from diptych.artifacts.run import is_run

    if len(parsed.what) > 1:
        if unfit := sorted(given - {"what", *BESIDE_RUNS}):
            flags = [f"--{name.replace('_', '-')}" for name in (*BESIDE_RUNS, unfit[0])]
            raise UsageError(f"Finished runs take only {', '.join(flags[:-1])}, not {flags[-1]}.")
        out = parsed.comparison_options.out if "out" in given else None
        compare_runs = partial(comparison.compare_runs, parsed.what, margin=parsed.margin, out=out)
        _print(compare_runs(verify_files=parsed.verify_files), parsed.json)
        return 0
    comparison.check_margin(parsed.margin)
    if is_run(parsed.what[0]) or any(Path(parsed.what[0]).glob("*/run.json")):
        raise UsageError(f"compare requires DATA or the paths of at least two runs, got only '{parsed.what[0]}'.")
    options = {**vars(parsed.comparison_options), **vars(parsed.data_options), "recipe": parsed.recipe_fields}
    if parsed.plan:
        _print_plan(comparison.design(parsed.what[0], **options).plan(parsed.thorough), parsed.json)
        return 0
    compare = partial(comparison.compare, parsed.what[0], margin=parsed.margin, thorough=parsed.thorough, **options)
    if parsed.json:
        compared = compare(progress=False)
    else:
        from diptych.reports.progress import Progress

        with Progress() as progress:
            compared = compare(callbacks=progress.notify, progress=False, on_step=progress.step)
    _print(compared, parsed.json)
    return 0


def _print_plan(rows: list[dict[str, Any]], as_json: bool) -> None:
    total = sum(row["seconds"] for row in rows)
    if as_json:
        print_json({"runs": rows, "seconds": total})
        return
    texts = [
        (str(number), row["arm"], str(row["seed"]), row["engine"], row["status"], _clock(row["seconds"]))
        for number, row in enumerate(rows, start=1)
    ]
    print_table(("run", "arm", "seed", "engine", "status", "about"), texts)
    print(f"about {_clock(total)} of training, plus measurements and exports (nothing was run)")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))  # 1:23:45


def _print(comparison: Comparison, as_json: bool) -> None:
    findings = comparison.content
    if as_json:
        print_json({**findings, "report": str(comparison.report_path)})
        return
    from diptych.reports.page import RESULT_HEADS, results

    print_table(RESULT_HEADS, results(findings), title=findings["title"])
    verdict = findings["verdict"]
    sizes = (f"{name} {findings['subject'][f'num_{name}']:,}" for name in ("train", "validation", "test"))
    print(f"images: {', '.join(sizes)}", verdict["headline"], *verdict["details"], *findings["remarks"], sep="\n")
    print(f"report: {comparison.report_path}")
