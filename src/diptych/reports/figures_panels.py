"""Small charts that stand side by side: curves over epochs, and how far probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.sides import Side
from diptych.reports.svg import Scale

WIDTH, HEIGHT = 380.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 34.0, 42.0
TITLES = {
    "train_loss": "Training loss",
    "validation_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "validation_accuracy": "Validation accuracy",
}


@dataclass(frozen=True)
class Point:
    """An epoch of one side, over its seeds."""

    epoch: int
    mean: float
    low: float
    high: float


def summarised(curves: Mapping[str, Any], quantity: str) -> list[Point | None]:
    """Mean, smallest and largest of each epoch over seeds; None where nothing was measured."""
    points: list[Point | None] = []
    for place, epoch in enumerate(curves["epochs"]):
        values = [run[place] for run in curves[quantity] if place < len(run) and run[place] is not None]
        points.append(Point(epoch, sum(values) / len(values), min(values), max(values)) if values else None)
    return points


def curve_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """Loss and accuracy in training and, where it was measured, in validation."""
    panels = []
    for measure in ("loss", "accuracy"):
        quantities = [f"{split}_{measure}" for split in ("train", "validation")]
        found = {name: [summarised(curves, name) for curves in comparison["curves"]] for name in quantities}
        known = [point for lines in found.values() for line in lines for point in line if point]
        if not known:
            continue
        values = [value for point in known for value in (point.low, point.high)]
        up = svg.scale(values, HEIGHT - BOTTOM, TOP, least=0.02)
        if measure == "loss":
            up = Scale(0.0, up.high, up.start, up.end)
        else:
            up = Scale(up.low, min(up.high, 1.005), up.start, up.end)
        panels += [_panel(name, lines, up, sides) for name, lines in found.items() if any(any(one) for one in lines)]
    return panels


def _panel(quantity: str, lines: Sequence[Sequence[Point | None]], up: Scale, sides: Sequence[Side]) -> Markup:
    epochs = sorted({point.epoch for line in lines for point in line if point})
    half = 0.5 if len(epochs) == 1 else 0.0
    across = Scale(epochs[0] - half, epochs[-1] + half, LEFT + 6, WIDTH - RIGHT - 6)
    say = _share if quantity.endswith("accuracy") else _decimal
    parts = [
        svg.words(0, 16, TITLES[quantity], class_="panel-title"),
        svg.left_axis(up, LEFT, WIDTH - RIGHT, 6, say),
        _epoch_axis(across, epochs),
        *(_curve(side, line, across, up) for side, line in zip(sides, lines, strict=True)),
        *_columns(quantity, epochs, lines, across, sides),
    ]
    last = [f"{side.name} ends at {_said(quantity, line)}" for side, line in zip(sides, lines, strict=True)]
    picture = svg.drawing(
        f"curve-{quantity.replace('_', '-')}", WIDTH, HEIGHT, f"{TITLES[quantity]} by epoch", "; ".join(last), *parts
    )
    return svg.tag("div", picture, class_="plot")


def _share(tick: float, digits: int) -> str:
    return wording.percent(tick, max(digits - 2, 0))


def _decimal(tick: float, digits: int) -> str:
    return f"{tick:.{digits}f}"


def _said(quantity: str, line: Sequence[Point | None]) -> str:
    known = [point for point in line if point]
    return _value(quantity, known[-1].mean) if known else "nothing measured"


def _value(quantity: str, value: float) -> str:
    return wording.size(value, "share" if quantity.endswith("accuracy") else "nats")


def _range(quantity: str, point: Point) -> str:
    if point.low == point.high:
        return ""
    return f" ({_value(quantity, point.low)} to {_value(quantity, point.high)})"


def _epoch_axis(across: Scale, epochs: Sequence[int]) -> Markup:
    bottom = HEIGHT - BOTTOM
    ticks = [tick for tick in svg.round_values(epochs[0] - 0.01, epochs[-1] + 0.01, 8) if tick == int(tick)]
    ticks = ticks if len(ticks) > 1 else [float(epoch) for epoch in dict.fromkeys((epochs[0], epochs[-1]))]
    return Markup("").join(
        [
            svg.line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"),
            *(svg.line(across(tick), bottom, across(tick), bottom + 4, "axis") for tick in ticks),
            *(svg.words(across(tick), bottom + 17, f"{tick:.0f}", anchor="middle", class_="tick") for tick in ticks),
            svg.words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "epoch", anchor="middle", class_="tick"),
        ]
    )


def _curve(side: Side, line: Sequence[Point | None], across: Scale, up: Scale) -> Markup:
    parts: list[Markup] = []
    for known, stretch in groupby(line, key=lambda point: point is not None):
        points = [point for point in stretch if point]
        if known:
            parts += _stretch(side, points, across, up)
    return svg.tag("g", *parts, class_=side.colour)


def _stretch(side: Side, points: Sequence[Point], across: Scale, up: Scale) -> list[Markup]:
    """A band from the smallest to the largest, a line of means, and a few dots that tell the sides apart."""
    there = [(across(point.epoch), up(point.high)) for point in points]
    back = [(across(point.epoch), up(point.low)) for point in reversed(points)]
    step = max(1, len(points) // 6)
    chosen = [point for place, point in enumerate(reversed(points)) if place % step == 0]
    dots = [svg.dot(side.shape, across(point.epoch), up(point.mean), 3.5) for point in chosen]
    if len(points) == 1:
        only = points[0]
        return [svg.line(across(only.epoch), up(only.low), across(only.epoch), up(only.high), "cap"), *dots]
    means = [(across(point.epoch), up(point.mean)) for point in points]
    return [svg.polyline([*there, *back], "band"), svg.polyline(means, "line", side.dash), *dots]


def _columns(
    quantity: str,
    epochs: Sequence[int],
    lines: Sequence[Sequence[Point | None]],
    across: Scale,
    sides: Sequence[Side],
) -> list[Markup]:
    """An invisible column for each epoch, which tells all sides' values."""
    found = [{point.epoch: point for point in line if point} for line in lines]
    width = (across.end - across.start) / max(len(epochs) - 1, 1)
    columns = []
    for epoch in epochs:
        said = [
            f"{side.name} {_value(quantity, known[epoch].mean)}{_range(quantity, known[epoch])}"
            for side, known in zip(sides, found, strict=True)
            if epoch in known
        ]
        middle = across(epoch)
        left, right = max(middle - width / 2, LEFT), min(middle + width / 2, WIDTH - RIGHT)
        rectangle = svg.rectangle(left, TOP, right - left, HEIGHT - BOTTOM - TOP, "hit")
        rule = svg.line(middle, TOP, middle, HEIGHT - BOTTOM, "rule")
        columns.append(svg.mark("\n".join([f"Epoch {epoch}", *said]), rule, rectangle))
    return columns


SQUARE, FOOT = 300.0, 70.0
EDGE_LEFT, EDGE_RIGHT = 60.0, 22.0


def reliability_panels(comparison: Mapping[str, Any], sides: Sequence[Side]) -> list[Markup]:
    """How often each side is right against how sure it is, and below it how many answers are how sure."""
    return [_reliability(side, found) for side, found in zip(sides, comparison["reliability"], strict=True)]


def _reliability(side: Side, found: Mapping[str, Any]) -> Markup:
    width, height = EDGE_LEFT + SQUARE + EDGE_RIGHT, TOP + SQUARE + 26 + FOOT + 42
    across = Scale(0, 1, EDGE_LEFT, EDGE_LEFT + SQUARE)
    up = Scale(0, 1, TOP + SQUARE, TOP)
    foot = TOP + SQUARE + 26 + FOOT
    error = wording.percent(found["expected_calibration_error"])
    room = width - len(f": expected error {error}") * 14 * svg.LETTER
    name = wording.shortened(side.name, svg.fits(side.name, room, 14))
    parts = [
        svg.words(0, 16, f"{name}: expected error {error}", class_="panel-title"),
        svg.left_axis(up, EDGE_LEFT, EDGE_LEFT + SQUARE, 6, _share),
        svg.line(across(0), up(0), across(1), up(1), "diagonal"),
        svg.line(EDGE_LEFT, up(0), EDGE_LEFT + SQUARE, up(0), "axis"),
        svg.tag("g", *_bins(side, found, across, up, foot), class_=side.colour),
        svg.line(EDGE_LEFT, foot, EDGE_LEFT + SQUARE, foot, "axis"),
        svg.words(EDGE_LEFT - 7, foot - FOOT / 2 + 4, "answers", anchor="end", class_="tick"),
        *(
            svg.words(across(tick), foot + 16, wording.percent(tick, 0), anchor="middle", class_="tick")
            for tick in (0, 0.2, 0.4, 0.6, 0.8, 1)
        ),
        svg.words(EDGE_LEFT + SQUARE / 2, foot + 34, "probability of the class said", anchor="middle", class_="tick"),
    ]
    description = f"Expected calibration error {error} over {wording.count(sum(found['counts']))} answers."
    picture = svg.drawing(
        f"reliability-{side.index}", width, height, f"Reliability of {side.name}", description, *parts
    )
    return svg.tag("div", picture, class_="plot")


def _bins(side: Side, found: Mapping[str, Any], across: Scale, up: Scale, foot: float) -> list[Markup]:
    edges, counts = found["edges"], found["counts"]
    most = max(*counts, 1)
    marks = []
    for place, amount in enumerate(counts):
        if not amount:
            continue
        left, right = across(edges[place]), across(edges[place + 1])
        sure, right_share = found["confidence"][place], found["accuracy"][place]
        x, y = across(sure), up(right_share)
        tall = FOOT * amount / most
        tip = (
            f"{wording.percent(edges[place], 0)} to {wording.percent(edges[place + 1], 0)} sure, on average "
            f"{wording.percent(sure, 1)}: right {wording.percent(right_share, 1)} of {wording.count(amount)} times"
        )
        bar = svg.rectangle(left + 1, foot - tall, right - left - 2, tall, "bar")
        gap = svg.line(x, up(sure), x, y, "gap")
        marks.append(svg.mark(tip, bar, gap, svg.dot(side.shape, x, y, 2.2 + 3.3 * (amount / most) ** 0.5)))
    return marks
