"""The gap between the frameworks' defaults, attributed: what each one does to accuracy when it alone is switched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.comparison.contrasts import difference_json
from diptych.comparison.defaults import Default
from diptych.comparison.experiment import ALIGNED, NATIVE
from diptych.comparison.sides import Side
from diptych.comparison.verdict import points, span

# Accuracies by arm and engine, one a seed.
Accuracies = Mapping[str, Mapping[str, Sequence[float]]]


def accuracies(arms: Mapping[str, Sequence[Side]]) -> Accuracies:
    """Test accuracy of every run, by arm and engine."""
    return {
        arm: {side.first.engine: [answer.value("accuracy") for answer in side.answers] for side in sides}
        for arm, sides in arms.items()
    }


def explained(found: Accuracies, defaults: Sequence[Default]) -> dict[str, Any]:
    """Each default's effect on either framework and on the gap, paired by seed, with 95 % intervals.

    Args:
        found: of the arms aligned, native and each default's key.
        defaults: those that were switched.
    """
    rows = [_row(found, default) for default in defaults]
    return {
        "aligned": _gap(found[ALIGNED]),
        "native": _gap(found[NATIVE]),
        "defaults": rows,
        "sum": float(np.sum([row["gap"]["mean"] for row in rows])),
    }


def told(found: Mapping[str, Any]) -> str:
    """The attribution in one sentence."""
    native, aligned = found["native"], found["aligned"]
    gap = f"With each framework's defaults the gap is {points(native['mean'], signed=True)}"
    gap += f", with aligned settings {points(aligned['mean'], signed=True)}"
    clear = [row for row in found["defaults"] if row["gap"]["low"] is not None and not _holds_zero(row["gap"])]
    if not clear:
        return f"{gap}; no single default moves it by more than chance."
    largest = max(clear, key=lambda row: abs(row["gap"]["mean"]))
    effect = largest["gap"]
    return (
        f"{gap}; the default that moves it most is {largest['title']} (`{largest['key']}`): "
        f"{points(effect['mean'], signed=True)} ({span(effect)})."
    )


def _holds_zero(interval: Mapping[str, float]) -> bool:
    return interval["low"] <= 0 <= interval["high"]


def _row(found: Accuracies, default: Default) -> dict[str, Any]:
    base, switched = found[ALIGNED], found[default.key]
    gains = {engine: np.subtract(switched[engine], base[engine]) for engine in default.values}
    nothing = np.zeros(len(gains["torch"]))
    return {
        "key": default.key,
        "title": default.title,
        "values": list(default.values.values()),
        "effects": [_difference(nothing, gains[engine]) for engine in default.values],
        "gap": _difference(gains["torch"], gains["tensorflow"]),
    }


def _gap(accuracies_by_engine: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return _difference(accuracies_by_engine["torch"], accuracies_by_engine["tensorflow"])


def _difference(first_s: Any, second_s: Any) -> dict[str, Any]:
    """Mean and interval of second minus first; for a single pair, the difference alone."""
    found = difference_json(first_s, second_s)
    if found is None:
        return {"mean": float(second_s[0] - first_s[0]), "low": None, "high": None, "p_value": None}
    return {key: found[key] for key in ("mean", "low", "high", "p_value")}
