"""Charts of intervals: the difference in accuracy, and what each default is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.sides import Side
from diptych.reports.svg import Scale

WIDE, NARROW = 760.0, 360.0
INK = "is-ink"


@dataclass(frozen=True)
class Row:
    """One line of such a chart.

    Attributes:
        label: what it is.
        mean: the place of its mark; None for a heading or for bare dots.
        low: where its interval begins; None without one.
        high: where it ends.
        colour: CSS class.
        shape: of its mark.
        dots: single values, each with its words.
        kind: heading, thick, thin or dots.
        note: what stands at the right of a heading, where there is room.
    """

    label: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    colour: str = INK
    shape: str = "circle"
    dots: tuple[tuple[float, str], ...] = ()
    kind: str = "thick"
    note: str = ""

    @property
    def values(self) -> list[float]:
        """Everything that has to fit."""
        ends = [value for value in (self.mean, self.low, self.high) if value is not None]
        return [*ends, *(value for value, _ in self.dots)]

    @property
    def says(self) -> str:
        """Its numbers, in points."""
        if self.mean is None:
            return ""
        if self.low is None or self.high is None:
            return wording.points(self.mean)
        return f"{wording.points(self.mean)} ({wording.points(self.low)} to {wording.points(self.high)})"


@dataclass(frozen=True)
class Frame:
    """Where things stand in a chart of one width."""

    width: float
    left: float
    right: float
    height: float
    row: float
    """Height of a row."""
    is_wide: bool


def _frame(rows: Sequence[Row], is_wide: bool, top: float) -> Frame:
    row = 30.0 if is_wide else 46.0
    height = top + sum(_height(one, row) for one in rows) + 40
    if is_wide:
        return Frame(WIDE, 236, WIDE - 168, height, row, True)
    return Frame(NARROW, 8, NARROW - 8, height, row, False)


def _height(row: Row, usual: float) -> float:
    return 34.0 if row.kind == "heading" else usual


def rows_chart(
    key: str, rows: Sequence[Row], *, title: str, description: str, ends: tuple[str, str], margin: float | None
) -> Markup:
    """Rows of intervals on one scale in points, drawn for wide pages and for phones.

    Args:
        key: of the picture's ids.
        rows: from the top down.
        title: what the picture is.
        description: what it shows.
        ends: what lies to the left and to the right of zero.
        margin: half the width of the band within which sides count as equal; None draws none.
    """
    drawn = [_chart(f"{key}-{kind}", rows, kind, title, description, ends, margin) for kind in ("wide", "narrow")]
    return Markup("").join(drawn)


def _chart(
    key: str, rows: Sequence[Row], kind: str, title: str, description: str, ends: tuple[str, str], margin: float | None
) -> Markup:
    top = 28.0
    frame = _frame(rows, kind == "wide", top)
    band = [] if margin is None else [-margin, margin]
    values = [0.0, *band, *(value for row in rows for value in row.values)]
    across = svg.scale(values, frame.left, frame.right, least=0.001)
    bottom = frame.height - 40
    parts = [_ground(across, frame, top, bottom, ends, margin)]
    y = top
    for row in rows:
        parts.append(_row(row, across, frame, y))
        y += _height(row, frame.row)
    picture = svg.drawing(key, frame.width, frame.height, title, description, *parts)
    return svg.tag("div", picture, class_=f"plot only-{kind}")


def _ground(
    across: Scale, frame: Frame, top: float, bottom: float, ends: tuple[str, str], margin: float | None
) -> Markup:
    room = (frame.right - frame.left) / 2 - 8
    left, right = (wording.shortened(text, svg.fits(text, room)) for text in ends)
    parts = [
        svg.words(frame.left, top - 12, left, class_="tick"),
        svg.words(frame.right, top - 12, right, anchor="end", class_="tick"),
    ]
    if margin is not None:
        low, high = across(-margin), across(margin)
        parts.append(svg.rectangle(low, top, high - low, bottom - top, "margin-band"))
        parts += [svg.line(place, top, place, bottom, "margin-edge") for place in (low, high)]
    parts.append(svg.bottom_axis(across, top, bottom, 8 if frame.is_wide else 5, _tick))
    parts.append(svg.line(across(0), top, across(0), bottom, "zero"))
    middle = (frame.left + frame.right) / 2
    parts.append(svg.words(middle, bottom + 34, "percentage points", anchor="middle", class_="tick"))
    return Markup("").join(parts)


def _tick(share: float, digits: int) -> str:
    return wording.points(share, max(digits - 2, 0))


def _row(row: Row, across: Scale, frame: Frame, y: float) -> Markup:
    if row.kind == "heading":
        return _heading(row, frame, y + 23)
    middle = y + frame.row / 2 if frame.is_wide else y + 32
    texts = _texts(row, frame, middle)
    return Markup("").join([texts, *_marks(row, across, middle)])


def _heading(row: Row, frame: Frame, y: float) -> Markup:
    label = wording.shortened(row.label, svg.fits(row.label, frame.width - 16, 14.5))
    left = frame.width - (len(label) * 14.5 + len(row.note) * svg.TEXT) * svg.LETTER
    said = svg.words(frame.width, y, row.note, anchor="end", class_="tick") if row.note and left > 30 else Markup()
    return svg.words(0 if frame.is_wide else 8, y, label, class_="row-heading") + said


def _texts(row: Row, frame: Frame, middle: float) -> Markup:
    if frame.is_wide:
        label = wording.shortened(row.label, svg.fits(row.label, frame.left - 14))
        return svg.words(0, middle + 4, label) + svg.words(
            frame.width, middle + 4, row.says, anchor="end", class_="value"
        )
    room = frame.width - 24 - len(row.says) * svg.TEXT * svg.LETTER
    label = wording.shortened(row.label, svg.fits(row.label, room))
    base = middle - 14
    return svg.words(8, base, label) + svg.words(frame.width - 8, base, row.says, anchor="end", class_="value")


def _marks(row: Row, across: Scale, y: float) -> list[Markup]:
    marks = [svg.mark(f"{tip}", svg.dot("circle", across(value), y, 4.5, "seed-dot")) for value, tip in row.dots]
    if row.mean is None:
        return marks
    parts = []
    if row.low is not None and row.high is not None:
        parts.append(svg.line(across(row.low), y, across(row.high), y, f"interval {row.kind}"))
        parts += [svg.line(across(end), y - 5, across(end), y + 5, "cap") for end in (row.low, row.high)]
    parts.append(svg.dot(row.shape, across(row.mean), y, 5.5))
    return [*marks, svg.mark(f"{row.label}: {row.says} points", *parts, class_=f"mark {row.colour}")]


def difference_chart(comparison: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    """The difference in accuracy of every contrast against the margin, with each seed's difference as a dot."""
    rows: list[Row] = []
    for contrast in comparison["contrasts"]:
        rows += _contrast_rows(contrast, comparison["pairs"].get(str(contrast["second"]), []), sides)
    single = len(comparison["contrasts"]) == 1
    second = sides[comparison["contrasts"][0]["second"]].name if single else "the other"
    return rows_chart(
        "difference",
        rows[1:] if single else rows,
        title="Difference in accuracy",
        description=" ".join(f"{row.label}: {row.says} points." for row in rows if row.mean is not None),
        ends=(f"← {sides[0].name} higher", f"{second} higher →"),
        margin=comparison["subject"]["margin"],
    )


def _contrast_rows(contrast: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], sides: Sequence[Side]) -> list[Row]:
    measure = contrast["measures"][0]
    mean, found, images = wording.difference(measure), measure["difference"], measure["image_interval"]
    rows = [Row(f"{sides[contrast['second']].name} minus {sides[0].name}", kind="heading")]
    dots = tuple((pair["accuracy"][1] - pair["accuracy"][0], pair_name(pair, k)) for k, pair in enumerate(pairs))
    said = tuple((value, f"{name}: {wording.points(value)} points") for value, name in dots)
    if len(dots) > 1:
        rows.append(Row("each pair of runs", dots=said, kind="dots"))
    if found:
        rows.append(Row("95% over seeds", mean, found["low"], found["high"], shape="diamond"))
    if images:
        label = "95% over test images"
        rows.append(Row(label, mean, images["low"], images["high"], shape="square", kind="thin"))
    if not found and not images:
        rows.append(Row("difference", mean, shape="diamond"))
    return rows


def pair_name(pair: Mapping[str, Any], place: int) -> str:
    """How a pair of runs is called."""
    return f"run {place + 1}" if pair["seed"] is None else f"seed {pair['seed']}"


def explained_chart(explained: Mapping[str, Any], sides: Sequence[Side]) -> Markup:
    """What switching each default does to each framework's accuracy, and to the gap between the two."""
    rows: list[Row] = []
    for default in explained["defaults"]:
        first, second = default["values"]
        note = f"{sides[0].name} {first}, {sides[1].name} {second}"
        rows.append(Row(wording.headed(default["title"]), kind="heading", note=note))
        for side, effect in zip(sides, default["effects"], strict=False):
            rows.append(
                Row(f"effect on {side.name}", effect["mean"], effect["low"], effect["high"], side.colour, side.shape)
            )
        rows.append(_gap_row("effect on the gap", default["gap"]))
    rows.append(Row("The whole gap", kind="heading"))
    rows.append(_gap_row("aligned", explained["aligned"]))
    if explained["native"]:
        rows.append(_gap_row("all native defaults", explained["native"]))
    rows.append(Row("sum of the effects on the gap", explained["sum"], shape="square", kind="thin"))
    first, second = sides[0].name, sides[1].name
    return rows_chart(
        "explained",
        rows,
        title="What each default is worth",
        description=f"Effects on accuracy in points; the gap is {second} minus {first}. The table holds every number.",
        ends=("← lower", "higher →"),
        margin=None,
    )


def _gap_row(label: str, found: Mapping[str, Any]) -> Row:
    return Row(label, found["mean"], found["low"], found["high"], shape="square", kind="thin")
