"""Bars of costs, a strip of dots for a class, and a map of confusions too many to write out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.confusions import LEVELS, Confusion, level
from diptych.reports.sides import Side
from diptych.reports.svg import Scale

WIDTH = 340.0
TOP, ROW = 46.0, 46.0


def cost_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """One panel a cost: a bar for each side's median, a whisker from the smallest to the largest."""
    return [_cost(place, cost, sides) for place, cost in enumerate(comparison["costs"])]


def _cost(place: int, cost: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    known = [value for name in ("medians", "high") for value in cost[name] if value is not None]
    across = Scale(0, max(known, default=1.0) or 1.0, 0, WIDTH - 2)
    height = TOP + ROW * len(sides)
    bars = [_bar(side, cost, across, TOP + ROW * side.index) for side in sides]
    said = [f"{side.name} {wording.quantity(cost['medians'][side.index], cost['unit'])}" for side in sides]
    heading = wording.headed(cost["title"])
    parts = [
        svg.words(0, 14, wording.shortened(heading, svg.fits(heading, WIDTH, 14.5)), class_="panel-title"),
        svg.words(0, 32, f"{cost['better']} is better", class_="tick"),
        *bars,
    ]
    picture = svg.drawing(f"cost-{place}", WIDTH, height, wording.headed(cost["title"]), "; ".join(said), *parts)
    return svg.tag("div", picture, class_="plot")


def _bar(side: Side, cost: Mapping[str, Any], across: Scale, y: float) -> Markup:
    median, low, high = (cost[name][side.index] for name in ("medians", "low", "high"))
    said = wording.quantity(median, cost["unit"])
    name = wording.shortened(side.name, svg.fits(side.name, WIDTH - 16 - 7 * len(said)))
    texts = svg.words(0, y + 14, name) + svg.words(WIDTH, y + 14, said, anchor="end", class_="value")
    if median is None:
        return texts
    middle = y + 28
    parts = [svg.rectangle(0, y + 20, across(median), 16, "bar")]
    tip = f"{side.name}: {said}"
    if low is not None and high is not None and low < high:
        tip += f" ({wording.quantities(low, high, cost['unit'])})"
        parts.append(svg.line(across(low), middle, across(high), middle, "whisker"))
        parts += [svg.line(across(end), middle - 4, across(end), middle + 4, "whisker") for end in (low, high)]
    return texts + svg.mark(tip, *parts, class_=f"mark {side.colour}")


STRIP_STEP = 7
TICKS = 6
DEEPER = 3
"""Levels of colour that a map adds to a written matrix: its cells are tiny."""
CLOSE = 30
"""Percent of a strip that lie between written values at least."""


def strip_scale(per_class: Sequence[Mapping[str, Any]]) -> Scale:
    """F1 to percent of a strip's width: from a round value below the least to one."""
    values = [value for entry in per_class for runs in entry["f1_seeds"] for value in runs]
    values += [value for entry in per_class for value in entry["f1"]]
    least = min(values, default=0.0)
    span = max(1 - least, 0.02)
    step = 0.1 if span > 0.3 else 0.05 if span > 0.1 else 0.01
    low = max(0.0, math.floor((1 - span) / step - 0.2) * step)
    return Scale(low, 1.0, 2.0, 98.0)


def strip_axis(across: Scale) -> Markup:
    """The values of a column of strips."""
    ticks = across.ticks(TICKS)
    digits = max(svg.decimals(ticks) - 2, 0)
    texts: list[Markup] = []
    last = math.inf
    for tick in reversed(ticks):
        if last - across(tick) < CLOSE:
            continue
        last = across(tick)
        anchor = "end" if across(tick) > 90 else "start" if across(tick) < 10 else "middle"
        texts.append(
            svg.tag(
                "text", wording.percent(tick, digits), x=f"{across(tick):.2f}%", y=13, text_anchor=anchor, class_="tick"
            )
        )
    return svg.tag("svg", *texts, width="100%", height=18, class_="strip", aria_hidden="true", focusable="false")


def strip(entry: Mapping[str, Any], across: Scale, sides: Sequence[Side]) -> Markup:
    """A class: each side's mean F1 as a dot on the line from its lowest to its highest seed."""
    height = 12 + STRIP_STEP * len(sides)
    grid = [_upright(f"{across(tick):.2f}%", height) for tick in across.ticks(TICKS)]
    ends = [across(value) for value in entry["f1"]]
    link = _level(min(ends), max(ends), height / 2, "link")
    marks = []
    for side in sides:
        y = 6 + STRIP_STEP * (side.index + 0.5)
        runs = entry["f1_seeds"][side.index] or [entry["f1"][side.index]]
        dot = svg.tag(
            "svg", svg.dot(side.shape, 0, 0, 4.5), x=f"{across(entry['f1'][side.index]):.2f}%", y=y, overflow="visible"
        )
        bar = _level(across(min(runs)), across(max(runs)), y, "cap")
        marks.append(svg.tag("g", bar, dot, class_=side.colour))
    parts = [*grid, link, *marks]
    return svg.tag("svg", *parts, width="100%", height=height, class_="strip", aria_hidden="true", focusable="false")


def _upright(x: str, height: float) -> Markup:
    return svg.tag("line", x1=x, x2=x, y1=0, y2=height, class_="grid")


def _level(low: float, high: float, y: float, class_: str) -> Markup:
    return svg.tag("line", x1=f"{low:.2f}%", x2=f"{high:.2f}%", y1=y, y2=y, class_=class_)


def heat_map(confusion: Confusion, side: Side, frequent: Sequence[tuple[int, int]]) -> Markup:
    """A cell for each pair of true and predicted class; the darker, the larger the share of the true class.

    Args:
        confusion: counts with their shares.
        side: whose they are.
        frequent: pairs of true and predicted class that tell their count when pointed at.
    """
    size = len(confusion.counts)
    cells: dict[int, list[str]] = {}
    for row, column in np.argwhere(confusion.counts):
        if row != column:
            depth = min(level(confusion.shares[row, column]) + DEEPER, LEVELS)
            cells.setdefault(depth, []).append(f"M{column} {row}h1v1h-1z")
    right = "".join(f"M{place} {place}h1v1h-1z" for place in range(size))
    paths = [svg.tag("path", d="".join(found), class_=f"cell heat-{depth}") for depth, found in sorted(cells.items())]
    lit = [svg.tag("rect", x=0, y=0, width=w, height=h, class_=name) for name, w, h in _lit(size)]
    marks = [_cell(confusion, row, column) for row, column in frequent if confusion.counts[row, column]]
    description = f"{wording.count(confusion.right)} of {wording.count(confusion.total)} answers are right."
    frame = svg.tag("rect", x=0, y=0, width=size, height=size, class_="map-frame")
    diagonal = svg.tag("path", d=right, class_="cell diagonal-cells")
    title = f"Confusions of {side.name}; rows are true classes, columns what it said"
    picture = svg.drawing(f"map-{side.index}", size, size, title, description, frame, diagonal, *paths, *lit, *marks)
    return svg.tag("div", picture, class_="plot heat-map")


def _lit(size: int) -> list[tuple[str, int, int]]:
    return [("lit lit-row", size, 1), ("lit lit-column", 1, size)]


def _cell(confusion: Confusion, row: int, column: int) -> Markup:
    tip = f"{confusion.names[row]} taken for {confusion.names[column]}: {confusion.counts[row, column]} times"
    return svg.mark(tip, svg.rectangle(column, row, 1, 1, "hit"))
