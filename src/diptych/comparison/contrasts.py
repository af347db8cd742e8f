"""Two sides against each other: what every measure says, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from diptych.comparison import statistics
from diptych.comparison.resampling import image_intervals
from diptych.comparison.sides import Answered, Side
from diptych.comparison.statistics import Interval


@dataclass(frozen=True)
class Measure:
    """A number of the test set."""

    name: str
    title: str
    unit: Literal["share", "nats"]
    better: Literal["higher", "lower"]


MEASURES = (
    Measure("accuracy", "accuracy", "share", "higher"),
    Measure("macro_f1", "macro F1", "share", "higher"),
    Measure("loss", "loss", "nats", "lower"),
    Measure("calibration_error", "calibration error", "share", "lower"),
)


def pairs(first: Side, second: Side) -> list[dict[str, Any]]:
    """Each pair of runs, as the page shows it."""
    return [_pair(*answers) for answers in zip(first.answers, second.answers, strict=True)]


def contrast(first: Side, second: Side, place: int, margin: float) -> dict[str, Any]:
    """Every measure of two sides, second minus first.

    Args:
        first: what is compared with.
        second: what is compared.
        place: the second's number among all sides.
        margin: the difference in accuracy that would not matter, as a share.
    """
    agreements = [pair["agreement"] for pair in pairs(first, second)]
    intervals = {"accuracy": statistics.image_interval(first.correct_sn, second.correct_sn)}
    intervals |= image_intervals(first, second)
    return {
        "second": place,
        "agreement": float(np.mean(agreements)),
        "measures": [_measured(measure, first, second, margin, intervals[measure.name]) for measure in MEASURES],
    }


def difference_json(
    first_s: Sequence[float], second_s: Sequence[float], resolution: float = 0.0
) -> dict[str, Any] | None:
    """A paired difference as plain data; None for a single pair."""
    if len(first_s) < 2:
        return None
    found: dict[str, Any] = asdict(statistics.paired_difference(first_s, second_s, resolution))
    interval = found.pop("interval")
    return {**found, **interval}


def _pair(first: Answered, second: Answered) -> dict[str, Any]:
    values = {measure.name: [first.value(measure.name), second.value(measure.name)] for measure in MEASURES}
    return {
        "seed": first.seed if first.seed == second.seed else None,
        **values,
        "agreement": float(np.mean(first.predicted_n == second.predicted_n)),
        "only_first_right": int((first.correct_n & ~second.correct_n).sum()),
        "only_second_right": int((~first.correct_n & second.correct_n).sum()),
        "mcnemar_p": statistics.mcnemar(first.correct_n, second.correct_n),
    }


def _measured(measure: Measure, first: Side, second: Side, margin: float, images: Interval) -> dict[str, Any]:
    values = [[answer.value(measure.name) for answer in side.answers] for side in (first, second)]
    several = len(values[0]) > 1
    judged = measure.name == "accuracy"
    resolution = 1 / len(first.first.labels_n) if judged else 0.0
    found = difference_json(values[0], values[1], resolution)
    return {
        **asdict(measure),
        "means": [float(np.mean(value)) for value in values],
        "deviations": [float(np.std(value, ddof=1)) for value in values] if several else None,
        "difference": found,
        "image_interval": asdict(images),
        "equivalence_p": statistics.equivalence(values[0], values[1], margin, resolution) if judged and found else None,
        "detectable": (
            statistics.detectable_mean(found["deviation"], found["num_pairs"]) if judged and found else None
        ),
    }
