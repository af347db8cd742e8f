"""Charts of intervals: the difference in accuracy, and the effect of each default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

TOP, FOOT = 28.0, 40.0


@dataclass(frozen=True)
class Row:
    """One row of an interval chart.

    Attributes:
        label: text on the left.
        mean: the value of its mark; None for a heading or for dots alone.
        low: lower end of its interval; None without an interval.
        high: upper end.
        colour: CSS class of the mark.
        shape: shape of the mark.
        kind: heading, dots, thick or thin (of the interval's line).
        dots: single values with their tooltips.
        note: text on the right of a heading, if there is room.
    """

    label: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    colour: str = "is-ink"
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

    Args:
        key: start of the drawing's ids.
        rows: from top to bottom.
        title: accessible title.
        description: accessible description.
        ends: labels to the left and to the right of zero.
        margin: half the width of the band in which sides count as equal; None draws no band.
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
        parts.append(svg.line(across(row.low), y, across(row.high), y, f"interval {row.kind}"))
        parts += [svg.line(across(end), y - 5, across(end), y + 5, "cap") for end in (row.low, row.high)]
    parts.append(svg.dot(row.shape, across(row.mean), y, 5.5))
    return [*marks, svg.mark(f"{row.label}: {row.text} points", *parts, class_=f"mark {row.colour}")]


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
            mean, low, high = effect["mean"], effect["low"], effect["high"]
            rows.append(Row(f"effect on {side.name}", mean, low, high, side.colour, side.shape))
        rows.append(_gap_row("effect on the gap", default["gap"]))
    rows += [Row("The whole gap", kind="heading"), _gap_row("aligned", explained["aligned"])]
    if explained["native"]:
        rows.append(_gap_row("all native defaults", explained["native"]))
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


def _gap_row(label: str, gap: Mapping[str, Any]) -> Row:
    return Row(label, gap["mean"], gap["low"], gap["high"], shape="square", kind="thin")
