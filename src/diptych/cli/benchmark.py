"""`diptych benchmark`: every format in every runtime on this machine, and the best choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from diptych import api
from diptych.cli.arguments import MaybeInt, MaybePath, RunPath, given_once, parsed, print_json
from diptych.cli.quiet import framework_silent, progress
from diptych.deployment import standings
from diptych.deployment.benchmark import NOISY
from diptych.deployment.standings import LIMITS, Aim, Row, Winner
from diptych.errors import UsageError
from diptych.spec.typed import did_you_mean

WIDE = 100
STATUS = {
    "ok": "[green]ok[/]",
    "failed": "[red]failed[/]",
    "impossible": "[red]no file[/]",
    "unrunnable": "[red]no run[/]",
    "absent": "[yellow]absent[/]",
}
AIMS = {"latency": "fastest answer", "throughput": "most images/s", "size": "smallest whole model"}


@dataclass(frozen=True)
class Number:
    """A column of the table: a field of a row, in what unit and how exact; `always`, on narrow terminals too."""

    title: str
    name: str
    scale: float
    form: str
    always: bool = True

    def text(self, row: Row) -> str:
        """Empty where nothing is known."""
        value = row.to_json()[self.name]
        return "" if value is None else format(self.scale * value, self.form)


SIZE = Number("size\nkB", "num_bytes", 1e-3, ",.0f")
LATENCY = Number("p50\nms", "latency_p50", 1e3, ",.3f")
THROUGHPUT = Number("images\n/s", "images_per_second", 1, ",.0f")
NUMBERS = (
    SIZE,
    Number("accuracy\n%", "accuracy", 100, ".2f"),
    Number("agrees\n%", "agreement", 100, ".2f"),
    Number("differs\nby", "worst_difference", 1, ".0e", always=False),
    Number("load\ns", "load_seconds", 1, ".1f", always=False),
    LATENCY,
    Number("p95\nms", "latency_p95", 1e3, ",.3f", always=False),
    THROUGHPUT,
    Number("memory\nMB", "peak_memory", 1e-6, ",.0f", always=False),
)


@dataclass(frozen=True)
class Benchmark:
    """Measure every format in every runtime on this machine, each in a process of its own, and name the best.

    Leave the machine alone meanwhile. Writes benchmark.json, benchmark.csv and benchmark.png beside the files. Exits
    with 1 when a row failed; what needs a package that is not installed is passed over.
    """

    run: RunPath
    """A finished run."""
    to: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FORMAT...")] = ("all",)
    """Formats, as `diptych export` takes them."""
    out: MaybePath = None
    """Folder for the files; the run's export/ unless given."""
    data_dir: MaybePath = None
    """Where named datasets are kept."""
    threads: MaybeInt = None
    """Processor threads; every core unless given."""
    seconds: float = 1.0
    """How long to measure each speed."""
    fail_under: Annotated[str | None, tyro.conf.arg(metavar="accuracy=SHARE,agreement=SHARE")] = None
    """Least shares of every row; one that is below counts as failed."""
    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """Measure, tell, and hold the rows to the limits."""
    given_once(arguments, "--to")
    asked = parsed(Benchmark, "benchmark", arguments)
    limits = limits_of(asked.fail_under) if asked.fail_under is not None else {}
    with progress("reading the run ...") as status, framework_silent():
        found = api.benchmark(
            asked.run,
            asked.to,
            out=asked.out,
            data_dir=asked.data_dir,
            threads=asked.threads,
            seconds=asked.seconds,
            on_step=lambda words: status.update(f"{words} ..."),
        )
    if asked.json:
        print_json(found.to_json())
    else:
        _print(found)
        folder = asked.out or asked.run / "export"
        print(f"written: {folder / 'benchmark.json'}, .csv and .png")
    shortfalls = found.shortfalls(limits)
    for line in shortfalls:
        Console(stderr=True).print(f"diptych: {line}", highlight=False, markup=False, soft_wrap=True)
    return 1 if shortfalls else 0


def limits_of(text: str) -> dict[str, float]:
    """The least shares in a text such as `accuracy=0.9,agreement=0.99`.

    Raises:
        UsageError: a name is unknown, or what it stands for is no share.
    """
    limits = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in LIMITS:
            near = did_you_mean(name, LIMITS)
            raise UsageError(f"--fail-under wants accuracy=SHARE, agreement=SHARE or both; got '{part}'{near}.")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = float("nan")
        if not 0 <= limits[name] <= 1:
            raise UsageError(f"--fail-under wants a share from 0 to 1 for {name}, got '{value}'.")
    return limits


def _print(found: standings.Benchmark) -> None:
    console = Console()
    console.print(_table(found.rows, console.width))
    for line in (
        *(f"{row.label}: {row.reason}" for row in found.rows if row.reason),
        *_unquiet(found.rows),
        *(f"{AIMS[winner.aim]}: {_choice(winner)}" for winner in found.best),
        f"threads: {found.threads} of {found.machine['processor']}; p50, p95: one image; images/s: batches of 32",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _unquiet(rows: Sequence[Row]) -> Iterator[str]:
    spreads = [row.spread for row in rows if row.spread and row.spread > NOISY]
    if spreads:
        yield (
            f"The measurements of {len(spreads)} rows disagree, by up to {1 + max(spreads):.2g} times: "
            "was the machine busy?"
        )


def _table(rows: Sequence[Row], width: int) -> Table:
    """Every number or, where the terminal is narrow, those that matter most."""
    numbers = [number for number in NUMBERS if number.always or width >= WIDE]
    titles = [Column(number.title, justify="right", no_wrap=True) for number in numbers]
    columns = [Column("format", no_wrap=True), Column("runtime"), Column("status", no_wrap=True), *titles]
    table = Table(*columns, box=SIMPLE_HEAD, padding=0)
    for row in rows:
        table.add_row(row.form, row.title, STATUS[row.status], *(number.text(row) for number in numbers))
    return table


def _choice(winner: Winner) -> str:
    texts = [_measured(winner.aim, row) for row in (winner.row, winner.lossless) if row]
    return "; in float32 ".join(texts)


def _measured(aim: Aim, row: Row) -> str:
    texts = {
        "latency": f"{LATENCY.text(row)} ms",
        "throughput": f"{THROUGHPUT.text(row)} images/s",
        "size": f"{SIZE.text(row)} kB",
    }
    return f"{row.label}, {texts[aim]}"
