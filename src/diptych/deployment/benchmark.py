"""Ships a model in every format and measures each file in each runtime of its format.

Every measurement is a process of its own, one at a time. All rows are measured once, then once more in reverse order,
so that what disturbs the machine for a while falls on no row alone; where the two disagree, a third one decides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from diptych.artifacts.store import atomic_write, write_json
from diptych.deployment import probe, runtimes
from diptych.deployment.export import Shipped, export, judged
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.probe import Answers, Speed
from diptych.deployment.standings import Benchmark, Row, Status
from diptych.deployment.trained import Trained
from diptych.deployment.verify import Reference
from diptych.errors import DiptychError, MissingEngine
from diptych.training.machine import machine, versions

PASSES = 2
NOISY = 0.25
"""Measurements of a row that lie further apart are followed by another one."""


def benchmark(
    trained: Trained,
    forms: Sequence[Format],
    folder: Path,
    *,
    threads: int,
    seconds: float,
    on_step: Callable[[str], None] = lambda words: None,
) -> Benchmark:
    """Ship a model, and measure each file in each runtime of its format.

    Args:
        trained: the model.
        forms: what to write and measure.
        folder: where the files go, as `export` puts them.
        threads: processor threads to compute with.
        seconds: how long to measure each speed, in two processes together.
        on_step: told what comes next.
    """
    share = seconds / PASSES
    shipped = export(trained, forms, folder, threads=threads, seconds=share, on_format=on_step)
    with tempfile.TemporaryDirectory(prefix="diptych-") as name:
        images = trained.reference.images
        every = probe.save_images(Path(name) / "images.npy", images)
        few = probe.save_images(Path(name) / "few.npy", images[: probe.LARGE_BATCH])
        bench = _Bench(trained.reference, every, few, threads, share, on_step)
        trials = [trial for found in shipped for trial in bench.first(found)]
        for trial in reversed(trials):
            bench.again(trial)
        for trial in trials:
            if trial.spread > NOISY:
                bench.again(trial)
    return Benchmark(
        trained.card.spec.name,
        trained.card.parity,
        trained.reference.accuracy,
        datetime.now(UTC).isoformat(timespec="seconds"),
        machine() | {"versions": versions() | versions(_packages())},
        threads,
        seconds,
        [trial.result() for trial in trials],
    )


def write(found: Benchmark, folder: Path) -> None:
    """Write `benchmark.json` and `benchmark.csv`."""
    write_json(folder / "benchmark.json", found.to_json())
    with atomic_write(folder / "benchmark.csv") as file:
        file.write(found.to_csv().encode())


@dataclass
class _Trial:
    """A row, and every measurement of its speed."""

    row: Row
    speeds: list[Speed]

    @property
    def spread(self) -> float:
        latencies = [speed.latency_p50 for speed in self.speeds] or [1.0]
        rates = [speed.images_per_second for speed in self.speeds] or [1.0]
        return max(max(latencies) / min(latencies), max(rates) / min(rates)) - 1

    def result(self) -> Row:
        """Medians; loading and memory at their least, as the first process reads the disk."""
        if not self.speeds:
            return self.row
        columns = {name: [getattr(speed, name) for speed in self.speeds] for name in vars(self.speeds[0])}
        least = {"load_seconds", "peak_memory"}
        values = {name: min(column) if name in least else median(column) for name, column in columns.items()}
        return replace(self.row, speed=Speed(**values), spread=self.spread)


@dataclass(frozen=True, eq=False)
class _Bench:
    """How everything is measured."""

    reference: Reference
    every: Path
    """A file with the test images; `few` has the first of them."""
    few: Path
    threads: int
    seconds: float
    on_step: Callable[[str], None]

    def first(self, shipped: Shipped) -> Iterator[_Trial]:
        """A format in each of its runtimes; `export` has verified and measured it in one."""
        form = FORMATS[shipped.form]
        if shipped.path is None:
            yield _Trial(_row(shipped, form.runtimes[0], "absent" if shipped.absent else "impossible"), [])
            return
        verified_in = None if shipped.status == "unverified" else runtimes.usable(form).name
        for runtime in form.runtimes:
            trial = _Trial(_row(shipped, runtime, "ok" if shipped.status == "ok" else "failed"), [])
            if runtime != verified_in:
                self._verify(trial, shipped)
            elif shipped.speed:
                trial.speeds.append(shipped.speed)
            yield trial

    def _verify(self, trial: _Trial, shipped: Shipped) -> None:
        row = trial.row
        trial.row = Row(row.form, row.runtime, "ok", None, row.path, row.writer, row.num_bytes)
        answers = self._ask(trial, self.every)
        if answers:
            found = judged(shipped, FORMATS[row.form], self.reference, answers)
            trial.row = _row(found, row.runtime, "ok" if found.status == "ok" else "failed")

    def again(self, trial: _Trial) -> None:
        """Measure what has passed once more."""
        if trial.row.status == "ok":
            self._ask(trial, self.few)

    def _ask(self, trial: _Trial, images: Path) -> Answers | None:
        row = trial.row
        assert row.path is not None  # it was written
        self.on_step(row.label)
        try:
            answers = probe.ask(
                row.path,
                runtimes.RUNTIMES[row.runtime],
                images,
                self.threads,
                form=FORMATS[row.form],
                seconds=self.seconds,
            )
        except DiptychError as error:
            status: Status = "absent" if isinstance(error, MissingEngine) else "unrunnable"
            trial.row = replace(row, status=status, reason=str(error))
            return None
        trial.speeds.extend([answers.speed] if answers.speed else [])
        return answers


def _row(shipped: Shipped, runtime: str, status: Status) -> Row:
    return Row(
        shipped.form,
        runtime,
        status,
        shipped.reason,
        shipped.path,
        shipped.writer,
        shipped.num_bytes,
        shipped.accuracy,
        shipped.agreement,
        shipped.worst_difference,
    )


def _packages() -> list[str]:
    return sorted({package for runtime in runtimes.RUNTIMES.values() for package in runtime.packages})
