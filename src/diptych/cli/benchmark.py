"""`diptych benchmark`: every format in every runtime on this machine, and the best choice."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli.arguments import parse, positional
from diptych.cli.output import framework_silent, print_json, steps
from diptych.errors import UsageError
from diptych.options import option
from diptych.spec.typed import did_you_mean

if TYPE_CHECKING:
    from diptych.deployment.benchmark import Aim, Row, Winner
    from diptych.deployment.benchmark import Benchmark as Results

WIDE = 100
STATUS = {
    "ok": "[green]ok[/]",
    "failed": "[red]failed[/]",
    "impossible": "[red]no file[/]",
    "unrunnable": "[red]no run[/]",
    "absent": "[yellow]absent[/]",
}
AIMS = {"latency": "fastest answer", "throughput": "most images/s", "size": "smallest whole model"}


# Columns of numbers: title, field of a row, scale, format, and whether narrow terminals show it.
COLUMNS = (
    ("size\nkB", "num_bytes", 1e-3, ",.0f", True),
    ("accuracy\n%", "accuracy", 100, ".2f", True),
    ("agrees\n%", "agreement", 100, ".2f", True),
    ("differs\nby", "worst_difference", 1, ".0e", False),
    ("load\ns", "load_seconds", 1, ".1f", False),
    ("p50\nms", "latency_p50", 1e3, ",.3f", True),
    ("p95\nms", "latency_p95", 1e3, ",.3f", False),
    ("images\n/s", "images_per_second", 1, ",.0f", True),
    ("memory\nMB", "peak_memory", 1e-6, ",.0f", False),
)


@dataclass(frozen=True)
class Benchmark:
    """Measure every format in every runtime on this machine, each in its own process, and name the best.

    Keep the machine idle meanwhile. Writes benchmark.json, benchmark.csv and benchmark.png beside the files. Exits with
    1 if a row failed; skips what needs a package that is not installed.
    """

    run: Path = positional("RUN")
    """A finished run."""
    to: tuple[str, ...] = option(("all",), metavar="FORMAT")
    """Formats, as for `diptych export`."""
    out: Path | None = None
    """Folder for the files (default: the run's export/)."""
    data_dir: Path | None = None
    """Folder for named datasets."""
    threads: int | None = None
    """Processor threads (default: all cores)."""
    seconds: float = 1.0
    """Time to measure each speed."""
    fail_under: str | None = option(None, metavar="accuracy=SHARE,agreement=SHARE")
    """Smallest accuracy and agreement, 0 to 1; a row below counts as failed."""
    json: bool = False
    """Print as JSON."""


def main(args: list[str]) -> int:
    """Measure, print, and compare the rows with the limits."""
    parsed = parse(Benchmark, "benchmark", args)
    limits = limits_of(parsed.fail_under) if parsed.fail_under is not None else {}
    from diptych.artifacts.run import Run

    with steps("reading the run", quiet=parsed.json) as show, framework_silent():
        from diptych.api import deployment

        results = deployment.benchmark(
            parsed.run,
            parsed.to,
            out=parsed.out,
            data_dir=parsed.data_dir,
            threads=parsed.threads,
            seconds=parsed.seconds,
            on_step=show,
        )
    if parsed.json:
        print_json(results.to_json())
    else:
        _print(results)
        folder = parsed.out or Run.open(parsed.run).export_dir
        print(f"written: {folder / 'benchmark.json'}, .csv and .png")
    shortfalls = results.shortfalls(limits)
    for line in shortfalls:
        print(f"diptych: {line}", file=sys.stderr)
    return 1 if shortfalls else 0


def limits_of(text: str) -> dict[str, float]:
    """The limits in a text such as `accuracy=0.9,agreement=0.99`.

    Raises:
        UsageError: a name is unknown, or its value is no share.
    """
    from diptych.deployment.benchmark import LIMITS

    limits = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in LIMITS:
            near = did_you_mean(name, LIMITS)
            raise UsageError(f"--fail-under must be accuracy=SHARE, agreement=SHARE or both, got '{part}'{near}.")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = float("nan")
        if not 0 <= limits[name] <= 1:
            raise UsageError(f"--fail-under {name} must be from 0 to 1, got '{value}'.")
    return limits


def _print(results: Results) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(results.rows, console.width))
    for line in (
        *(f"{row.label}: {row.reason}" for row in results.rows if row.reason),
        *_noise(results.rows),
        *(f"{AIMS[winner.aim]}: {_choice(winner)}" for winner in results.best),
        f"threads: {results.threads} of {results.machine['processor']}; p50, p95: one image; images/s: batches of 32",
    ):
        print(line)


def _noise(rows: Sequence[Row]) -> Iterator[str]:
    from diptych.deployment.benchmark import NOISY

    spreads = [row.spread for row in rows if row.spread and row.spread > NOISY]
    if spreads:
        yield (
            f"The measurements of {len(spreads)} rows differ by up to {1 + max(spreads):.2g} times: "
            "was the machine busy?"
        )


def _table(rows: Sequence[Row], width: int) -> Any:
    """Every number or, on a narrow terminal, the most important ones."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    columns = [column for column in COLUMNS if column[-1] or width >= WIDE]
    titles = [Column(title, justify="right", no_wrap=True) for title, *_ in columns]
    table = Table(
        Column("format", no_wrap=True), "runtime", Column("status", no_wrap=True), *titles, box=SIMPLE_HEAD, padding=0
    )
    for row in rows:
        values = row.to_json()
        numbers = [
            "" if values[name] is None else format(scale * values[name], form) for _, name, scale, form, _ in columns
        ]
        table.add_row(row.form, row.title, STATUS[row.status], *numbers)
    return table


def _choice(winner: Winner) -> str:
    texts = [f"{row.label}, {_measured(winner.aim, row)}" for row in (winner.row, winner.lossless) if row]
    return "; in float32 ".join(texts)


def _measured(aim: Aim, row: Row) -> str:
    values = row.to_json()
    match aim:
        case "latency":
            return f"{1e3 * values['latency_p50']:,.3f} ms"
        case "throughput":
            return f"{values['images_per_second']:,.0f} images/s"
        case "size":
            return f"{values['num_bytes'] / 1000:,.0f} kB"
