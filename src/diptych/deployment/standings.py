"""What a benchmark found: a row for every format in every runtime, the best of them, and what falls short."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.probe import Speed
from diptych.deployment.runtimes import RUNTIMES

Status = Literal["ok", "failed", "impossible", "unrunnable", "absent"]
Aim = Literal["latency", "throughput", "size"]
LIMITS = ("accuracy", "agreement")
WEIGHTS_ALONE = ("safetensors", "state-dict", "weights-h5")


@dataclass(frozen=True)
class Row:
    """One format in one runtime."""

    form: str
    runtime: str
    status: Status
    """ok; written but not what was trained; not possible to write; not possible to run; what it needs not installed."""
    reason: str | None = None
    path: Path | None = None
    writer: str | None = None
    """The engine that wrote the file."""
    num_bytes: int | None = None
    accuracy: float | None = None
    """On the test set."""
    agreement: float | None = None
    """Share of test images that get the trained model's class."""
    worst_difference: float | None = None
    """Of a probability from the trained model's, over the golden images."""
    speed: Speed | None = None
    spread: float | None = None
    """How far the measurements of its speed lie apart; 0.1 is 10 %."""

    @property
    def title(self) -> str:
        """The runtime, for people."""
        return RUNTIMES[self.runtime].title

    @property
    def label(self) -> str:
        """Format and runtime, for people."""
        return f"{self.form} in {self.title}"

    @property
    def is_quantised(self) -> bool:
        """Whether it computes in 8-bit integers throughout."""
        return FORMATS[self.form].is_quantised

    @property
    def is_lossless(self) -> bool:
        """Whether it keeps the trained model's float32 numbers."""
        return FORMATS[self.form].tolerance <= Format.tolerance

    @property
    def is_whole(self) -> bool:
        """Whether the file is a whole model, not weights for a network that diptych builds."""
        return self.form not in WEIGHTS_ALONE

    def to_json(self) -> dict[str, Any]:
        """Flat; None where nothing is known. Times are in seconds, memory is in bytes."""
        content = {column.name: getattr(self, column.name) for column in fields(self) if column.name != "speed"}
        kind = {"title": self.title, "is_quantised": self.is_quantised, "is_lossless": self.is_lossless}
        speed = asdict(self.speed) if self.speed else dict.fromkeys(column.name for column in fields(Speed))
        return content | kind | speed | {"path": self.path and self.path.name}


@dataclass(frozen=True)
class Winner:
    """The best choice for one aim."""

    aim: Aim
    row: Row
    lossless: Row | None
    """The best that keeps float32, where the winner does not."""


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and on what."""

    model: str
    parity: str
    """The model's digest, which all its files carry."""
    trained_accuracy: float
    time: str
    """UTC, ISO 8601."""
    machine: Mapping[str, Any]
    threads: int
    seconds: float
    """How long each speed was measured."""
    rows: Sequence[Row]

    @property
    def best(self) -> list[Winner]:
        """The lowest median latency, the most images a second and the smallest whole model, of those that passed."""
        return [
            *_winner("latency", {row: row.speed.latency_p50 for row in self._passed if row.speed}),
            *_winner("throughput", {row: -row.speed.images_per_second for row in self._passed if row.speed}),
            *_winner("size", {row: float(row.num_bytes or 0) for row in self._passed if row.is_whole}),
        ]

    @property
    def _passed(self) -> list[Row]:
        return [row for row in self.rows if row.status == "ok"]

    def to_json(self) -> dict[str, Any]:
        """For `benchmark.json`."""
        content = {column.name: getattr(self, column.name) for column in fields(self)}
        best = {winner.aim: {"all": _name(winner.row), "lossless": _name(winner.lossless)} for winner in self.best}
        return content | {"rows": [row.to_json() for row in self.rows], "best": best}

    def to_csv(self) -> str:
        """A line of names, and a line for each row."""
        text = io.StringIO()
        rows = [row.to_json() for row in self.rows]
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def shortfalls(self, limits: Mapping[str, float]) -> list[str]:
        """What keeps the rows from passing, one line each; that something is not installed does not.

        Args:
            limits: the least `accuracy` or `agreement` of a row, 0 to 1.
        """
        if all(row.status == "absent" for row in self.rows):
            return ["nothing was measured: what these formats need is not installed"]
        return [line for row in self.rows for line in _shortfalls(row, limits)]


def _winner(aim: Aim, costs: Mapping[Row, float]) -> Iterator[Winner]:
    cheapest_first = sorted(costs, key=costs.__getitem__)
    for first in cheapest_first[:1]:
        lossless = next((row for row in cheapest_first if row.is_lossless), None)
        yield Winner(aim, first, None if first.is_lossless else lossless)


def _name(row: Row | None) -> dict[str, str] | None:
    return {"format": row.form, "runtime": row.runtime} if row else None


def _shortfalls(row: Row, limits: Mapping[str, float]) -> Iterator[str]:
    if row.status == "ok":
        for name, least in limits.items():
            if getattr(row, name) < least:
                yield f"{row.label}: {name} is {getattr(row, name):.4f}, at least {least:g} was wanted"
    elif row.status != "absent":
        yield f"{row.label}: {row.reason}"
