"""Parts of SVG charts: elements, scales with round ticks, axes, marks. The style sheet sets the colors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

SPARE_COLORS = ("green", "purple", "orange", "black", "sky")
SHAPES = {
    "circle": "",
    "diamond": "M0-{a}L{a} 0L0 {a}L-{a} 0z",
    "square": "M-{b}-{b}H{b}V{b}H-{b}z",
    "up": "M0-{a}L{a} {b}H-{a}z",
    "down": "M0 {a}L{a}-{b}H-{a}z",
    "cross": "M-{b}-{b}L{b} {b}M{b}-{b}L-{b} {b}",
}
HIDDEN = {"aria_hidden": "true", "focusable": "false"}
"""Attributes of a picture that repeats what the text beside it says."""
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 2", "12 4")


@dataclass(frozen=True)
class Side:
    """The look of one side of a comparison: a CSS class for its color, a dot shape, and a line dash."""

    index: int
    name: str
    color: str
    shape: str
    dash: str


def sides_of(comparison: Mapping[str, Any]) -> list[Side]:
    """Return the sides' looks; the first side of an engine has the engine's color."""
    spare, engines, sides = iter(SPARE_COLORS), set[str](), []
    for index, side in enumerate(comparison["sides"]):
        color = next(spare) if side["engine"] in engines else side["engine"]
        engines.add(side["engine"])
        sides.append(Side(index, side["name"], f"is-{color}", list(SHAPES)[index], DASHES[index]))
    return sides


def tag(name: str, *children: str | Markup, **attributes: str | float) -> Markup:
    """Return an element. `class_` sets class; other underscores become hyphens."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{listed}>{Markup('').join(children)}</{name}>")


def number(value: float) -> str:
    """Format a coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def percent(tick: float) -> str:
    """Format a share on an axis."""
    return f"{100 * tick:.6g}%"


def drawing(title: str, description: str, width: float, height: float, *content: Markup, kind: str = "") -> Markup:
    """Return a chart of `width` by `height` units whose marks the page's script can reach by keyboard."""
    box = f"0 0 {number(width)} {number(height)}"
    label = f"{title}. {description}"
    picture = tag("svg", *content, viewBox=box, role="img", aria_label=label, class_="drawing")
    return tag("div", picture, class_=f"plot {kind}".strip(), data_name=title)


@dataclass(frozen=True)
class Scale:
    """Linear map from values (`low` to `high`) to coordinates (`start` to `end`)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Return at most `most` multiples of 1, 2 or 5 times a power of ten on the scale."""
        power = math.floor(math.log10((self.high - self.low) / most)) - 1
        for step in (base * 10.0**exponent for exponent in range(power, power + 4) for base in (1, 2, 5)):
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                return [whole * step for whole in range(first, last + 1)]
        return []


def scale(values: Sequence[float], start: float, end: float, least: float) -> Scale:
    """Return a scale that contains all values with a margin and spans `least` or more."""
    middle, half = (max(values) + min(values)) / 2, (max(values) - min(values)) / 2
    reach = 1.12 * max(half, least / 2)
    return Scale(middle - reach, middle + reach, start, end)


def words(x: float | str, y: float, text: str, anchor: str = "middle") -> Markup:
    """Return a line of text."""
    return tag("text", text, x=x, y=y, text_anchor=anchor)


def line(x1: float | str, y1: float, x2: float | str, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rectangle(x: float | str, y: float, width: float | str, height: float, class_: str) -> Markup:
    """Return a rectangle."""
    return tag("rect", x=x, y=y, width=width, height=height, class_=class_)


def polyline(points: Iterable[tuple[float, float]], class_: str, dash: str = "none") -> Markup:
    """Return a line through points."""
    text = "L".join(f"{number(float(x))} {number(float(y))}" for x, y in points)
    return tag("path", d=f"M{text}", class_=class_, stroke_dasharray=dash)


def bottom_axis(across: Scale, ticks: Sequence[float], y: float, label: Callable[[float], str], name: str) -> Markup:
    """Return a horizontal axis with the values and its name below."""
    parts = [line(across.start, y, across.end, y, "axis")]
    parts += [line(across(tick), y, across(tick), y + 4, "axis") for tick in ticks]
    parts += [words(across(tick), y + 17, label(tick)) for tick in ticks]
    return Markup("").join([*parts, words((across.start + across.end) / 2, y + 36, name)])


def left_axis(up: Scale, left: float, right: float, label: Callable[[float], str]) -> Markup:
    """Return horizontal grid lines with their values on the left."""
    return Markup("").join(
        line(left, up(tick), right, up(tick), "grid") + words(left - 7, up(tick) + 4, label(tick), "end")
        for tick in up.ticks(6)
    )


def dot(shape: str, x: float | str, y: float, radius: float, class_: str = "dot") -> Markup:
    """Return a dot of a side's shape."""
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=radius, class_=class_)
    outline = SHAPES[shape].format(a=number(radius * 1.25), b=number(radius * 0.9))
    return tag("svg", tag("path", d=outline, class_=f"{class_} {shape}"), x=x, y=y, overflow="visible")


def swatch(side: Side, is_line: bool = False) -> Markup:
    """Return a side's dot, or a piece of its line, to be shown before its name."""
    width = 32 if is_line else 14
    stroke = polyline([(1, 7), (31, 7)], "line", side.dash) if is_line else Markup()
    class_ = f"swatch {side.color}"
    return tag("svg", stroke, dot(side.shape, width / 2, 7, 4.5), width=width, height=14, class_=class_, **HIDDEN)


def mark(tip: str, *content: Markup) -> Markup:
    """Return content that shows `tip` when pointed at."""
    return tag("g", tag("title", tip), *content, class_="mark")
