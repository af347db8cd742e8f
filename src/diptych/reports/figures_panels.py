"""Charts with a panel for each quantity or side: training curves, reliability, and confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

WIDTH, HEIGHT = 380.0, 226.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 370.0, 8.0, 184.0
QUANTITIES = {
    "train_loss": ("Training loss", "nats"),
    "validation_loss": ("Validation loss", "nats"),
    "train_accuracy": ("Training accuracy", "share"),
    "validation_accuracy": ("Validation accuracy", "share"),
}
"""Title and unit of each curve."""
SQUARE, SQUARE_LEFT, SQUARE_WIDTH = 300.0, 60.0, 382.0
COUNTS_HEIGHT = 70.0
LEVELS = 10
MAP_LEVELS = 3
"""Levels of color that a map adds to a written matrix, because its cells are tiny."""


@dataclass(frozen=True)
class Point:
    """An epoch of one side, over its seeds."""

    epoch: int
    mean: float
    low: float
    high: float


Curve = Mapping[int, Point]
"""The points of one side, by epoch; epochs without a value are absent."""


def curves_of(comparison: Mapping[str, Any]) -> dict[str, list[Curve]]:
    """Return every side's curve of each quantity that was measured."""
    curves = {name: [_summarized(side, name) for side in comparison["curves"]] for name in QUANTITIES}
    return {name: sides for name, sides in curves.items() if any(sides)}


def _summarized(curves: Mapping[str, Any], quantity: str) -> Curve:
    """Return mean, minimum and maximum of each epoch over the seeds."""
    points = {}
    for epoch, *values in zip(curves["epochs"], *curves[quantity], strict=True):
        if known := [value for value in values if value is not None]:
            points[epoch] = Point(epoch, sum(known) / len(known), min(known), max(known))
    return points


def curve_panels(curves: Mapping[str, Sequence[Curve]], sides: Sequence[Side]) -> list[Markup]:
    """Draw a panel for each quantity; the losses share a scale, and so do the accuracies."""
    return [_panel(name, several, _scale(name, curves), sides) for name, several in curves.items()]


def _scale(quantity: str, curves: Mapping[str, Sequence[Curve]]) -> Scale:
    unit = QUANTITIES[quantity][1]
    alike = [one for name, several in curves.items() if QUANTITIES[name][1] == unit for one in several]
    ends = [end for one in alike for point in one.values() for end in (point.low, point.high)]
    scale = svg.scale(ends, BOTTOM, TOP, least=0.02)
    return replace(scale, high=min(scale.high, 1.005)) if unit == "share" else replace(scale, low=0.0)


def _panel(quantity: str, curves: Sequence[Curve], up: Scale, sides: Sequence[Side]) -> Markup:
    epochs = sorted(set().union(*curves))
    half = 0.5 if len(epochs) == 1 else 0.0
    across = Scale(epochs[0] - half, epochs[-1] + half, LEFT + 6, RIGHT - 6)
    ticks = [tick for tick in across.ticks(8) if abs(tick - round(tick)) < 1e-9]
    title, unit = QUANTITIES[quantity]
    ends = [
        f"{side.name} ends at {wording.size(curve[max(curve)].mean, unit)}" if curve else f"{side.name} has no values"
        for side, curve in zip(sides, curves, strict=True)
    ]
    picture = svg.drawing(
        f"{title} by epoch",
        "; ".join(ends),
        WIDTH,
        HEIGHT,
        svg.left_axis(up, LEFT, RIGHT, svg.percent if unit == "share" else "{:.6g}".format),
        svg.bottom_axis(across, ticks, BOTTOM, "{:.0f}".format, "epoch"),
        *(_curve(side, curve, across, up) for side, curve in zip(sides, curves, strict=True)),
        *_columns(unit, epochs, curves, across, sides),
    )
    return _titled(title, picture)


def _titled(title: str, picture: Markup) -> Markup:
    return svg.tag("div", svg.tag("p", title, class_="panel-title"), picture, class_="panel")


def _curve(side: Side, curve: Curve, across: Scale, up: Scale) -> Markup:
    """Draw each stretch between missing epochs: a band from minimum to maximum, a line of means, and a few dots."""
    parts: list[Markup] = []
    for _, stretch in groupby(enumerate(curve.values()), key=lambda item: item[1].epoch - item[0]):
        points = [point for _, point in stretch]
        highs, lows, means = (
            [(across(point.epoch), up(getattr(point, name))) for point in points] for name in ("high", "low", "mean")
        )
        if len(points) == 1:
            parts.append(svg.line(*highs[0], *lows[0], "cap"))
        else:
            parts += [svg.polyline([*highs, *reversed(lows)], "band"), svg.polyline(means, "line", side.dash)]
        parts += [svg.dot(side.shape, x, y, 3.5) for x, y in means[:: -max(1, len(points) // 6)]]
    return svg.tag("g", *parts, class_=side.color)


def _columns(
    unit: str, epochs: Sequence[int], curves: Sequence[Curve], across: Scale, sides: Sequence[Side]
) -> list[Markup]:
    """Draw an invisible column per epoch whose tooltip shows all sides' values."""
    width = (across.end - across.start) / max(len(epochs) - 1, 1)
    columns = []
    for epoch in epochs:
        lines = [f"Epoch {epoch}"]
        for side, curve in zip(sides, curves, strict=True):
            if point := curve.get(epoch):
                mean, low, high = (wording.size(value, unit) for value in (point.mean, point.low, point.high))
                lines.append(f"{side.name} {mean}{f' ({low} to {high})' if low != high else ''}")
        middle = across(epoch)
        left, right = max(middle - width / 2, LEFT), min(middle + width / 2, RIGHT)
        rule = svg.line(middle, TOP, middle, BOTTOM, "rule")
        columns.append(svg.mark("\n".join(lines), rule, svg.rectangle(left, TOP, right - left, BOTTOM - TOP, "hit")))
    return columns


def reliability_panel(side: Side, bins: Mapping[str, Any]) -> Markup:
    """Draw a side's accuracy against its confidence, and below it the number of predictions."""
    left, right, bottom = SQUARE_LEFT, SQUARE_LEFT + SQUARE, TOP + SQUARE
    foot = bottom + 26 + COUNTS_HEIGHT
    across, up = Scale(0, 1, left, right), Scale(0, 1, bottom, TOP)
    error = wording.percent(bins["expected_calibration_error"])
    picture = svg.drawing(
        f"Reliability of {side.name}",
        f"Expected calibration error {error} over {wording.count(sum(bins['counts']))} predictions.",
        SQUARE_WIDTH,
        foot + 42,
        svg.left_axis(up, left, right, svg.percent),
        svg.line(across(0), up(0), across(1), up(1), "diagonal"),
        svg.line(left, bottom, right, bottom, "axis"),
        svg.tag("g", *_bins(side, bins, across, up, foot), class_=side.color),
        svg.bottom_axis(across, across.ticks(6), foot, svg.percent, "probability of the predicted class"),
        svg.words(left - 7, foot - COUNTS_HEIGHT / 2 + 4, "count", "end"),
    )
    return _titled(f"{side.name}: expected error {error}", picture)


def _bins(side: Side, bins: Mapping[str, Any], across: Scale, up: Scale, foot: float) -> list[Markup]:
    most = max(bins["counts"])
    marks = []
    for (low, high), count, confidence, accuracy in zip(
        pairwise(bins["edges"]), bins["counts"], bins["confidence"], bins["accuracy"], strict=True
    ):
        if not count:
            continue
        x, y, tall = across(confidence), up(accuracy), COUNTS_HEIGHT * count / most
        tip = (
            f"Probability {wording.percent(low, 0)} to {wording.percent(high, 0)}, on average "
            f"{wording.percent(confidence, 1)}: {wording.percent(accuracy, 1)} of {wording.count(count)} correct"
        )
        bar = svg.rectangle(across(low) + 1, foot - tall, across(high) - across(low) - 2, tall, "bar")
        dot = svg.dot(side.shape, x, y, 2.2 + 3.3 * (count / most) ** 0.5)
        marks.append(svg.mark(tip, bar, svg.line(x, up(confidence), x, y, "gap"), dot))
    return marks


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of one side: counts, (num_classes, num_classes), rows are true classes."""

    counts: np.ndarray

    @cached_property
    def shares(self) -> np.ndarray:
        """Shares of the true class."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1))

    def level(self, row: int, column: int) -> int:
        """Return a cell's color, 0 to 10, by the square root of its share, because small shares are the mistakes."""
        return math.ceil(LEVELS * math.sqrt(self.shares[row, column]) - 1e-9)

    def cell_class(self, row: int, column: int) -> str:
        """Return the CSS class of a cell of a written matrix."""
        if row == column:
            return f"right-{max(1, math.ceil(5 * self.shares[row, column]))}"
        return f"heat-{self.level(row, column)}"


def frequent_mistakes(confusions: Sequence[Confusion], most: int) -> list[tuple[int, int, list[int]]]:
    """Return the most frequent mistakes of all sides: true class, predicted class, and each side's count."""
    total = np.sum([confusion.counts for confusion in confusions], axis=0)
    np.fill_diagonal(total, 0)
    order = np.argsort(-total, axis=None, kind="stable")[:most]
    cells = [divmod(int(place), len(total)) for place in order if total.flat[place]]
    return [(row, column, [int(one.counts[row, column]) for one in confusions]) for row, column in cells]


def heat_map(
    confusion: Confusion, side: Side, class_names: Sequence[str], frequent: Sequence[tuple[int, int]]
) -> Markup:
    """Draw a confusion matrix as a map; the cells of `frequent` (true, predicted) classes show their count."""
    counts = confusion.counts
    size = len(counts)
    cells: dict[int, list[str]] = {}
    for row, column in np.argwhere(counts):
        if row != column:
            level = min(confusion.level(row, column) + MAP_LEVELS, LEVELS)
            cells.setdefault(level, []).append(f"M{column} {row}h1v1h-1z")
    diagonal = "".join(f"M{place} {place}h1v1h-1z" for place in range(size))
    marks = []
    for row, column in frequent:
        if count := counts[row, column]:
            tip = f"{class_names[row]} predicted as {class_names[column]}: {count} times"
            marks.append(svg.mark(tip, svg.rectangle(column, row, 1, 1, "hit")))
    return svg.drawing(
        f"Confusion matrix of {side.name}; rows are true classes, columns are predictions",
        f"{wording.count(counts.trace())} of {wording.count(counts.sum())} predictions are correct.",
        size,
        size,
        svg.rectangle(0, 0, size, size, "map-frame"),
        svg.tag("path", d=diagonal, class_="cell diagonal-cells"),
        *(svg.tag("path", d="".join(paths), class_=f"cell heat-{level}") for level, paths in sorted(cells.items())),
        svg.rectangle(0, 0, size, 1, "lit lit-row"),
        svg.rectangle(0, 0, 1, size, "lit lit-column"),
        *marks,
        kind="heat-map",
    )
