"""What the sides cost: speed, waiting and memory, one number a run, medians and spread a side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor
from statistics import median
from typing import Any, Literal

from diptych.comparison.sides import Answered, Side
from diptych.comparison.unlike import MOST_SPREAD, epoch_spread
from diptych.training.learner import evaluation_precision

Value = Callable[[Answered], float | None]
NATIVE_FILES = {"torch": "state-dict", "tensorflow": "keras"}


@dataclass(frozen=True)
class Cost:
    """A row of the cost side."""

    key: str
    title: str
    unit: Literal["images/s", "s", "ms", "bytes"]
    better: Literal["higher", "lower"]
    note: str
    value: Value


def costs(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Every cost that was measured on at least one side."""
    return [row for cost in _costs(sides) if any((row := _row(cost, sides))["values"])]


def target(sides: Sequence[Side]) -> float | None:
    """The highest whole percentage of validation accuracy that every run reaches; None without validation."""
    best: list[float] = []
    for answer in (answer for side in sides for answer in side.answers):
        reached = [e["validation_accuracy"] for e in answer.epochs if e["validation_accuracy"] is not None]
        if not reached:
            return None
        best.append(max(reached))
    return floor(100 * min(best) + 1e-9) / 100


def _row(cost: Cost, sides: Sequence[Side]) -> dict[str, Any]:
    values = [[v for answer in side.answers if (v := cost.value(answer)) is not None] for side in sides]
    return {
        "key": cost.key,
        "title": cost.title,
        "unit": cost.unit,
        "better": cost.better,
        "note": cost.note,
        "disturbed": any(epoch_spread(answer) > MOST_SPREAD for side in sides for answer in side.answers),
        "values": values,
        "medians": [median(side) if side else None for side in values],
        "low": [min(side) if side else None for side in values],
        "high": [max(side) if side else None for side in values],
    }


def _costs(sides: Sequence[Side]) -> Iterator[Cost]:
    wanted = target(sides)
    evaluated = " and ".join(dict.fromkeys(evaluation_precision(side.recipe) for side in sides))
    own = "in a process of its own, warm-up left out, median of five rounds"
    measured = all(answer.cost for side in sides for answer in side.answers)
    if measured:
        yield Cost(
            "train_throughput", "training throughput", "images/s", "higher", own, _cost("train_throughput", median)
        )
    else:
        yield Cost(
            "train_throughput",
            "training throughput",
            "images/s",
            "higher",
            "of the trainings themselves, median of their epochs without the first",
            _epoch_speed,
        )
    yield Cost(
        "predict_throughput",
        "prediction throughput",
        "images/s",
        "higher",
        f"{evaluated}, {own}",
        _cost("predict_throughput", median),
    )
    yield Cost(
        "latency_p50",
        "latency of one image (p50)",
        "ms",
        "lower",
        f"{evaluated}, batch of 1, in the framework itself; shipped formats are faster",
        _cost("latency_p50", _milliseconds),
    )
    yield Cost(
        "latency_p95",
        "latency of one image (p95)",
        "ms",
        "lower",
        "the same calls",
        _cost("latency_p95", _milliseconds),
    )
    yield Cost(
        "train_seconds",
        "training",
        "s",
        "lower",
        "sum of the epochs, with the first step; validation left out",
        _train_seconds,
    )
    if wanted:
        yield Cost(
            "seconds_to_target",
            f"time to {wanted:.0%} validation accuracy",
            "s",
            "lower",
            "training time up to the end of the first epoch that reaches it; every run does",
            lambda answer: _seconds_to(answer, wanted),
        )
    yield Cost(
        "import_seconds",
        "import",
        "s",
        "lower",
        "the framework and its engine, files in the system's cache",
        _cost("import_seconds"),
    )
    yield Cost(
        "first_step_seconds",
        "first training step",
        "s",
        "lower",
        "building the model, tracing or compiling, one step",
        _cost("first_step_seconds"),
    )
    yield Cost("peak_memory", "peak memory of training", "bytes", "lower", "the whole process", _cost("peak_memory"))
    yield Cost(
        "file_size",
        "model file",
        "bytes",
        "lower",
        "state dict for PyTorch, .keras for TensorFlow",
        _file_size,
    )


def _cost(key: str, convert: Callable[[Any], float] = float) -> Value:
    return lambda answer: convert(answer.cost[key]) if answer.cost else None


def _milliseconds(seconds: float) -> float:
    return 1e3 * seconds


def _epoch_speed(answer: Answered) -> float | None:
    speeds: list[float] = [epoch["images_per_second"] for epoch in answer.epochs]
    return median(speeds[1:] or speeds) if speeds else None


def _train_seconds(answer: Answered) -> float | None:
    total: float = sum(epoch["seconds"] for epoch in answer.epochs)
    return total or None


def _seconds_to(answer: Answered, wanted: float) -> float | None:
    seconds: float = 0.0
    for epoch in answer.epochs:
        seconds += epoch["seconds"]
        if (epoch["validation_accuracy"] or 0.0) >= wanted:
            return seconds
    return None


def _file_size(answer: Answered) -> float | None:
    entry = answer.shipped.get(NATIVE_FILES[answer.engine], {})
    size: int | None = entry.get("num_bytes")
    return size
