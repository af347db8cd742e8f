"""Parts of SVG charts: elements, scales with round ticks, axes, marks. The style sheet sets the colors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

TEXT_SIZE = 12
LETTER = 0.62
"""Average width of a letter, as a fraction of the text size."""
SPARE_COLORS = ("green", "purple", "orange", "black", "sky")
SHAPES = {
    "circle": "",
    "diamond": "M0-{a}L{a} 0L0 {a}L-{a} 0z",
    "square": "M-{b}-{b}H{b}V{b}H-{b}z",
    "up": "M0-{a}L{a} {b}H-{a}z",
    "down": "M0 {a}L{a}-{b}H-{a}z",
    "cross": "M-{b}-{b}L{b} {b}M{b}-{b}L-{b} {b}",
}
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
        place = index % len(SHAPES)
        sides.append(Side(index, side["name"], f"is-{color}", list(SHAPES)[place], DASHES[place]))
    return sides


def tag(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Return an element. `class_` sets class, other underscores become hyphens, None leaves an attribute out."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(children)
    return Markup(f"<{name}{listed}>{inside}</{name}>" if children else f"<{name}{listed}/>")


def number(value: float) -> str:
    """Format a coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def drawing(key: str, width: float, height: float, title: str, description: str, *content: Markup) -> Markup:
    """Return a chart of `width` by `height` units with an accessible title and description; `key` starts its ids."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_="drawing",
    )


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
        """Return at most `most` round values on the scale."""
        return round_values(self.low, self.high, most)


def scale(values: Iterable[float], start: float, end: float, least: float) -> Scale:
    """Return a scale that holds all values with a margin and spans `least` or more."""
    known = list(values) or [0.0, 1.0]
    middle, half = (max(known) + min(known)) / 2, (max(known) - min(known)) / 2
    reach = 1.12 * max(half, least / 2)
    return Scale(middle - reach, middle + reach, start, end)


def round_values(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` multiples of 1, 2 or 5 times a power of ten between `low` and `high`."""
    power = math.floor(math.log10((high - low) / max(most, 1))) - 1
    steps = (base * 10.0**exponent for exponent in range(power, power + 4) for base in (1, 2, 5))
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [whole * step for whole in range(first, last + 1)]
    return []


def decimals(ticks: list[float]) -> int:
    """Return how many decimals tell neighboring ticks apart."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))


def words(x: float, y: float, text: str, *, anchor: str = "start", class_: str = "label") -> Markup:
    """Return a line of text."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rectangle(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """Return a rectangle."""
    return tag("rect", x=x, y=y, width=max(width, 0.0), height=height, class_=class_)


def polyline(points: Iterable[tuple[float, float]], class_: str, dash: str = "none") -> Markup:
    """Return a line through points."""
    text = "L".join(f"{number(float(x))} {number(float(y))}" for x, y in points)
    return tag("path", d=f"M{text}", class_=class_, stroke_dasharray=dash)


def bottom_axis(across: Scale, top: float, bottom: float, most: int, label: Callable[[float, int], str]) -> Markup:
    """Return vertical grid lines with their values below; `label` formats a value with a number of decimals."""
    ticks = across.ticks(most)
    return Markup("").join(
        line(across(tick), top, across(tick), bottom, "grid")
        + words(across(tick), bottom + 16, label(tick, decimals(ticks)), anchor="middle", class_="tick")
        for tick in ticks
    )


def left_axis(up: Scale, left: float, right: float, label: Callable[[float, int], str]) -> Markup:
    """Return horizontal grid lines with their values on the left."""
    ticks = up.ticks(6)
    return Markup("").join(
        line(left, up(tick), right, up(tick), "grid")
        + words(left - 7, up(tick) + 4, label(tick, decimals(ticks)), anchor="end", class_="tick")
        for tick in ticks
    )


def whisker(low: float, high: float, y: float, reach: float, line_class: str, cap_class: str) -> Markup:
    """Return a horizontal line with caps of twice `reach` at its ends."""
    caps = (line(x, y - reach, x, y + reach, cap_class) for x in (low, high))
    return line(low, y, high, y, line_class) + Markup("").join(caps)


def dot(shape: str, x: float, y: float, radius: float, class_: str = "dot") -> Markup:
    """Return a dot of a side's shape."""
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=radius, class_=class_)
    outline = SHAPES[shape].format(a=number(radius * 1.25), b=number(radius * 0.9))
    place = f"translate({number(float(x))} {number(float(y))})"
    return tag("path", d=outline, transform=place, class_=f"{class_} {shape}")


def swatch(side: Side, is_line: bool = False) -> Markup:
    """Return a side's dot, or a piece of its line, to be shown before its name."""
    width = 32 if is_line else 14
    stroke = tag("path", d="M1 7H31", class_="line", stroke_dasharray=side.dash) if is_line else Markup()
    return tag(
        "svg",
        stroke,
        dot(side.shape, width / 2, 7, 4.5),
        viewBox=f"0 0 {width} 14",
        width=width,
        height=14,
        class_=f"swatch {side.color}",
        aria_hidden="true",
        focusable="false",
    )


def mark(tip: str, *content: Markup, class_: str = "mark") -> Markup:
    """Return content that shows `tip` when pointed at."""
    return tag("g", tag("title", tip), *content, class_=class_)


def plot(picture: Markup, kind: str = "") -> Markup:
    """Wrap a drawing so that the page's script can reach its marks by keyboard."""
    return tag("div", picture, class_=f"plot {kind}".strip())


def fitted(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """Shorten text in its middle to a width in the drawing's units."""
    most = max(3, int(width / (size * LETTER)))
    half = most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"
