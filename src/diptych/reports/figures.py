"""Charts with a row for each value: differences, effects of defaults, costs, and strips of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

TOP, FOOT = 28.0, 40.0
COST_WIDTH, COST_TOP, COST_ROW = 340.0, 46.0, 46.0
STRIP_ROW = 7
MAX_TICKS = 3


@dataclass(frozen=True)
class Row:
    """One row of an interval chart: a heading with a note, dots with tooltips, or a mark with an interval."""

    label: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    color: str = "is-ink"
    shape: str = "circle"
    kind: str = "thick"
    dots: tuple[tuple[float, str], ...] = ()
    note: str = ""

    @property
    def values(self) -> list[float]:
        """All values that have to fit on the scale."""
        ends = [value for value in (self.mean, self.low, self.high) if value is not None]
        return [*ends, *(value for value, _ in self.dots)]

    @property
    def text(self) -> str:
        """The row's numbers, in points."""
        if self.mean is None:
            return ""
        if self.low is None or self.high is None:
            return wording.points(self.mean)
        return f"{wording.points(self.mean)} ({wording.points(self.low)} to {wording.points(self.high)})"


@dataclass(frozen=True)
class Layout:
    """Sizes of a chart for one page width."""

    kind: str
    width: float
    left: float
    right: float
    row: float

    def height(self, row: Row) -> float:
        """Return the height of a row."""
        return 34.0 if row.kind == "heading" else self.row


WIDE = Layout("wide", 760, 236, 592, 30)
NARROW = Layout("narrow", 360, 8, 352, 46)


def rows_chart(
    key: str, rows: Sequence[Row], *, title: str, description: str, ends: tuple[str, str], margin: float | None
) -> Markup:
    """Draw rows of intervals on one scale in points, once for wide pages and once for phones.

    `ends` label the left and the right of zero; sides within `margin` count as equal.
    """
    drawn = Markup()
    for layout in (WIDE, NARROW):
        bottom = TOP + sum(map(layout.height, rows))
        band = [] if margin is None else [-margin, margin]
        values = [0.0, *band, *(value for row in rows for value in row.values)]
        across = svg.scale(values, layout.left, layout.right, least=0.001)
        parts = [_background(across, layout, bottom, ends, margin)]
        y = TOP
        for row in rows:
            parts.append(_row(row, across, layout, y))
            y += layout.height(row)
        picture = svg.drawing(f"{key}-{layout.kind}", layout.width, bottom + FOOT, title, description, *parts)
        drawn += svg.plot(picture, f"only-{layout.kind}")
    return drawn


def _background(across: Scale, layout: Layout, bottom: float, ends: tuple[str, str], margin: float | None) -> Markup:
    left, right = (svg.fitted(text, (layout.right - layout.left) / 2 - 8) for text in ends)
    parts = [
        svg.words(layout.left, TOP - 12, left, class_="tick"),
        svg.words(layout.right, TOP - 12, right, anchor="end", class_="tick"),
    ]
    if margin is not None:
        low, high = across(-margin), across(margin)
        parts.append(svg.rectangle(low, TOP, high - low, bottom - TOP, "margin-band"))
        parts += [svg.line(place, TOP, place, bottom, "margin-edge") for place in (low, high)]
    most = 8 if layout is WIDE else 5
    parts += [
        svg.bottom_axis(across, TOP, bottom, most, lambda tick, digits: wording.points(tick, max(digits - 2, 0))),
        svg.line(across(0), TOP, across(0), bottom, "zero"),
        svg.words((layout.left + layout.right) / 2, bottom + 34, "percentage points", anchor="middle", class_="tick"),
    ]
    return Markup("").join(parts)


def _row(row: Row, across: Scale, layout: Layout, y: float) -> Markup:
    is_wide = layout is WIDE
    if row.kind == "heading":
        label = svg.fitted(row.label, layout.width - 16, 14.5)
        left = layout.width - (len(label) * 14.5 + len(row.note) * svg.TEXT_SIZE) * svg.LETTER
        note = svg.words(layout.width, y + 23, row.note, anchor="end", class_="tick") if left > 30 else Markup()
        return svg.words(0 if is_wide else 8, y + 23, label, class_="row-heading") + note
    middle = y + layout.row / 2 if is_wide else y + 32
    room = layout.left - 14 if is_wide else layout.width - 24 - len(row.text) * svg.TEXT_SIZE * svg.LETTER
    base, inset = (middle + 4, 0) if is_wide else (middle - 14, 8)
    texts = svg.words(inset, base, svg.fitted(row.label, room))
    texts += svg.words(layout.width - inset, base, row.text, anchor="end", class_="value")
    return Markup("").join([texts, *_marks(row, across, middle)])


def _marks(row: Row, across: Scale, y: float) -> list[Markup]:
    marks = [svg.mark(tip, svg.dot("circle", across(value), y, 4.5, "seed-dot")) for value, tip in row.dots]
    if row.mean is None:
        return marks
    parts = []
    if row.low is not None and row.high is not None:
        parts.append(svg.whisker(across(row.low), across(row.high), y, 5, f"interval {row.kind}", "cap"))
    parts.append(svg.dot(row.shape, across(row.mean), y, 5.5))
    return [*marks, svg.mark(f"{row.label}: {row.text} points", *parts, class_=f"mark {row.color}")]


def difference_chart(comparison: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    """Draw the difference in accuracy of each side from the first, with the margin and each seed's difference."""
    rows: list[Row] = []
    for contrast in comparison["contrasts"]:
        rows += _contrast_rows(contrast, comparison["pairs"].get(str(contrast["second"]), []), sides)
    is_single = len(comparison["contrasts"]) == 1
    second = sides[comparison["contrasts"][0]["second"]].name if is_single else "the other"
    return rows_chart(
        "difference",
        rows[1:] if is_single else rows,
        title="Difference in accuracy",
        description=" ".join(f"{row.label}: {row.text} points." for row in rows if row.mean is not None),
        ends=(f"← {sides[0].name} higher", f"{second} higher →"),
        margin=comparison["subject"]["margin"],
    )


def _contrast_rows(contrast: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], sides: Sequence[Side]) -> list[Row]:
    measure = contrast["measures"][0]
    mean, seeds, images = wording.difference(measure), measure["difference"], measure["image_interval"]
    rows = [Row(f"{sides[contrast['second']].name} minus {sides[0].name}", kind="heading")]
    values = [(pair["accuracy"][1] - pair["accuracy"][0], pair_name(pair, place)) for place, pair in enumerate(pairs)]
    if len(values) > 1:
        dots = tuple((value, f"{name}: {wording.points(value)} points") for value, name in values)
        rows.append(Row("each pair of runs", dots=dots, kind="dots"))
    if seeds:
        rows.append(Row("95% over seeds", mean, seeds["low"], seeds["high"], shape="diamond"))
    if images:
        rows.append(Row("95% over test images", mean, images["low"], images["high"], shape="square", kind="thin"))
    if not seeds and not images:
        rows.append(Row("difference", mean, shape="diamond"))
    return rows


def pair_name(pair: Mapping[str, Any], place: int) -> str:
    """Return the name of a pair of runs."""
    return f"run {place + 1}" if pair["seed"] is None else f"seed {pair['seed']}"


def explained_chart(explained: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    """Draw the effect of each default on each framework's accuracy and on the gap between the frameworks."""
    rows: list[Row] = []
    for default in explained["defaults"]:
        first, second = default["values"]
        note = f"{sides[0].name} {first}, {sides[1].name} {second}"
        rows.append(Row(wording.headed(default["title"]), kind="heading", note=note))
        for side, effect in zip(sides, default["effects"], strict=False):
            rows.append(_effect_row(f"effect on {side.name}", effect, color=side.color, shape=side.shape))
        rows.append(_effect_row("effect on the gap", default["gap"], shape="square", kind="thin"))
    rows.append(Row("The whole gap", kind="heading"))
    for label, key in (("aligned", "aligned"), ("all native defaults", "native")):
        if explained[key]:
            rows.append(_effect_row(label, explained[key], shape="square", kind="thin"))
    rows.append(Row("sum of the effects on the gap", explained["sum"], shape="square", kind="thin"))
    gap = f"{sides[1].name} minus {sides[0].name}"
    return rows_chart(
        "explained",
        rows,
        title="Effect of each default",
        description=f"Effects on accuracy in points; the gap is {gap}. The table below has every number.",
        ends=("← lower", "higher →"),
        margin=None,
    )


def _effect_row(label: str, effect: Mapping[str, Any], **look: str) -> Row:
    return Row(label, effect["mean"], effect["low"], effect["high"], **look)  # type: ignore[arg-type]


def cost_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """Draw one panel per cost: a bar for each side's median, with a whisker from the smallest to the largest value."""
    return [_cost(place, cost, sides) for place, cost in enumerate(comparison["costs"])]


def _cost(place: int, cost: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    known = [value for name in ("medians", "high") for value in cost[name] if value is not None]
    across = Scale(0, max(known, default=1.0) or 1.0, 0, COST_WIDTH - 2)
    title = wording.headed(cost["title"])
    values = [f"{side.name} {wording.quantity(cost['medians'][side.index], cost['unit'])}" for side in sides]
    picture = svg.drawing(
        f"cost-{place}",
        COST_WIDTH,
        COST_TOP + COST_ROW * len(sides),
        title,
        "; ".join(values),
        svg.words(0, 14, svg.fitted(title, COST_WIDTH, 14.5), class_="panel-title"),
        svg.words(0, 32, f"{cost['better']} is better", class_="tick"),
        *(_bar(side, cost, across, COST_TOP + COST_ROW * side.index) for side in sides),
    )
    return svg.plot(picture)


def _bar(side: Side, cost: Mapping[str, Any], across: Scale, y: float) -> Markup:
    median, low, high = (cost[name][side.index] for name in ("medians", "low", "high"))
    value = wording.quantity(median, cost["unit"])
    name = svg.fitted(side.name, COST_WIDTH - 16 - 7 * len(value))
    texts = svg.words(0, y + 14, name) + svg.words(COST_WIDTH, y + 14, value, anchor="end", class_="value")
    if median is None:
        return texts
    parts = [svg.rectangle(0, y + 20, across(median), 16, "bar")]
    tip = f"{side.name}: {value}"
    if low is not None and high is not None and low < high:
        tip += f" ({wording.quantities(low, high, cost['unit'])})"
        parts.append(svg.whisker(across(low), across(high), y + 28, 4, "whisker", "whisker"))
    return texts + svg.mark(tip, *parts, class_=f"mark {side.color}")


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
    texts = []
    for tick in ticks:
        x = across(tick)
        anchor = "end" if x > 90 else "start" if x < 10 else "middle"
        text = wording.percent(tick, digits)
        texts.append(svg.tag("text", text, x=f"{x:.2f}%", y=13, text_anchor=anchor, class_="tick"))
    return _strip(18, *texts)


def strip(entry: Mapping[str, Any], across: Scale, sides: Sequence[Side]) -> Markup:
    """Draw one class: each side's mean F1 as a dot, on a line from its lowest to its highest seed."""
    height = 12 + STRIP_ROW * len(sides)
    grid = [f"{across(tick):.2f}%" for tick in across.ticks(MAX_TICKS)]
    parts = [svg.tag("line", x1=x, x2=x, y1=0, y2=height, class_="grid") for x in grid]
    parts.append(_level(across, entry["f1"], height / 2, "link"))
    for side in sides:
        y = 6 + STRIP_ROW * (side.index + 0.5)
        mean = entry["f1"][side.index]
        place: dict[str, Any] = {"x": f"{across(mean):.2f}%", "y": y, "overflow": "visible"}
        dot = svg.tag("svg", svg.dot(side.shape, 0, 0, 4.5), **place)
        line = _level(across, entry["f1_seeds"][side.index] or [mean], y, "cap")
        parts.append(svg.tag("g", line, dot, class_=side.color))
    return _strip(height, *parts)


def _strip(height: float, *parts: Markup) -> Markup:
    return svg.tag("svg", *parts, width="100%", height=height, class_="strip", aria_hidden="true", focusable="false")


def _level(across: Scale, values: Sequence[float], y: float, class_: str) -> Markup:
    low, high = (f"{across(end(values)):.2f}%" for end in (min, max))
    return svg.tag("line", x1=low, x2=high, y1=y, y2=y, class_=class_)
