"""Charts of a study's trials: accuracy by number and learning curves; and the looks of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.svg import Scale, Side

WIDE, NARROW = 940.0, 380.0
"""Widths at which a chart is drawn: for a desktop or paper, and for a phone."""
LEFT = 52.0
DEFAULT_NOTE = "default recipe"
DEFAULT = Side(0, DEFAULT_NOTE, "is-ink", "diamond", "none")
LOOKS = {
    "finished": Side(1, "finished", "is-purple", "circle", "none"),
    "pruned": Side(2, "pruned", "is-muted", "down", "none"),
    "failed": Side(3, "failed", "is-torch", "cross", "none"),
    "rejected": Side(4, "rejected", "is-sky", "square", "none"),
}
ABOVE = ((0, -11, "middle"), (0, -11, "start"), (0, -11, "end"), (0, 21, "middle"), (11, 4, "start"), (-11, 4, "end"))
BESIDE = ((10, 4, "start"), (10, 20, "start"), (10, -12, "start"))
"""Places of a name at its point, best first: offsets and anchor."""
LEVELS = range(4, 11)
"""Colors of accuracies, lowest first, by their number in the style sheet."""
Trial = Mapping[str, Any]
Study = Mapping[str, Any]


def measured(study: Study) -> list[Trial]:
    """Return the trials with an accuracy: others before finished ones, then by accuracy."""
    known = [trial for trial in study["trials"] if trial["accuracy"] is not None]
    return sorted(known, key=lambda trial: (trial["state"] == "finished", trial["accuracy"]))


def final_scale(trials: Sequence[Trial], start: float, end: float) -> Scale:
    """Return a scale from the best accuracy down to the worst, or three times as far as the median.

    Only finished trials count, if there are any; the default recipe is always on the scale.
    """
    accuracies = _accuracies(trials, [trial["accuracy"] for trial in trials])
    best, middle = accuracies[-1], accuracies[len(accuracies) // 2]
    low = max(accuracies[0], best - 3 * (best - middle))
    defaults = [trial["accuracy"] for trial in trials if is_default(trial) and trial["state"] == "finished"]
    return _share_scale(min([low, *defaults]), best, start, end)


def _accuracies(trials: Sequence[Trial], values: Sequence[float]) -> list[float]:
    """Return the values of finished trials, or all if no trial has finished, in ascending order."""
    finished = [value for trial, value in zip(trials, values, strict=True) if trial["state"] == "finished"]
    return sorted(finished or values)


def _share_scale(low: float, high: float, start: float, end: float) -> Scale:
    scale = svg.scale([low, high], start, end, least=0.01)
    return replace(scale, low=max(scale.low, 0.0), high=min(scale.high, 1.0005))


def thread(trial: Trial, scale: Scale, best: int | None) -> str:
    """Return the CSS classes of a trial's line, colored by accuracy if the trial has finished."""
    if trial["state"] != "finished":
        return "thread is-muted faded"
    share = min(max((trial["accuracy"] - scale.low) / (scale.high - scale.low), 0.0), 1.0)
    role = " best-thread" if trial["number"] == best else " default-thread" if is_default(trial) else ""
    return f"thread heat-{LEVELS[round(share * (len(LEVELS) - 1))]}{role}"


def ramp() -> Markup:
    """Draw the colors of accuracies."""
    cells = [svg.rectangle(12 * place, 0, 12, 12, f"cell heat-{level}") for place, level in enumerate(LEVELS)]
    return svg.tag("svg", *cells, width=12 * len(cells), height=12, class_="ramp", **svg.HIDDEN)


def is_default(trial: Trial) -> bool:
    """Whether a trial trained the default recipe."""
    return bool(trial["note"] == DEFAULT_NOTE)


def clipped(text: str, most: float) -> str:
    """Shorten text to `most` characters."""
    return text if len(text) <= most else f"{text[: max(int(most) - 1, 1)]}…"


def about(trial: Trial) -> str:
    """Describe a trial in one line."""
    default = f" ({DEFAULT_NOTE})" if is_default(trial) else ""
    reached = clipped(trial["note"], 120) or "no accuracy"
    if trial["accuracy"] is not None:
        reached = f"{wording.percent(trial['accuracy'])} after {trial['epochs']} of {trial['of_epochs']} epochs"
    return f"Trial {trial['number']}{default}, {trial['state']}: {reached}"


def names(wanted: Sequence[tuple[float, float, str]], right: float, bottom: float, places: Any = ABOVE) -> Markup:
    """Write names at their points as far as there is room, the first ones first."""
    boxes: list[tuple[float, float, float, float]] = []
    parts = []
    for x, y, text in wanted:
        for dx, dy, anchor in places:
            start = x + dx - 7.0 * len(text) * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (start, y + dy - 12, start + 7.0 * len(text), y + dy + 4)
            is_free = not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes)
            if is_free and box[0] >= LEFT and box[1] >= 0 and box[2] <= right and box[3] <= bottom:
                boxes.append(box)
                parts.append(svg.words(x + dx, y + dy, text, anchor))
                break
    return svg.tag("g", *parts, class_="over")


def _named(study: Study) -> list[tuple[Trial, str]]:
    """Return the best trial and the default one, each with what charts call them."""
    best = [(trial, f"best ({trial['number']})") for trial in study["trials"] if trial["number"] == study["best"]]
    others = [(trial, "default") for trial in study["trials"] if is_default(trial)]
    return best + [(trial, name) for trial, name in others if trial["number"] != study["best"]]


def history(study: Study, width: float) -> Markup:
    """Draw each trial's accuracy by number, and the best so far; trials without one are below the scale."""
    trials, right, bottom = study["trials"], width - 16, 240.0
    up = final_scale(measured(study), bottom, 26)
    across = Scale(-0.5, max(trial["number"] for trial in trials) + 0.5, LEFT, right)
    lane = 26.0 * any(trial["accuracy"] is None for trial in trials)

    def point(trial: Trial) -> tuple[float, float]:
        y = bottom + lane / 2 + 2 if trial["accuracy"] is None else min(up(trial["accuracy"]), bottom)
        return across(trial["number"]), y

    steps = staircase([(across(number), min(up(accuracy), bottom)) for number, accuracy in study["best_so_far"]])
    ticks = [tick for tick in across.ticks(12 if width == WIDE else 6) if tick >= 0 and tick == round(tick)]
    radius = 4.5 if (right - LEFT) / len(trials) > 9 else 3.0
    return svg.drawing(
        "Accuracy of each trial by number",
        f"{wording.plural(len(trials), 'trial')}; best {wording.percent(measured(study)[-1]['accuracy'])}.",
        width,
        bottom + lane + 46,
        svg.left_axis(up, LEFT, right, svg.percent),
        svg.line(LEFT, bottom, right, bottom, "grid"),
        svg.words(LEFT - 7, bottom + lane / 2 + 6, "none", "end") if lane else Markup(),
        svg.bottom_axis(across, ticks, bottom + lane + 4, "{:.0f}".format, "trial"),
        svg.polyline([*steps, (right, steps[-1][1])], "line best-line") if steps else Markup(),
        *(svg.mark(about(trial), _dot(trial, *point(trial), radius, study["best"])) for trial in trials),
        names([(*point(trial), name) for trial, name in _named(study)], right, bottom),
    )


def _dot(trial: Trial, x: float, y: float, radius: float, best: int | None) -> Markup:
    look = DEFAULT if is_default(trial) else LOOKS[trial["state"]]
    larger = 2 * (is_default(trial) or trial["number"] == best)
    return svg.tag("g", svg.dot(look.shape, x, y, radius + larger), class_=look.color)


def staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a line that keeps its height until the next point is higher."""
    steps = list(points[:1])
    for x, y in points[1:]:
        steps += [(x, steps[-1][1]), (x, y)] if y < steps[-1][1] else []
    return steps


def curves(study: Study, width: float) -> Markup:
    """Draw the accuracy of every trial by epoch, on a scale that a tenth of the finished trials begin below."""
    trials, right, bottom = [trial for trial in measured(study) if trial["curve"]], width - 80, 220.0
    points = [point for trial in trials for point in trial["curve"]]
    starts = _accuracies(trials, [trial["curve"][0][1] for trial in trials])
    up = _share_scale(starts[len(starts) // 10], max(accuracy for _, accuracy in points), bottom, 8)
    first, last = min(points)[0], max(points)[0]
    half = 0.5 if first == last else 0.0
    across = Scale(first - half, last + half, LEFT + 6, right)
    ticks = [tick for tick in across.ticks(10 if width == WIDE else 6) if tick == round(tick)]
    places = {one["number"]: [(across(epoch), up(accuracy)) for epoch, accuracy in one["curve"]] for one in trials}
    colors, marks = final_scale(trials, 0, 1), []
    for trial in trials:
        line, look = places[trial["number"]], thread(trial, colors, study["best"])
        end = svg.tag("g", svg.dot(LOOKS[trial["state"]].shape, *line[-1], 2.6), class_=look)
        marks.append(svg.mark(about(trial), svg.polyline(line, "reach"), svg.polyline(line, look), end))
    box = {"x": LEFT, "y": 0.0, "width": width - LEFT, "height": bottom}
    return svg.drawing(
        "Validation accuracy of each trial by epoch",
        wording.plural(len(trials), "trial"),
        width,
        bottom + 42,
        svg.left_axis(up, LEFT, right, svg.percent),
        svg.bottom_axis(across, ticks, bottom, "{:.0f}".format, "epoch"),
        svg.tag("svg", *marks, viewBox=" ".join(map(svg.number, box.values())), **box),
        names([(*places[t["number"]][-1], name) for t, name in _named(study) if t["curve"]], width, bottom, BESIDE),
    )
