"""The gap between the frameworks' defaults, attributed: what each one does to accuracy when it alone is switched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.comparison.contrasts import difference_json
from diptych.comparison.defaults import Default, Setup, of
from diptych.comparison.experiment import ALIGNED, NATIVE
from diptych.comparison.sides import Side
from diptych.comparison.statistics import LEVEL, holm
from diptych.comparison.verdict import points, span

# Accuracies by arm and engine, one a seed.
Accuracies = Mapping[str, Mapping[str, Sequence[float]]]


def accuracies(arms: Mapping[str, Sequence[Side]]) -> Accuracies:
    """Test accuracy of every run, by arm and engine."""
    return {
        arm: {side.first.engine: [answer.value("accuracy") for answer in side.answers] for side in sides}
        for arm, sides in arms.items()
    }


def explained(found: Accuracies, setup: Setup, resolution: float) -> dict[str, Any]:
    """Each default's effect on either framework and on the gap, paired by seed, with 95 % intervals.

    Args:
        found: of the arms aligned, native and each default's key.
        setup: the aligned spec and recipe.
        resolution: of an accuracy, one over the number of test images.
    """
    rows = [_row(found, default, setup, resolution) for default in of(setup)]
    if rows and rows[0]["gap"]["p_value"] is not None:
        for row, p_value in zip(rows, holm([row["gap"]["p_value"] for row in rows]), strict=True):
            row["gap"]["holm_p"] = p_value
    return {
        "aligned": _difference(*_by_engine(found[ALIGNED]), resolution),
        "native": _difference(*_by_engine(found[NATIVE]), resolution),
        "defaults": rows,
        "sum": float(np.sum([row["gap"]["mean"] for row in rows])),
    }


def told(found: Mapping[str, Any]) -> str:
    """The attribution in one sentence."""
    native, aligned = found["native"], found["aligned"]
    gap = f"With each framework's defaults the gap is {points(native['mean'], signed=True)}"
    gap += f", with aligned settings {points(aligned['mean'], signed=True)}"
    if not found["defaults"]:
        return f"{gap}; the two frameworks' defaults are the same for this model and recipe."
    largest = max(found["defaults"], key=lambda row: abs(row["gap"]["mean"]))
    effect = largest["gap"]
    if effect["p_value"] is None:
        return (
            f"{gap}; {largest['title']} (`{largest['key']}`) moves it most, by {points(effect['mean'], signed=True)}, "
            "but one pair cannot tell that from chance."
        )
    clear = [row for row in found["defaults"] if row["gap"]["holm_p"] < LEVEL]
    if not clear:
        return f"{gap}; no single default is seen to move it by more than chance."
    largest = max(clear, key=lambda row: abs(row["gap"]["mean"]))
    effect = largest["gap"]
    return (
        f"{gap}; the default that moves it most is {largest['title']} (`{largest['key']}`): "
        f"{points(effect['mean'], signed=True)} ({span(effect)}; p = {effect['holm_p']:.2g} by Holm's correction)."
    )


def _row(found: Accuracies, default: Default, setup: Setup, resolution: float) -> dict[str, Any]:
    base, switched = found[ALIGNED], found[default.key]
    gains = {engine: np.subtract(switched[engine], base[engine]) for engine in default.values}
    nothing = np.zeros(len(gains["torch"]))
    # A framework whose default is the aligned value has the same runs in both arms: nothing is rounded there.
    steps = {engine: 0.0 if default.switch(setup, engine) == setup else resolution for engine in gains}
    return {
        "key": default.key,
        "title": default.title,
        "values": list(default.values.values()),
        "effects": [_difference(nothing, gains[engine], steps[engine]) for engine in gains],
        "gap": _difference(*_by_engine(gains), resolution),
    }


def _by_engine(values: Mapping[str, Any]) -> tuple[Any, Any]:
    return values["torch"], values["tensorflow"]


def _difference(first_s: Any, second_s: Any, resolution: float) -> dict[str, Any]:
    """Mean and interval of second minus first; for a single pair, the difference alone."""
    found = difference_json(first_s, second_s, resolution)
    if found is None:
        return {"mean": float(second_s[0] - first_s[0]), "low": None, "high": None, "p_value": None}
    return {key: found[key] for key in ("mean", "low", "high", "p_value")}
