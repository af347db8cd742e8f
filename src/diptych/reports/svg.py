"""Small parts of a drawing: elements, scales with round ticks, axes, marks. Colours are the style sheet's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from diptych.reports.sides import Side

XMLNS = "http://www.w3.org/2000/svg"
TEXT = 12
"""Size of texts, in units of the drawing."""
LETTER = 0.62
"""Mean width of a letter, as a share of the text's size."""

Attribute = str | float | None


def tag(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """An element; `class_` is class, other underscores are hyphens, and what is None is left out."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(children)
    return Markup(f"<{name}{listed}>{inside}</{name}>" if children else f"<{name}{listed}/>")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A coordinate: two decimals, none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def drawing(key: str, width: float, height: float, title: str, description: str, *content: Markup) -> Markup:
    """A whole picture: named and described for those who do not see it.

    Args:
        key: of its ids, unique on the page.
        width: of the drawing, in its own units; the page scales it.
        height: likewise.
        title: what it is.
        description: what it shows.
        content: what is drawn.
    """
    names = tag("title", title, id=f"{key}-title"), tag("desc", description, id=f"{key}-desc")
    return tag(
        "svg",
        *names,
        *content,
        xmlns=XMLNS,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_="drawing",
    )


@dataclass(frozen=True)
class Scale:
    """A straight line from values to places.

    Attributes:
        low: the value at `start`.
        high: the value at `end`.
        start: a place.
        end: another place.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values within the scale, at most so many."""
        return round_values(self.low, self.high, most)


def scale(values: Iterable[float], start: float, end: float, margin: float = 0.06, least: float = 1e-6) -> Scale:
    """A scale that holds all values, with some margin; `least` is its least span."""
    known = list(values) or [0.0, 1.0]
    middle, half = (max(known) + min(known)) / 2, (max(known) - min(known)) / 2
    reach = max(half, least / 2) * (1 + 2 * margin)
    return Scale(middle - reach, middle + reach, start, end)


def round_values(low: float, high: float, most: int) -> list[float]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten between `low` and `high`."""
    power = math.floor(math.log10((high - low) / max(most, 1))) - 1
    steps = (base * 10.0**exponent for exponent in range(power, power + 4) for base in (1, 2, 5))
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [whole * step for whole in range(first, last + 1)]
    return []


def decimals(ticks: list[float]) -> int:
    """How many decimals tell neighbouring ticks apart."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))


def words(x: float, y: float, text: str, *, anchor: str = "start", class_: str = "label") -> Markup:
    """A line of text."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rectangle(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """A rectangle."""
    return tag("rect", x=x, y=y, width=max(width, 0.0), height=height, class_=class_)


def bottom_axis(across: Scale, top: float, bottom: float, most: int, say: Callable[[float, int], str]) -> Markup:
    """Upright grid lines with their values beneath."""
    ticks = across.ticks(most)
    digits = decimals(ticks)
    return Markup("").join(
        line(across(tick), top, across(tick), bottom, "grid")
        + words(across(tick), bottom + 16, say(tick, digits), anchor="middle", class_="tick")
        for tick in ticks
    )


def left_axis(up: Scale, left: float, right: float, most: int, say: Callable[[float, int], str]) -> Markup:
    """Level grid lines with their values at the left."""
    ticks = up.ticks(most)
    digits = decimals(ticks)
    return Markup("").join(
        line(left, up(tick), right, up(tick), "grid")
        + words(left - 7, up(tick) + 4, say(tick, digits), anchor="end", class_="tick")
        for tick in ticks
    )


_OUTLINES = {
    "diamond": "M0-{a}L{a} 0L0 {a}L-{a} 0z",
    "square": "M-{b}-{b}H{b}V{b}H-{b}z",
    "up": "M0-{a}L{a} {b}H-{a}z",
    "down": "M0 {a}L{a}-{b}H-{a}z",
    "cross": "M-{b}-{b}L{b} {b}M{b}-{b}L-{b} {b}",
}


def dot(shape: str, x: float, y: float, radius: float, class_: str = "dot") -> Markup:
    """A mark of a side's shape."""
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=radius, class_=class_)
    outline = _OUTLINES[shape].format(a=number(radius * 1.25), b=number(radius * 0.9))
    place = f"translate({number(float(x))} {number(float(y))})"
    return tag("path", d=outline, transform=place, class_=f"{class_} {shape}")


def swatch(side: Side, is_line: bool = False) -> Markup:
    """A side's dot, or a piece of its line, to stand in front of its name."""
    parts = [tag("path", d="M1 7H31", class_="line", stroke_dasharray=side.dash)] if is_line else []
    width = 32 if is_line else 14
    return tag(
        "svg",
        *parts,
        dot(side.shape, width / 2, 7, 4.5),
        viewBox=f"0 0 {width} 14",
        width=width,
        height=14,
        class_=f"swatch {side.colour}",
        aria_hidden="true",
        focusable="false",
    )


def mark(tip: str, *content: Markup, class_: str = "mark") -> Markup:
    """Something that tells its value when it is pointed at."""
    return tag("g", tag("title", tip), *content, class_=class_)


def polyline(places: Iterable[tuple[float, float]], class_: str, dash: str = "none") -> Markup:
    """A line through places."""
    text = "L".join(f"{number(float(x))} {number(float(y))}" for x, y in places)
    return tag("path", d=f"M{text}", class_=class_, stroke_dasharray=dash)


def fits(text: str, width: float, size: float = TEXT) -> int:
    """How many letters of `text` there is room for."""
    return len(text) if len(text) * size * LETTER <= width else max(3, int(width / (size * LETTER)))
