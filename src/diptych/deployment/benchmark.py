"""Export a model to every format and measure each file in each of its runtimes.

Every measurement is a process of its own, one at a time. All rows are measured once, then again in reverse order, so
that a temporary load on the machine does not affect one row alone. If a row's two measurements disagree, a third one
decides.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from diptych.artifacts.store import atomic_write, write_json
from diptych.deployment import runtimes
from diptych.deployment.export import Exported, TrainedModel, export
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.predictor import LARGE_BATCH, Answers, Probes, Speed, save_images
from diptych.deployment.verify import judge
from diptych.errors import DiptychError, MissingEngine
from diptych.training.machine import machine, versions

PASSES = 2
NOISY = 0.25
"""Spread above which a row is measured once more."""
LIMITS = ("accuracy", "agreement")
Status = Literal["ok", "failed", "impossible", "unrunnable", "absent"]
Aim = Literal["latency", "throughput", "size"]
_JUDGED = ("status", "reason", "accuracy", "agreement", "worst_difference")
_WEIGHTS_ONLY = ("safetensors", "state-dict", "weights-h5")


@dataclass(frozen=True)
class Row:
    """One format in one runtime."""

    form: str
    runtime: str
    status: Status
    """ok; failed verification; could not be written; could not be run; a package is not installed."""
    reason: str | None = None
    path: Path | None = None
    writer: str | None = None
    """The engine that wrote the file."""
    num_bytes: int | None = None
    accuracy: float | None = None
    """For this and the next two, see `Verdict`."""
    agreement: float | None = None
    worst_difference: float | None = None
    speed: Speed | None = None
    spread: float | None = None
    """How far the measurements of its speed are apart; 0.1 is 10 %."""

    @property
    def title(self) -> str:
        """Title of the runtime."""
        return runtimes.RUNTIMES[self.runtime].title

    @property
    def label(self) -> str:
        """Format and runtime."""
        return f"{self.form} in {self.title}"

    @property
    def is_lossless(self) -> bool:
        """Whether it keeps the trained model's float32 numbers."""
        return FORMATS[self.form].tolerance <= Format.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return all values as one flat object; times in seconds, memory in bytes, null if unknown."""
        content = {column.name: getattr(self, column.name) for column in fields(self) if column.name != "speed"}
        kind = {"title": self.title, "is_quantized": FORMATS[self.form].is_quantized, "is_lossless": self.is_lossless}
        speed = asdict(self.speed) if self.speed else dict.fromkeys(column.name for column in fields(Speed))
        return content | kind | speed | {"path": self.path and self.path.name}


@dataclass(frozen=True)
class Winner:
    """The best row for one aim."""

    aim: Aim
    row: Row
    lossless: Row | None
    """The best float32 row, if the winner is not one."""


@dataclass(frozen=True)
class Benchmark:
    """The rows, and what they were measured on."""

    model: str
    parity: str
    """The model's digest, equal in all its files."""
    trained_accuracy: float
    time: str
    """UTC, ISO 8601."""
    machine: Mapping[str, Any]
    threads: int
    seconds: float
    """Time spent on each speed."""
    rows: Sequence[Row]

    @property
    def best(self) -> list[Winner]:
        """The lowest median latency, the most images per second and the smallest whole model of verified rows."""
        passed = [row for row in self.rows if row.status == "ok"]
        return [
            *_winner("latency", {row: row.speed.latency_p50 for row in passed if row.speed}),
            *_winner("throughput", {row: -row.speed.images_per_second for row in passed if row.speed}),
            *_winner("size", {row: float(row.num_bytes or 0) for row in passed if row.form not in _WEIGHTS_ONLY}),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the content of `benchmark.json`."""
        content = {column.name: getattr(self, column.name) for column in fields(self)}
        best = {winner.aim: {"all": _name(winner.row), "lossless": _name(winner.lossless)} for winner in self.best}
        return content | {"rows": [row.to_json() for row in self.rows], "best": best}

    def shortfalls(self, limits: Mapping[str, float]) -> list[str]:
        """Return one line for each row that failed or is below a limit; missing packages do not count.

        Args:
            limits: The smallest allowed `accuracy` or `agreement`, 0 to 1.
        """
        if all(row.status == "absent" for row in self.rows):
            return ["nothing was measured: no package that these formats need is installed"]
        lines = [f"{row.label}: {row.reason}" for row in self.rows if row.status not in ("ok", "absent")]
        return lines + [
            f"{row.label}: {name} is {getattr(row, name):.4f}; at least {least:g} is required"
            for row in self.rows
            if row.status == "ok"
            for name, least in limits.items()
            if getattr(row, name) < least
        ]


def benchmark(
    trained: TrainedModel,
    forms: Sequence[Format],
    folder: Path,
    *,
    threads: int,
    seconds: float,
    on_step: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Export a model to `folder`, and measure each file in each runtime of its format; see `api.benchmark`."""
    exports = export(trained, forms, folder, threads=threads, on_format=on_step)
    with tempfile.TemporaryDirectory(prefix="diptych-") as name, Probes(threads) as probes:
        images = trained.reference.images
        all_images = save_images(Path(name) / "images.npy", images)
        few_images = save_images(Path(name) / "few.npy", images[:LARGE_BATCH])

        def measure(trial: _Trial, images: Path) -> Answers | None:
            on_step(trial.row.label)
            return trial.measure(probes, images, seconds / PASSES)

        trials = [_Trial(row) for exported in exports for row in _rows(exported)]
        for trial in trials:
            answers = measure(trial, all_images) if trial.row.path else None
            if answers:
                verdict = judge(FORMATS[trial.row.form], trained.reference, answers.probabilities_nk)
                trial.row = replace(trial.row, **{name: getattr(verdict, name) for name in _JUDGED})
        verified = [trial for trial in trials if trial.row.status == "ok"]
        for trial in reversed(verified):
            measure(trial, few_images)
        for trial in verified:
            if trial.spread > NOISY:
                measure(trial, few_images)
    packages = {package for runtime in runtimes.RUNTIMES.values() for package in runtime.packages}
    return Benchmark(
        trained.card.spec.name,
        trained.card.parity,
        trained.reference.accuracy,
        datetime.now(UTC).isoformat(timespec="seconds"),
        machine() | {"versions": versions() | versions(sorted(packages))},
        threads,
        seconds,
        [trial.result() for trial in trials],
    )


def write(result: Benchmark, folder: Path) -> None:
    """Write `benchmark.json` and `benchmark.csv`."""
    content, text = result.to_json(), io.StringIO()
    write_json(folder / "benchmark.json", content)
    writer = csv.DictWriter(text, content["rows"][0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(content["rows"])
    with atomic_write(folder / "benchmark.csv") as file:
        file.write(text.getvalue().encode())


def _rows(exported: Exported) -> list[Row]:
    """Return a row for each runtime of a format, or a single one if its file could not be written."""
    form = FORMATS[exported.form]
    if exported.path is None:
        status: Status = "absent" if exported.absent else "impossible"
        return [Row(form.name, form.runtimes[0], status, exported.reason)]
    written = (exported.path, exported.writer, exported.num_bytes)
    return [Row(form.name, runtime, "ok", None, *written) for runtime in form.runtimes]


@dataclass
class _Trial:
    """A row and all measurements of its speed."""

    row: Row
    speeds: list[Speed] = field(default_factory=list)

    @property
    def spread(self) -> float:
        latencies = [speed.latency_p50 for speed in self.speeds] or [1.0]
        rates = [speed.images_per_second for speed in self.speeds] or [1.0]
        return max(max(latencies) / min(latencies), max(rates) / min(rates)) - 1

    def measure(self, probes: Probes, images: Path, seconds: float) -> Answers | None:
        """Run the row's file in a new process, and return its answers, or None if it cannot run."""
        row = self.row
        assert row.path is not None  # it was written
        try:
            runtime = runtimes.RUNTIMES[row.runtime]
            answers = probes.ask(row.path, runtime, images, form=FORMATS[row.form], seconds=seconds)
        except DiptychError as error:
            status: Status = "absent" if isinstance(error, MissingEngine) else "unrunnable"
            self.row = replace(row, status=status, reason=str(error))
            return None
        self.speeds.extend([answers.speed] if answers.speed else [])
        return answers

    def result(self) -> Row:
        """Return the row with medians; for loading and memory, the minimum: the first process reads from disk."""
        if not self.speeds:
            return self.row
        columns = {name: [getattr(speed, name) for speed in self.speeds] for name in vars(self.speeds[0])}
        minima = {"load_seconds", "peak_memory"}
        values = {name: min(column) if name in minima else median(column) for name, column in columns.items()}
        return replace(self.row, speed=Speed(**values), spread=self.spread)


def _winner(aim: Aim, costs: Mapping[Row, float]) -> Iterator[Winner]:
    cheapest_first = sorted(costs, key=costs.__getitem__)
    for first in cheapest_first[:1]:
        lossless = next((row for row in cheapest_first if row.is_lossless), None)
        yield Winner(aim, first, None if first.is_lossless else lossless)


def _name(row: Row | None) -> dict[str, str] | None:
    return {"format": row.form, "runtime": row.runtime} if row else None
