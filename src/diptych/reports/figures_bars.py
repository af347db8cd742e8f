"""Bars of costs, strips of dots per class, and confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

WIDTH = 340.0
TOP, ROW = 46.0, 46.0
STRIP_ROW = 7
MAX_TICKS = 6
MIN_LABEL_DISTANCE = 30
"""Between labels of a strip's axis, as a percentage of its width."""
LEVELS = 10
MAP_LEVELS = 3
"""Levels of colour that a map adds to a written matrix, because its cells are tiny."""


def cost_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """Draw one panel per cost: a bar for each side's median, with a whisker from the smallest to the largest value."""
    return [_cost(place, cost, sides) for place, cost in enumerate(comparison["costs"])]


def _cost(place: int, cost: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    known = [value for name in ("medians", "high") for value in cost[name] if value is not None]
    across = Scale(0, max(known, default=1.0) or 1.0, 0, WIDTH - 2)
    title = wording.headed(cost["title"])
    values = [f"{side.name} {wording.quantity(cost['medians'][side.index], cost['unit'])}" for side in sides]
    picture = svg.drawing(
        f"cost-{place}",
        WIDTH,
        TOP + ROW * len(sides),
        title,
        "; ".join(values),
        svg.words(0, 14, svg.fitted(title, WIDTH, 14.5), class_="panel-title"),
        svg.words(0, 32, f"{cost['better']} is better", class_="tick"),
        *(_bar(side, cost, across, TOP + ROW * side.index) for side in sides),
    )
    return svg.plot(picture)


def _bar(side: Side, cost: Mapping[str, Any], across: Scale, y: float) -> Markup:
    median, low, high = (cost[name][side.index] for name in ("medians", "low", "high"))
    value = wording.quantity(median, cost["unit"])
    name = svg.fitted(side.name, WIDTH - 16 - 7 * len(value))
    texts = svg.words(0, y + 14, name) + svg.words(WIDTH, y + 14, value, anchor="end", class_="value")
    if median is None:
        return texts
    middle = y + 28
    parts = [svg.rectangle(0, y + 20, across(median), 16, "bar")]
    tip = f"{side.name}: {value}"
    if low is not None and high is not None and low < high:
        tip += f" ({wording.quantities(low, high, cost['unit'])})"
        parts.append(svg.line(across(low), middle, across(high), middle, "whisker"))
        parts += [svg.line(across(end), middle - 4, across(end), middle + 4, "whisker") for end in (low, high)]
    return texts + svg.mark(tip, *parts, class_=f"mark {side.colour}")


def strip_scale(per_class: Sequence[Mapping[str, Any]]) -> Scale:
    """Return the scale from F1 to percent of a strip's width: from a round value below the smallest up to 1."""
    values = [value for entry in per_class for runs in [*entry["f1_seeds"], entry["f1"]] for value in runs]
    span = max(1 - min(values, default=0.0), 0.02)
    step = 0.1 if span > 0.3 else 0.05 if span > 0.1 else 0.01
    low = max(0.0, math.floor((1 - span) / step - 0.2) * step)
    return Scale(low, 1.0, 2.0, 98.0)


def strip_axis(across: Scale) -> Markup:
    """Draw the axis above a column of strips."""
    ticks = across.ticks(MAX_TICKS)
    digits = max(svg.decimals(ticks) - 2, 0)
    texts: list[Markup] = []
    last = math.inf
    for tick in reversed(ticks):
        x = across(tick)
        if last - x >= MIN_LABEL_DISTANCE:
            last = x
            anchor = "end" if x > 90 else "start" if x < 10 else "middle"
            text = wording.percent(tick, digits)
            texts.append(svg.tag("text", text, x=f"{x:.2f}%", y=13, text_anchor=anchor, class_="tick"))
    return _strip(18, *texts)


def strip(entry: Mapping[str, Any], across: Scale, sides: Sequence[Side]) -> Markup:
    """Draw one class: each side's mean F1 as a dot, on a line from its lowest to its highest seed."""
    height = 12 + STRIP_ROW * len(sides)
    grid = [(f"{across(tick):.2f}%",) * 2 for tick in across.ticks(MAX_TICKS)]
    parts = [svg.tag("line", x1=x1, x2=x2, y1=0, y2=height, class_="grid") for x1, x2 in grid]
    parts.append(_level(across, entry["f1"], height / 2, "link"))
    for side in sides:
        y = 6 + STRIP_ROW * (side.index + 0.5)
        mean = entry["f1"][side.index]
        place: dict[str, Any] = {"x": f"{across(mean):.2f}%", "y": y, "overflow": "visible"}
        dot = svg.tag("svg", svg.dot(side.shape, 0, 0, 4.5), **place)
        line = _level(across, entry["f1_seeds"][side.index] or [mean], y, "cap")
        parts.append(svg.tag("g", line, dot, class_=side.colour))
    return _strip(height, *parts)


def _strip(height: float, *parts: Markup) -> Markup:
    return svg.tag("svg", *parts, width="100%", height=height, class_="strip", aria_hidden="true", focusable="false")


def _level(across: Scale, values: Sequence[float], y: float, class_: str) -> Markup:
    low, high = (f"{across(end(values)):.2f}%" for end in (min, max))
    return svg.tag("line", x1=low, x2=high, y1=y, y2=y, class_=class_)


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of one side: counts and shares of the true class, (num_classes, num_classes)."""

    counts: np.ndarray
    shares: np.ndarray

    @property
    def num_right(self) -> int:
        """Number of correct predictions."""
        return int(self.counts.trace())

    @property
    def total(self) -> int:
        """Number of predictions."""
        return int(self.counts.sum())

    def level(self, row: int, column: int) -> int:
        """Return a cell's colour, 0 to 10, by the square root of its share, because small shares are the mistakes."""
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
    """Draw a confusion matrix as a map, the darker the larger the share of the true class.

    Args:
        confusion: counts and shares.
        side: the side it belongs to.
        class_names: one name per class.
        frequent: (true, predicted) classes whose cells show their count when pointed at.
    """
    size = len(confusion.counts)
    cells: dict[int, list[str]] = {}
    for row, column in np.argwhere(confusion.counts):
        if row != column:
            level = min(confusion.level(row, column) + MAP_LEVELS, LEVELS)
            cells.setdefault(level, []).append(f"M{column} {row}h1v1h-1z")
    diagonal = "".join(f"M{place} {place}h1v1h-1z" for place in range(size))
    marks = []
    for row, column in frequent:
        if count := confusion.counts[row, column]:
            tip = f"{class_names[row]} predicted as {class_names[column]}: {count} times"
            marks.append(svg.mark(tip, svg.rectangle(column, row, 1, 1, "hit")))
    picture = svg.drawing(
        f"map-{side.index}",
        size,
        size,
        f"Confusion matrix of {side.name}; rows are true classes, columns are predictions",
        f"{wording.count(confusion.num_right)} of {wording.count(confusion.total)} predictions are correct.",
        svg.rectangle(0, 0, size, size, "map-frame"),
        svg.tag("path", d=diagonal, class_="cell diagonal-cells"),
        *(svg.tag("path", d="".join(paths), class_=f"cell heat-{level}") for level, paths in sorted(cells.items())),
        svg.rectangle(0, 0, size, 1, "lit lit-row"),
        svg.rectangle(0, 0, 1, size, "lit lit-column"),
        *marks,
    )
    return svg.plot(picture, "heat-map")
