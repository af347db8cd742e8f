"""The costs of each arm, such as speed and memory: one number per run, median and range per arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor
from statistics import median
from typing import Any, Literal

from diptych.comparison.meter import MAX_SPREAD
from diptych.comparison.runs import Arm, FinishedRun
from diptych.training.provenance import evaluation_precision

NATIVE_FILES = {"torch": "state-dict", "tensorflow": "keras"}


@dataclass(frozen=True)
class Row:
    """A cost in the report."""

    key: str
    title: str
    unit: Literal["images/s", "s", "ms", "bytes"]
    note: str
    value: Callable[[FinishedRun], float | None]
    is_timed: Literal["epochs", "meter", ""] = "meter"
    """Which times another load would distort."""


def costs(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return every cost that was measured for at least one arm.

    `disturbed` is true if another load on the machine distorted a row, which is then no fact about the frameworks.
    """
    return [values for row in _rows(arms) if any((values := _values(row, arms))["values"])]


def target_accuracy(arms: Sequence[Arm]) -> float | None:
    """Return the highest whole percentage of validation accuracy that every run reaches; None without validation."""
    best: list[float] = []
    for run in (run for arm in arms for run in arm.runs):
        accuracies = [epoch.validation_accuracy for epoch in run.epochs if epoch.validation_accuracy is not None]
        if not accuracies:
            return None
        best.append(max(accuracies))
    return floor(100 * min(best) + 1e-9) / 100


def disturbances(arms: Sequence[Arm]) -> list[str]:
    """Say which times and speeds another load on the machine distorted; empty if none."""
    runs = [run for arm in arms for run in arm.runs]
    sentences = []
    spreads = [run.epoch_spread for run in runs if run.epoch_spread > MAX_SPREAD]
    if spreads:
        sentences.append(
            f"The machine was busy during {len(spreads)} of {len(runs)} trainings: some epochs took up to "
            f"{max(spreads):.1f} times as long as others, so training times are unreliable."
        )
    measured = [run for run in runs if run.cost and run.cost.disturbed]
    if measured:
        sentences.append(
            f"The machine was busy during {len(measured)} of {len(runs)} measurements, so speeds and latencies are "
            "unreliable. Delete cost.json in these runs and compare again to measure them on a quiet machine."
        )
    return sentences


def _values(row: Row, arms: Sequence[Arm]) -> dict[str, Any]:
    values = [[value for run in arm.runs if (value := row.value(run)) is not None] for arm in arms]
    runs = [run for arm in arms for run in arm.runs]
    disturbed = {
        "epochs": any(run.epoch_spread > MAX_SPREAD for run in runs),
        "meter": any(run.cost is not None and run.cost.disturbed for run in runs),
        "": False,
    }
    return {
        "key": row.key,
        "title": row.title,
        "unit": row.unit,
        "better": "higher" if row.unit == "images/s" else "lower",
        "note": row.note,
        "disturbed": disturbed[row.is_timed],
        "values": values,
        "medians": [median(one) if one else None for one in values],
        "low": [min(one) if one else None for one in values],
        "high": [max(one) if one else None for one in values],
    }


def _rows(arms: Sequence[Arm]) -> Iterator[Row]:
    target = target_accuracy(arms)
    precision = " and ".join(dict.fromkeys(evaluation_precision(arm.recipe) for arm in arms))
    own = "measured in a separate process after a warm-up, median of five rounds"
    if all(run.cost for arm in arms for run in arm.runs):
        yield Row("train_throughput", "training throughput", "images/s", own, _cost("train_throughput", median))
    else:
        note = "during training, median of the epochs without the first"
        yield Row("train_throughput", "training throughput", "images/s", note, _epoch_speed, "epochs")
    predicts = _cost("predict_throughput", median)
    yield Row("predict_throughput", "prediction throughput", "images/s", f"{precision}, {own}", predicts)
    note = f"{precision}, batch of 1, in the framework itself; exported formats are faster"
    yield Row("latency_p50", "latency of one image (p50)", "ms", note, _cost("latency_p50", lambda value: 1e3 * value))
    note = "95th percentile of the same calls"
    yield Row("latency_p95", "latency of one image (p95)", "ms", note, _cost("latency_p95", lambda value: 1e3 * value))
    note = "sum of the epochs, with the first step, without validation"
    yield Row("train_seconds", "training", "s", note, _train_seconds, "epochs")
    if target:
        title = f"time to {target:.0%} validation accuracy"
        note = "training time to the end of the first epoch that reaches it; every run does"
        yield Row("seconds_to_target", title, "s", note, lambda run: _seconds_to(run, target), "epochs")
    note = "the framework and its engine, with files in the system's cache"
    yield Row("import_seconds", "import", "s", note, _cost("import_seconds"))
    note = "build the model, trace or compile, and take one step"
    yield Row("first_step_seconds", "first training step", "s", note, _cost("first_step_seconds"))
    yield Row("peak_memory", "peak memory of training", "bytes", "of the whole process", _cost("peak_memory"), "")
    note = "state dict for PyTorch, .keras for TensorFlow"
    yield Row("file_size", "model file", "bytes", note, _file_size, "")


def _cost(key: str, convert: Callable[[Any], float] = float) -> Callable[[FinishedRun], float | None]:
    return lambda run: convert(getattr(run.cost, key)) if run.cost else None


def _epoch_speed(run: FinishedRun) -> float | None:
    speeds = [epoch.images_per_second for epoch in run.epochs]
    return median(speeds[1:] or speeds) if speeds else None


def _train_seconds(run: FinishedRun) -> float | None:
    return sum(epoch.seconds for epoch in run.epochs) or None


def _seconds_to(run: FinishedRun, target: float) -> float | None:
    seconds = 0.0
    for epoch in run.epochs:
        seconds += epoch.seconds
        if (epoch.validation_accuracy or 0.0) >= target:
            return seconds
    return None


def _file_size(run: FinishedRun) -> float | None:
    shipped = run.shipped.get(NATIVE_FILES[run.engine])
    return shipped.num_bytes if shipped else None
