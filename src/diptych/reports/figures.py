"""Charts with a row for each value: differences, effects of defaults, costs, and the classes.

Rows are HTML, so that their text wraps and is read aloud; each contains a strip, an SVG as wide as the page allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

ROW = 30
"""Height of the strip of an interval."""
CLASS_ROW = 7
MAX_TICKS = 7
MAX_CLASS_TICKS = 3


@dataclass(frozen=True)
class Row:
    """A row of a chart: a label, a strip, and the same values as text. A heading has no strip."""

    label: str
    text: str = ""
    strip: Markup | None = None
    color: str = "is-ink"


@dataclass(frozen=True)
class Chart:
    """Rows on one scale, with the text above and below them."""

    title: str
    rows: Sequence[Row]
    note: str = ""
    ends: tuple[str, str] | None = None
    axis: Markup | None = None


@dataclass(frozen=True)
class Interval:
    """A row of differences: named dots, or a mean with an interval. A heading has neither."""

    label: str
    mean: float | None = None
    ends: tuple[float, float] | None = None
    color: str = "is-ink"
    shape: str = "square"
    dots: Sequence[tuple[str, float]] = ()
    note: str = ""

    @property
    def values(self) -> list[float]:
        """All values that have to fit on the scale."""
        means = [] if self.mean is None else [self.mean]
        return [*means, *(self.ends or ()), *(value for _, value in self.dots)]

    @property
    def text(self) -> str:
        """The mean and the interval, or the note."""
        if self.mean is None:
            return self.note
        ends = f" ({' to '.join(map(wording.change, self.ends))})" if self.ends else ""
        return f"{wording.change(self.mean)}{ends}"


def difference_chart(comparison: Mapping[str, Any], sides: Sequence[Side]) -> Chart:
    """Draw the difference in accuracy of each side from the first, with the margin and each pair's difference."""
    intervals: list[Interval] = []
    contrasts = comparison["contrasts"]
    for contrast in contrasts:
        second, measure = sides[contrast["second"]], contrast["measures"][0]
        if len(contrasts) > 1:
            intervals.append(Interval(f"{second.name} minus {sides[0].name}"))
        mean = wording.difference(measure)
        if measure["difference"]:
            pairs = enumerate(comparison["pairs"][str(second.index)])
            dots = [(pair_name(pair, place), pair["accuracy"][1] - pair["accuracy"][0]) for place, pair in pairs]
            intervals.append(Interval("each pair of runs", dots=dots))
            intervals.append(_interval("95% over seeds", {**measure["difference"], "mean": mean}, shape="diamond"))
        intervals.append(_interval("95% over test images", {**measure["image_interval"], "mean": mean}))
    other = sides[1].name if len(contrasts) == 1 else "the other"
    ends = f"← {sides[0].name} higher", f"{other} higher →"
    return _intervals("Difference in accuracy", intervals, ends, comparison["subject"]["margin"])


def pair_name(pair: Mapping[str, Any], place: int) -> str:
    """Return the name of a pair of runs."""
    return f"run {place + 1}" if pair["seed"] is None else f"seed {pair['seed']}"


def explained_chart(explained: Mapping[str, Any], sides: Sequence[Side]) -> Chart:
    """Draw the effect of each default on each framework's accuracy and on the gap between the frameworks."""
    intervals: list[Interval] = []
    for default in explained["defaults"]:
        first, second = default["values"]
        note = f"{sides[0].name} {first}, {sides[1].name} {second}"
        intervals.append(Interval(wording.headed(default["title"]), note=note))
        for side, effect in zip(sides, default["effects"], strict=False):
            intervals.append(_interval(f"effect on {side.name}", effect, color=side.color, shape=side.shape))
        intervals.append(_interval("effect on the gap", default["gap"]))
    intervals += [
        Interval("The whole gap"),
        _interval("aligned", explained["aligned"]),
        _interval("all native defaults", explained["native"]),
        Interval("sum of the effects on the gap", explained["sum"]),
    ]
    return _intervals("Effect of each default", intervals, ("← lower", "higher →"))


def _interval(label: str, effect: Mapping[str, Any], **look: str) -> Interval:
    ends = None if effect["low"] is None else (effect["low"], effect["high"])
    return Interval(label, effect["mean"], ends, **look)  # type: ignore[arg-type]


def _intervals(title: str, intervals: Sequence[Interval], ends: tuple[str, str], margin: float | None = None) -> Chart:
    """Draw intervals on one scale in points; values within `margin` are equivalent."""
    band = [] if margin is None else [-margin, margin]
    across = svg.scale([0.0, *band, *(value for one in intervals for value in one.values)], 5, 95, least=0.001)
    ticks = across.ticks(MAX_TICKS)
    ground = [_upright(across, tick, ROW, "grid") for tick in ticks]
    if margin is not None:
        width = f"{across(margin) - across(-margin):.2f}%"
        ground.insert(0, svg.rectangle(_place(across, -margin), 0, width, ROW, "margin-band"))
        ground += [_upright(across, edge, ROW, "margin-edge") for edge in band]
    ground.append(_upright(across, 0, ROW, "zero"))
    rows = [
        Row(one.label, one.text, _strip(ROW, *ground, *_marks(one, across)) if one.values else None, one.color)
        for one in intervals
    ]
    labels = (svg.words(_place(across, tick), 14, f"{100 * tick:.6g}".replace("-", "−")) for tick in ticks)
    return Chart(title, rows, "percentage points", ends, _strip(18, *labels))


def _marks(one: Interval, across: Scale) -> list[Markup]:
    marks = [
        svg.mark(f"{name}: {wording.change(value)} points", _dot("circle", across, value, 4.5, "seed-dot"))
        for name, value in one.dots
    ]
    if one.mean is not None:
        whisker = [_whisker(across, one.ends, ROW / 2, "interval")] if one.ends else []
        marks.append(svg.mark(f"{one.label}: {one.text} points", *whisker, _dot(one.shape, across, one.mean, 5.5)))
    return marks


def _dot(shape: str, across: Scale, value: float, radius: float, class_: str = "dot") -> Markup:
    return svg.dot(shape, _place(across, value), ROW / 2, radius, class_)


def cost_charts(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Chart]:
    """Draw a bar for each cost and side: the median, with a whisker from the smallest to the largest value."""
    charts = []
    for cost in comparison["costs"]:
        across = Scale(0, max(filter(None, cost["high"]), default=1.0), 0, 99)
        rows = [_bar(side, cost, across) for side in sides]
        charts.append(Chart(wording.headed(cost["title"]), rows, f"{cost['better']} is better"))
    return charts


def _bar(side: Side, cost: Mapping[str, Any], across: Scale) -> Row:
    median, low, high = (cost[name][side.index] for name in ("medians", "low", "high"))
    text = tip = wording.quantity(median, cost["unit"])
    parts = []
    if median is not None:
        parts.append(svg.rectangle(0, 0, _place(across, median), 16, "bar"))
        if low < high:
            tip += f" ({wording.quantities(low, high, cost['unit'])})"
            parts.append(_whisker(across, (low, high), 8, "whisker"))
        parts = [svg.mark(f"{side.name}: {tip}", *parts)]
    return Row(side.name, text, _strip(16, *parts), side.color)


def strip_scale(per_class: Sequence[Mapping[str, Any]]) -> Scale:
    """Return the scale from F1 to percent of a strip's width, from below the smallest value up to 1."""
    values = [value for entry in per_class for runs in [*entry["f1_seeds"], entry["f1"]] for value in runs]
    return replace(svg.scale([*values, 1.0], 2, 98, least=0.02), high=1.0)


def strip_axis(across: Scale) -> Markup:
    """Draw the axis above a column of strips."""
    texts = []
    for tick in across.ticks(MAX_CLASS_TICKS):
        anchor = "end" if across(tick) > 90 else "start" if across(tick) < 10 else "middle"
        texts.append(svg.words(_place(across, tick), 13, svg.percent(tick), anchor))
    return _strip(18, *texts)


def strip(entry: Mapping[str, Any], across: Scale, sides: Sequence[Side]) -> Markup:
    """Draw one class: each side's mean F1 as a dot, on a line from its lowest to its highest seed."""
    height = 12 + CLASS_ROW * len(sides)
    parts = [_upright(across, tick, height, "grid") for tick in across.ticks(MAX_CLASS_TICKS)]
    parts.append(_level(across, entry["f1"], height / 2, "link"))
    for side in sides:
        y = 6 + CLASS_ROW * (side.index + 0.5)
        line = _level(across, entry["f1_seeds"][side.index], y, "cap")
        dot = svg.dot(side.shape, _place(across, entry["f1"][side.index]), y, 4.5)
        parts.append(svg.tag("g", line, dot, class_=side.color))
    return _strip(height, *parts)


def _strip(height: float, *parts: Markup) -> Markup:
    return svg.tag("svg", *parts, width="100%", height=height, class_="strip", **svg.HIDDEN)


def _place(across: Scale, value: float) -> str:
    return f"{across(value):.2f}%"


def _upright(across: Scale, value: float, height: float, class_: str) -> Markup:
    return svg.line(_place(across, value), 0, _place(across, value), height, class_)


def _level(across: Scale, values: Sequence[float], y: float, class_: str) -> Markup:
    low, high = (_place(across, end(values)) for end in (min, max))
    return svg.line(low, y, high, y, class_)


def _whisker(across: Scale, ends: tuple[float, float], y: float, class_: str) -> Markup:
    """Draw a horizontal line with caps at its ends."""
    caps = [svg.line(place, y - 5, place, y + 5, "cap") for place in (_place(across, end) for end in ends)]
    return Markup("").join([_level(across, ends, y, class_), *caps])
