"""Export a model to every format and measure each file in each of its runtimes.

Every measurement is a process of its own, one at a time. All rows are measured once, then again in reverse order, so
that a temporary load on the machine does not affect one row alone. If a row's two measurements disagree, a third one
decides.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from diptych.artifacts.store import write_json, write_parts
from diptych.deployment import runtimes
from diptych.deployment.export import TrainedModel, export
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.options import BenchmarkOptions, ExportOptions
from diptych.deployment.predictor import LARGE_BATCH, Probes, Speed, save_images
from diptych.deployment.verify import Exported, Status, judge
from diptych.errors import DiptychError, MissingEngine
from diptych.processes import num_threads
from diptych.training.machine import machine, versions

PASSES = 2
NOISY = 0.25
"""Spread above which a row is measured once more."""
# For each aim, the value to rank by, and 1 if lower is better or -1 if higher is better.
_AIMS = {"latency": ("latency_p50", 1), "throughput": ("images_per_second", -1), "size": ("num_bytes", 1)}
_WEIGHTS_ONLY = ("safetensors", "state-dict", "weights-h5")
_COLUMNS = "form runtime status reason path writer num_bytes accuracy agreement worst_difference".split()


@dataclass(frozen=True, kw_only=True)
class Row(Exported):
    """One format in one runtime."""

    runtime: str
    speeds: tuple[Speed, ...] = ()
    """All measurements of its speed."""

    @property
    def speed(self) -> Speed | None:
        """Medians; for loading and memory, the minimum: the first process reads from disk."""
        if not self.speeds:
            return None
        columns = {name: [getattr(speed, name) for speed in self.speeds] for name in vars(self.speeds[0])}
        minima = ("load_seconds", "peak_memory")
        return Speed(**{name: min(column) if name in minima else median(column) for name, column in columns.items()})

    @property
    def spread(self) -> float | None:
        """Relative spread of its speed measurements; 0.1 is 10%."""
        columns = ("latency_p50", "images_per_second")
        pairs = [[getattr(speed, name) for speed in self.speeds] for name in columns if self.speeds]
        return max(max(values) / min(values) for values in pairs) - 1 if pairs else None

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
        content = {name: getattr(self, name) for name in (*_COLUMNS, "spread", "title", "is_lossless")}
        content |= {"path": self.path and self.path.name, "is_quantized": FORMATS[self.form].is_quantized}
        return content | (asdict(self.speed) if self.speed else dict.fromkeys(column.name for column in fields(Speed)))


@dataclass(frozen=True)
class Benchmark:
    """The rows, and what they were measured on."""

    model: str
    parity: str
    """The model's digest, equal in all its files."""
    trained_accuracy: float | None
    time: str
    """UTC, ISO 8601."""
    machine: Mapping[str, Any]
    threads: int
    seconds: float
    """Duration of each speed measurement."""
    rows: Sequence[Row]

    @property
    def best(self) -> dict[str, tuple[Row, Row | None]]:
        """For each aim, the best verified row, and the best float32 row if the best row is not float32.

        The aims are the lowest median latency, the most images per second and the smallest whole model.
        """
        best = {}
        for aim, (name, sign) in _AIMS.items():
            rows = [row for row in self.rows if row.status == "ok" and (aim != "size" or row.form not in _WEIGHTS_ONLY)]
            if ranked := sorted(rows, key=lambda row: sign * row.to_json()[name]):
                lossless = next((row for row in ranked if row.is_lossless), None)
                best[aim] = ranked[0], None if ranked[0].is_lossless else lossless
        return best

    def to_json(self) -> dict[str, Any]:
        """Return the content of `benchmark.json`."""
        content = {column.name: getattr(self, column.name) for column in fields(self)}
        best = {aim: {"all": _name(row), "lossless": _name(lossless)} for aim, (row, lossless) in self.best.items()}
        return content | {"rows": [row.to_json() for row in self.rows], "best": best}

    def shortfalls(self, limits: Mapping[str, float]) -> list[str]:
        """Return one line for each row that failed or has too low an `accuracy` or `agreement`, 0 to 1.

        Missing packages do not count.
        """
        if all(row.status == "absent" for row in self.rows):
            return ["nothing was measured: no package that these formats need is installed"]
        lines = [f"{row.label}: {row.reason}" for row in self.rows if row.status not in ("ok", "absent")]
        return lines + [
            f"{row.label}: {name} is {'unknown' if value is None else f'{value:.4f}'}; at least {least:g} is required"
            for row in self.rows
            if row.status == "ok"
            for name, least in limits.items()
            if ((value := getattr(row, name)) or 0) < least
        ]


def benchmark(
    trained: TrainedModel,
    forms: Sequence[Format],
    folder: Path,
    options: BenchmarkOptions,
    on_step: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Export a model to `folder`, and measure each file in each runtime of its format; see `api.benchmark`."""
    threads, seconds = options.threads or num_threads(), options.seconds
    exports = export(trained, forms, folder, ExportOptions(threads=threads), on_format=on_step)
    with tempfile.TemporaryDirectory(prefix="diptych-") as name, Probes(threads) as probes:
        images = trained.reference.images
        all_images = save_images(Path(name) / "images.npy", images)
        few_images = save_images(Path(name) / "few.npy", images[:LARGE_BATCH])

        rows = [row for exported in exports for row in _rows(exported)]

        def measure(place: int, images: Path) -> None:
            """Run a row's file in a new process; on all images, also compare it with the trained model."""
            row, form = rows[place], FORMATS[rows[place].form]
            assert row.path is not None  # it was written
            on_step(row.label)
            try:
                runtime = runtimes.RUNTIMES[row.runtime]
                answers = probes.ask(row.path, runtime, images, form=form, seconds=seconds / PASSES)
            except DiptychError as error:
                status: Status = "absent" if isinstance(error, MissingEngine) else "unrunnable"
                rows[place] = replace(row, status=status, reason=str(error))
                return
            assert answers.speed is not None  # it was measured
            row = replace(row, speeds=(*row.speeds, answers.speed))
            is_whole = images is all_images
            rows[place] = judge(row, trained.reference, answers.probabilities_nk) if is_whole else row

        for place, row in enumerate(rows):
            if row.path:
                measure(place, all_images)
        verified = [place for place, row in enumerate(rows) if row.status == "ok"]
        for place in reversed(verified):
            measure(place, few_images)
        for place in verified:
            if (rows[place].spread or 0) > NOISY:
                measure(place, few_images)
    packages = {runtime.package for runtime in runtimes.RUNTIMES.values()}
    here = machine() | {"versions": versions() | versions(sorted(packages))}
    card, time = trained.card, datetime.now(UTC).isoformat(timespec="seconds")
    return Benchmark(card.spec.name, card.parity, trained.reference.accuracy, time, here, threads, seconds, rows)


def write(result: Benchmark, folder: Path) -> None:
    """Write `benchmark.json` and `benchmark.csv`."""
    content, text = result.to_json(), io.StringIO()
    write_json(folder / "benchmark.json", content)
    writer = csv.DictWriter(text, content["rows"][0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(content["rows"])
    write_parts(folder / "benchmark.csv", text.getvalue().encode())


def _rows(exported: Exported) -> list[Row]:
    """Return a row for each runtime of a format, or a single one if its file could not be written."""
    names = FORMATS[exported.form].runtimes
    written = (exported.form, exported.status, exported.reason, exported.path, exported.writer, exported.num_bytes)
    return [Row(*written, runtime=name) for name in (names if exported.path else names[:1])]


def _name(row: Row | None) -> dict[str, str] | None:
    return {"format": row.form, "runtime": row.runtime} if row else None
