"""Charts of what trials chose and what that costs: hyperparameters with their importance, and the front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.figures import Chart, Row
from diptych.reports.figures_trials import (
    LEFT,
    WIDE,
    Study,
    Trial,
    about,
    clipped,
    final_scale,
    measured,
    names,
    staircase,
    thread,
)
from diptych.reports.svg import Scale

COSTS = {"latency_ms": "latency of one image (ms)", "flops": "FLOPs per image"}
MAX_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic scale, or one of choices; `ticks` are places on `scale`."""

    name: str
    scale: Scale
    warp: Callable[[Any], float]
    ticks: Sequence[float]
    label: Callable[[float], str]

    def __call__(self, value: Any) -> float:
        """Return the coordinate of a value; values beyond an end are placed at that end."""
        low, high = sorted((self.scale.start, self.scale.end))
        return min(max(self.scale(self.warp(value)), low), high)


def setting(value: Any) -> str:
    """Format the value of a hyperparameter: 0.0041, 1e-5, adamw."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.4g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    """Format a number on an axis: 0.02, 64, 12M."""
    units = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, suffix = next((unit for unit in units if abs(value) >= unit[0]), (1, "")) if abs(value) >= 1e4 else (1, "")
    return f"{setting(value / size)}{suffix}"


def axis_of(parameter: Mapping[str, Any], trials: Sequence[Trial], start: float, end: float) -> Axis:
    """Return the axis of a hyperparameter; it contains the values of these trials."""
    name = parameter["name"]
    values = [trial["params"][name] for trial in trials if name in trial["params"]]
    if parameter["kind"] != "choice":
        ends = [parameter["low"], parameter["high"], *values]
        return _number_axis(name, ends, bool(parameter.get("log")), parameter["kind"] == "int", start, end)
    choices = list(parameter["choices"])
    for value in values:
        choices += [] if value in choices else [value]
    scale = Scale(-0.5, len(choices) - 0.5, start, end)
    return Axis(name, scale, choices.index, range(len(choices)), lambda place: setting(choices[int(place)]))


def _number_axis(
    name: str, values: Sequence[float], is_log: bool, is_whole: bool, start: float, end: float, margin: float = 0.0
) -> Axis:
    """Return an axis from the smallest to the largest value, with a margin relative to its length."""
    is_log = is_log and min(values) > 0
    low, high = (math.log10(value) if is_log else float(value) for value in (min(values), max(values)))
    more = margin * (high - low) if high > low else abs(low) / 2 or 0.5
    scale = Scale(low - more, high + more, start, end)
    if not is_log:
        ticks = [tick for tick in scale.ticks(MAX_TICKS) if not is_whole or abs(tick - round(tick)) < 1e-9]
        return Axis(name, scale, float, ticks, _short)
    powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    bases = (1, 2, 5) if scale.high - scale.low <= 2 else (1,)
    grid = [power + math.log10(base) for power in powers for base in bases]
    if is_whole:
        grid = [power * math.log10(2) for power in range(64)]
    ticks = [tick for tick in grid if scale.low - 1e-9 <= tick <= scale.high + 1e-9]
    step = max(1, math.ceil(len(ticks) / MAX_TICKS))
    return Axis(name, scale, math.log10, ticks[::step], lambda tick: _short(10**tick))


def parallel(study: Study, width: float) -> Markup:
    """Draw an axis for each hyperparameter and one for the accuracy: upright, or level on a phone."""
    trials, space, is_wide = measured(study), study["space"], width == WIDE
    first, gap = (30.0, (width - 110) / len(space)) if is_wide else (26.0, 58.0)
    start, end, unset = (336.0, 56.0, 354.0) if is_wide else (50.0, width - 22, 16.0)
    axes = [axis_of(parameter, trials, start, end) for parameter in space]
    scale = final_scale(trials, start, end)
    axes.append(Axis("accuracy", scale, float, scale.ticks(MAX_TICKS), svg.percent))
    marks = []
    for trial in trials:
        places = [_place(axis, trial, unset) for axis in axes[:-1]]
        path = _path([*places, axes[-1](trial["accuracy"])], first, gap, is_wide)
        tip = "\n".join([about(trial), *(f"{name} {setting(value)}" for name, value in trial["params"].items())])
        look = thread(trial, scale, study["best"])
        marks.append(svg.mark(tip, svg.tag("path", d=path, class_="reach"), svg.tag("path", d=path, class_=look)))
    parts = []
    for number, axis in enumerate(axes):
        is_unset = number < len(space) and any(axis.name not in trial["params"] for trial in trials)
        ticks = [(axis.scale(tick), axis.label(tick)) for tick in axis.ticks] + [(unset, "unset")] * is_unset
        parts.append((_upright if is_wide else _level)(axis, ticks, number, first + gap * number, gap))
    return svg.drawing(
        "Hyperparameters and accuracy of each trial",
        f"{wording.plural(len(trials), 'trial')}; the table of all trials has the values.",
        width,
        366.0 if is_wide else first + gap * len(space) + 30,
        *marks,
        svg.tag("g", *parts, class_="over"),
    )


def _place(axis: Axis, trial: Trial, unset: float) -> float:
    """Return the coordinate of a trial on an axis; trials with the same choice are set apart."""
    if axis.name not in trial["params"]:
        return unset
    apart = 0.0
    if isinstance(axis.ticks, range):
        step = (axis.scale.end - axis.scale.start) / len(axis.ticks)
        apart = 0.5 * step * (0.618 * trial["number"] % 1 - 0.5)
    return axis(trial["params"][axis.name]) + apart


def _path(places: Sequence[float], first: float, gap: float, is_wide: bool) -> str:
    """Return a curve from axis to axis."""
    pieces = []
    for number, (one, two) in enumerate(pairwise(places)):
        main = first + gap * number
        points = (main, one), (main + gap / 2, one), (main + gap / 2, two), (main + gap, two)
        a, b, c, d = (f"{x:.1f} {y:.1f}" if is_wide else f"{y:.1f} {x:.1f}" for x, y in points)
        pieces.append(f"{'' if number else f'M{a}'}C{b} {c} {d}")
    return "".join(pieces)


def _upright(axis: Axis, ticks: Sequence[tuple[float, str]], number: int, x: float, gap: float) -> Markup:
    """Draw an upright axis; the names of neighbors are on two lines."""
    parts = [svg.line(x, axis.scale.start, x, axis.scale.end, "axis")]
    name = clipped(axis.name, gap / 4 if number else (x + gap) / 7.5)
    parts.append(svg.words(x, 16 + 20 * (number % 2), name) if number else svg.words(0, 16, name, "start"))
    for y, label in ticks:
        parts += [svg.line(x - 3, y, x + 3, y, "axis"), svg.words(x + 6, y + 4, clipped(label, gap / 7.5), "start")]
    return Markup("").join(parts)


def _level(axis: Axis, ticks: Sequence[tuple[float, str]], number: int, y: float, gap: float) -> Markup:
    """Draw a level axis, its name above it."""
    start, end = axis.scale.start, axis.scale.end
    parts = [
        svg.line(start, y, end, y, "axis"),
        svg.words(start, y - 8, clipped(axis.name, (end - start) / 7.5), "start"),
    ]
    most = (end - start) / max(len(axis.ticks), 1) / 7.5
    for x, label in ticks:
        parts += [svg.line(x, y - 3, x, y + 3, "axis"), svg.words(x, y + 16, clipped(label, most))]
    return Markup("").join(parts)


def importance(study: Study) -> Chart:
    """Draw a bar for the importance of each hyperparameter."""
    across = Scale(0, max(share for _, share in study["importance"]) or 1.0, 0, 99)
    rows = []
    for name, share in study["importance"]:
        bar = svg.rectangle(0, 0, f"{across(share):.2f}%", 14, "bar")
        strip = svg.tag("svg", bar, width="100%", height=14, class_="strip", **svg.HIDDEN)
        rows.append(Row(name, wording.percent(share, 1), strip, "is-purple"))
    return Chart("Importance", rows)


def cost_of(study: Study) -> str | None:
    """Return what the front's horizontal axis shows: latency, or FLOPs if no trial has one."""
    return next((key for key in COSTS if _placed(study, key)), None)


def finished(study: Study) -> list[Trial]:
    """Return the trials that were trained to their end."""
    return [trial for trial in study["trials"] if trial["state"] == "finished"]


def _placed(study: Study, cost: str) -> list[Trial]:
    """Return the finished trials that have a cost, the largest first."""
    placed = [t for t in finished(study) if None not in (t["accuracy"], t[cost], t["num_parameters"])]
    return sorted(placed, key=lambda trial: -trial["num_parameters"])


def front_of(study: Study, cost: str) -> list[Trial]:
    """Return the finished trials that no other one beats in accuracy, cost and size together, by cost."""
    placed = _placed(study, cost)
    keys = [(-trial["accuracy"], trial[cost], trial["num_parameters"]) for trial in placed]
    beaten = [any(a != b and all(x <= y for x, y in zip(a, b, strict=True)) for a in keys) for b in keys]
    front = [trial for trial, is_beaten in zip(placed, beaten, strict=True) if not is_beaten]
    return sorted(front, key=lambda trial: (trial[cost], -trial["accuracy"]))


def front(study: Study, width: float) -> Markup:
    """Draw accuracy against cost, with areas by size; the front is filled, and named as far as there is room."""
    cost = cost_of(study) or ""
    trials, best, right, bottom = _placed(study, cost), front_of(study, cost), width - 20, 280.0
    up, values = final_scale(trials, bottom, 26), [trial[cost] for trial in trials]
    axis = _number_axis(COSTS[cost], values, max(values) > 5 * min(values), False, LEFT, right, margin=0.04)
    points = {trial["number"]: (axis(trial[cost]), min(up(trial["accuracy"]), bottom)) for trial in trials}
    marks = []
    for trial in trials:
        place = points[trial["number"]]
        radius = 12 * math.sqrt(trial["num_parameters"] / (trials[0]["num_parameters"] or 1))
        dot = svg.dot("circle", *place, radius, "dot size front" if trial in best else "dot size")
        size = f"{trial[cost]:,.6g} {COSTS[cost]}\n{wording.count(trial['num_parameters'])} parameters"
        marks.append(svg.mark(f"{about(trial)}\n{size}", dot, svg.dot("circle", *place, 8, "hit")))
    return svg.drawing(
        f"Accuracy against {COSTS[cost]}; areas are numbers of parameters",
        f"{wording.plural(len(trials), 'trial')}, {len(best)} on the front.",
        width,
        bottom + 42,
        svg.left_axis(up, LEFT, right, svg.percent),
        svg.bottom_axis(axis.scale, axis.ticks, bottom, axis.label, axis.name),
        svg.polyline(staircase([points[trial["number"]] for trial in best]), "line best-line"),
        svg.tag("g", *marks, class_="is-purple"),
        names([(*points[trial["number"]], str(trial["number"])) for trial in reversed(best)], right, bottom),
    )
