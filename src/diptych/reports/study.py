"""The report of a study, `study.html`, and its trials as a table, `study.csv`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from markupsafe import Markup

from diptych.artifacts.store import write_parts
from diptych.comparison.runs import TITLES
from diptych.reports import figures_hyperparameters, figures_trials, svg
from diptych.reports.page import compose

COLUMNS = "number state accuracy epochs seconds num_parameters flops latency_ms".split()
SECTIONS = {
    "result": "Result",
    "history": "Trials by number",
    "curves": "Learning curves",
    "parameters": "Hyperparameters",
    "front": "Accuracy, cost and size",
    "finalists": "Finalists",
    "costs": "Costs",
    "trials": "All trials",
    "setup": "Setup",
}


def write(directory: Path, content: dict[str, Any]) -> None:
    """Write `study.html` and `study.csv` from the content of `study.json`; raises ArtifactError if it cannot."""
    write_parts(directory / "study.csv", table(content).encode())
    write_parts(directory / "study.html", render(content).encode())


def table(study: Mapping[str, Any]) -> str:
    """Return the trials as CSV, one a row; a parameter with the name of another column gets the prefix `param_`."""
    names = parameters(study)
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*COLUMNS, *(f"param_{name}" if name in COLUMNS else name for name in names)])
    for trial in study["trials"]:
        rows.writerow([*(trial[key] for key in COLUMNS), *(trial["params"].get(name) for name in names)])
    return text.getvalue()


def parameters(study: Mapping[str, Any]) -> list[str]:
    """Return the names of the space's parameters, then of any others that trials have."""
    names = [parameter["name"] for parameter in study["space"]]
    return list(dict.fromkeys([*names, *(name for trial in study["trials"] for name in trial["params"])]))


def render(study: Mapping[str, Any]) -> str:
    """Return the report of a study as HTML."""
    charts, states = _charts(study), Counter(trial["state"] for trial in study["trials"])
    counts = {state: states[state] for state in figures_trials.LOOKS if states[state]}
    default = next(filter(figures_trials.is_default, study["trials"]), None)
    empty = {key for key, chart in charts.items() if not chart}
    empty |= {key for key in ("finalists", "trials") if not study[key]}
    cost = figures_hyperparameters.cost_of(study)
    return compose(
        "study.html.j2",
        ("page.css", "charts.css", "study.css", "print.css"),
        ("report.js",),
        c=study,
        charts=charts,
        importance=figures_hyperparameters.importance(study) if study["importance"] else None,
        sections={key: title for key, title in SECTIONS.items() if key not in empty},
        names=parameters(study),
        by_number={trial["number"]: trial for trial in study["trials"]},
        default=default,
        engines=TITLES,
        counts=counts,
        looks=[figures_trials.DEFAULT] * bool(default) + [figures_trials.LOOKS[state] for state in counts],
        ramp=figures_trials.ramp(),
        cost=figures_hyperparameters.COSTS.get(cost or "", ""),
        front=figures_hyperparameters.front_of(study, cost) if cost else [],
        unmeasured=[t["number"] for t in figures_hyperparameters.finished(study) if cost and t[cost] is None],
        largest=max((trial["num_parameters"] or 0 for trial in study["trials"]), default=0),
        setting=figures_hyperparameters.setting,
        clock=lambda seconds: str(timedelta(seconds=round(seconds))),
    )


def _charts(study: Mapping[str, Any]) -> dict[str, Markup | None]:
    """Draw the charts for which there are data, each for a wide page and for a phone; the style sheet shows one."""
    trials = figures_trials.measured(study)
    wanted = {
        "history": (figures_trials.history, trials),
        "curves": (figures_trials.curves, any(trial["curve"] for trial in trials)),
        "parameters": (figures_hyperparameters.parallel, trials and study["space"]),
        "front": (figures_hyperparameters.front, figures_hyperparameters.cost_of(study)),
    }
    drawn = {}
    for key, (draw, has_data) in wanted.items():
        pair = (figures_trials.WIDE, "for-desk"), (figures_trials.NARROW, "for-phone")
        parts = [svg.tag("div", draw(study, width), class_=kind) for width, kind in pair if has_data]
        drawn[key] = Markup("").join(parts) if parts else None
    return drawn
