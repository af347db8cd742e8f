"""Charts with a panel for each quantity or side: training curves, reliability, and confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

WIDTH, HEIGHT = 380.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 370.0, 34.0, 208.0
TITLES = {
    "train_loss": "Training loss",
    "validation_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "validation_accuracy": "Validation accuracy",
}
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


Curve = Sequence[Point | None]


def summarized(curves: Mapping[str, Any], quantity: str) -> list[Point | None]:
    """Return mean, minimum and maximum of each epoch over the seeds; None where nothing was measured."""
    points: list[Point | None] = []
    for place, epoch in enumerate(curves["epochs"]):
        values = [run[place] for run in curves[quantity] if place < len(run) and run[place] is not None]
        points.append(Point(epoch, sum(values) / len(values), min(values), max(values)) if values else None)
    return points


def curve_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """Draw loss and accuracy in training and, if measured, in validation."""
    panels = []
    for measure in ("loss", "accuracy"):
        quantities = [f"{split}_{measure}" for split in ("train", "validation")]
        by_quantity = {name: [summarized(curves, name) for curves in comparison["curves"]] for name in quantities}
        known = [point for curves in by_quantity.values() for curve in curves for point in curve if point]
        if not known:
            continue
        up = svg.scale([value for point in known for value in (point.low, point.high)], BOTTOM, TOP, least=0.02)
        low, high = (0.0, up.high) if measure == "loss" else (up.low, min(up.high, 1.005))
        up = Scale(low, high, BOTTOM, TOP)
        panels += [_panel(name, curves, up, sides) for name, curves in by_quantity.items() if any(map(any, curves))]
    return panels


def _panel(quantity: str, curves: Sequence[Curve], up: Scale, sides: Sequence[Side]) -> Markup:
    epochs = sorted({point.epoch for curve in curves for point in curve if point})
    half = 0.5 if len(epochs) == 1 else 0.0
    across = Scale(epochs[0] - half, epochs[-1] + half, LEFT + 6, RIGHT - 6)
    known = [[point for point in curve if point] for curve in curves]
    ends = [
        f"{side.name} ends at {_value(quantity, points[-1].mean)}" if points else f"{side.name} has no measurements"
        for side, points in zip(sides, known, strict=True)
    ]
    picture = svg.drawing(
        f"curve-{quantity.replace('_', '-')}",
        WIDTH,
        HEIGHT,
        f"{TITLES[quantity]} by epoch",
        "; ".join(ends),
        svg.words(0, 16, TITLES[quantity], class_="panel-title"),
        svg.left_axis(up, LEFT, RIGHT, _share if quantity.endswith("accuracy") else _decimal),
        *_epoch_axis(across, epochs),
        *(_curve(side, curve, across, up) for side, curve in zip(sides, curves, strict=True)),
        *_columns(quantity, epochs, known, across, sides),
    )
    return svg.plot(picture)


def _share(tick: float, digits: int) -> str:
    return wording.percent(tick, max(digits - 2, 0))


def _decimal(tick: float, digits: int) -> str:
    return f"{tick:.{digits}f}"


def _value(quantity: str, value: float) -> str:
    return wording.size(value, "share" if quantity.endswith("accuracy") else "nats")


def _epoch_axis(across: Scale, epochs: Sequence[int]) -> list[Markup]:
    ticks = [tick for tick in svg.round_values(epochs[0] - 0.01, epochs[-1] + 0.01, 8) if tick == int(tick)]
    ticks = ticks if len(ticks) > 1 else [float(epoch) for epoch in dict.fromkeys((epochs[0], epochs[-1]))]
    return [
        svg.line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"),
        *(svg.line(across(tick), BOTTOM, across(tick), BOTTOM + 4, "axis") for tick in ticks),
        *(svg.words(across(tick), BOTTOM + 17, f"{tick:.0f}", anchor="middle", class_="tick") for tick in ticks),
        svg.words((LEFT + RIGHT) / 2, HEIGHT - 6, "epoch", anchor="middle", class_="tick"),
    ]


def _curve(side: Side, curve: Curve, across: Scale, up: Scale) -> Markup:
    """Draw one side: each stretch between missing epochs on its own, so that gaps stay open."""
    parts: list[Markup] = []
    for _, stretch in groupby(curve, key=lambda point: point is not None):
        if points := [point for point in stretch if point]:
            parts += _stretch(side, points, across, up)
    return svg.tag("g", *parts, class_=side.color)


def _stretch(side: Side, points: Sequence[Point], across: Scale, up: Scale) -> list[Markup]:
    """Draw a band from minimum to maximum, a line of means, and a few dots in the side's shape."""
    chosen = points[:: -max(1, len(points) // 6)]
    dots = [svg.dot(side.shape, across(point.epoch), up(point.mean), 3.5) for point in chosen]
    if len(points) == 1:
        x = across(points[0].epoch)
        return [svg.line(x, up(points[0].low), x, up(points[0].high), "cap"), *dots]
    band = [(across(point.epoch), up(point.high)) for point in points]
    band += [(across(point.epoch), up(point.low)) for point in reversed(points)]
    means = [(across(point.epoch), up(point.mean)) for point in points]
    return [svg.polyline(band, "band"), svg.polyline(means, "line", side.dash), *dots]


def _columns(
    quantity: str, epochs: Sequence[int], known: Sequence[Sequence[Point]], across: Scale, sides: Sequence[Side]
) -> list[Markup]:
    """Draw an invisible column per epoch whose tooltip holds all sides' values."""
    width = (across.end - across.start) / max(len(epochs) - 1, 1)
    columns = []
    for epoch in epochs:
        lines = [f"Epoch {epoch}"]
        for side, points in zip(sides, known, strict=True):
            for point in points:
                if point.epoch == epoch:
                    ends = f" ({_value(quantity, point.low)} to {_value(quantity, point.high)})"
                    lines.append(f"{side.name} {_value(quantity, point.mean)}{ends if point.low != point.high else ''}")
        middle = across(epoch)
        left, right = max(middle - width / 2, LEFT), min(middle + width / 2, RIGHT)
        rule = svg.line(middle, TOP, middle, BOTTOM, "rule")
        columns.append(svg.mark("\n".join(lines), rule, svg.rectangle(left, TOP, right - left, BOTTOM - TOP, "hit")))
    return columns


def reliability_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """Draw each side's accuracy against its confidence, and below it the number of predictions."""
    return [_reliability(side, bins) for side, bins in zip(sides, comparison["reliability"], strict=True)]


def _reliability(side: Side, bins: Mapping[str, Any]) -> Markup:
    left, right, bottom = SQUARE_LEFT, SQUARE_LEFT + SQUARE, TOP + SQUARE
    foot = bottom + 26 + COUNTS_HEIGHT
    across, up = Scale(0, 1, left, right), Scale(0, 1, bottom, TOP)
    error = wording.percent(bins["expected_calibration_error"])
    name = svg.fitted(side.name, SQUARE_WIDTH - len(f": expected error {error}") * 14 * svg.LETTER, 14)
    picture = svg.drawing(
        f"reliability-{side.index}",
        SQUARE_WIDTH,
        foot + 42,
        f"Reliability of {side.name}",
        f"Expected calibration error {error} over {wording.count(sum(bins['counts']))} predictions.",
        svg.words(0, 16, f"{name}: expected error {error}", class_="panel-title"),
        svg.left_axis(up, left, right, _share),
        svg.line(across(0), up(0), across(1), up(1), "diagonal"),
        svg.line(left, bottom, right, bottom, "axis"),
        svg.tag("g", *_bins(side, bins, across, up, foot), class_=side.color),
        svg.bottom_axis(across, foot, foot, 6, _share),
        svg.line(left, foot, right, foot, "axis"),
        svg.words(left - 7, foot - COUNTS_HEIGHT / 2 + 4, "count", anchor="end", class_="tick"),
        svg.words((left + right) / 2, foot + 34, "probability of the predicted class", anchor="middle", class_="tick"),
    )
    return svg.plot(picture)


def _bins(side: Side, bins: Mapping[str, Any], across: Scale, up: Scale, foot: float) -> list[Markup]:
    edges, counts = bins["edges"], bins["counts"]
    marks = []
    for place, count in enumerate(counts):
        if not count:
            continue
        left, right = across(edges[place]), across(edges[place + 1])
        confidence, accuracy = bins["confidence"][place], bins["accuracy"][place]
        x, y, share = across(confidence), up(accuracy), count / max(counts)
        tall = COUNTS_HEIGHT * share
        tip = (
            f"Probability {wording.percent(edges[place], 0)} to {wording.percent(edges[place + 1], 0)}, on average "
            f"{wording.percent(confidence, 1)}: {wording.percent(accuracy, 1)} of {wording.count(count)} correct"
        )
        bar = svg.rectangle(left + 1, foot - tall, right - left - 2, tall, "bar")
        gap = svg.line(x, up(confidence), x, y, "gap")
        marks.append(svg.mark(tip, bar, gap, svg.dot(side.shape, x, y, 2.2 + 3.3 * share**0.5)))
    return marks


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of one side: counts and shares of the true class, (num_classes, num_classes)."""

    counts: np.ndarray
    shares: np.ndarray

    def level(self, row: int, column: int) -> int:
        """Return a cell's color, 0 to 10, by the square root of its share, because small shares are the mistakes."""
        return math.ceil(LEVELS * math.sqrt(self.shares[row, column]) - 1e-9)

    def cell_class(self, row: int, column: int) -> str:
        """Return the CSS class of a cell of a written matrix."""
        if row == column:
            return f"right-{max(1, math.ceil(5 * self.shares[row, column]))}"
        return f"heat-{self.level(row, column)}"


def confusions_of(comparison: Mapping[str, Any]) -> list[Confusion]:
    """Return every side's confusion matrix."""
    matrices = [np.asarray(matrix) for matrix in comparison["confusion"]]
    return [Confusion(matrix, matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)) for matrix in matrices]


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
    picture = svg.drawing(
        f"map-{side.index}",
        size,
        size,
        f"Confusion matrix of {side.name}; rows are true classes, columns are predictions",
        f"{wording.count(counts.trace())} of {wording.count(counts.sum())} predictions are correct.",
        svg.rectangle(0, 0, size, size, "map-frame"),
        svg.tag("path", d=diagonal, class_="cell diagonal-cells"),
        *(svg.tag("path", d="".join(paths), class_=f"cell heat-{level}") for level, paths in sorted(cells.items())),
        svg.rectangle(0, 0, size, 1, "lit lit-row"),
        svg.rectangle(0, 0, 1, size, "lit lit-column"),
        *marks,
    )
    return svg.plot(picture, "heat-map")
