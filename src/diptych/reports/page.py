"""The report of a comparison: one HTML file that needs nothing else, for two minutes or for an hour."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
import numpy as np

from diptych.comparison import wording
from diptych.reports import confusions, figures, figures_bars, figures_panels, svg
from diptych.reports.frame import environment, frame
from diptych.reports.gallery import picture
from diptych.reports.highlight import highlighted
from diptych.reports.sides import Side, sides_of

STYLES = ("page.css", "charts.css", "print.css")
SCRIPTS = ("report.js",)

OUTCOMES = {
    "equivalent": "Equivalent",
    "different": "Different",
    "undecided": "Undecided",
    "too-few": "Too few runs",
}
KINDS = {
    "aligned": "Both sides do the same mathematics on the same bytes, from the same weights.",
    "native": "Each side trains with its own framework's defaults.",
    "runs": "Finished runs, compared as they are.",
}


def render(comparison: Mapping[str, Any], pictures: Mapping[int, np.ndarray]) -> str:
    """The page as text.

    Args:
        comparison: what `comparison.json` holds.
        pictures: test images that the gallery shows, by id: uint8, (H, W, 1 or 3); may be empty.
    """
    sides = sides_of(comparison)
    view = {
        **frame(STYLES, SCRIPTS),
        "c": comparison,
        "sides": sides,
        "outcome": OUTCOMES[comparison["verdict"]["outcome"]],
        "protocol": KINDS[comparison["kind"]],
        "sections": _sections(comparison),
        "over": "seeds" if comparison["subject"]["seeds"] else "runs",
        "num_seeds": len(comparison["sides"][0]["runs"]),
        "speed": next((cost for cost in comparison["costs"] if cost["key"] == "train_throughput"), None),
        "pictures": {place: picture(pixels) for place, pixels in pictures.items()},
        **_charts(comparison, sides),
        **_matrices(comparison, sides),
        **_classes(comparison, sides),
    }
    return _environment().get_template("report.html.j2").render(view)


def _sections(comparison: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Ids and titles of the parts that there are."""
    found = {
        "verdict": ("Verdict", True),
        "measures": ("Measures", True),
        "curves": ("Training curves", True),
        "confusions": ("Confusions", True),
        "classes": ("Class by class", True),
        "reliability": ("Reliability", True),
        "costs": ("Costs", bool(comparison["costs"])),
        "explained": ("The gap explained", bool(comparison["explained"])),
        "parity": ("Parity", bool(comparison["parity"])),
        "gallery": ("Where they disagree", True),
        "code": ("Native code", bool(comparison["code"])),
        "deployment": ("Files to ship", bool(comparison["deployment"])),
        "differences": ("Known differences", bool(comparison["differences"])),
        "settings": ("Settings", True),
    }
    return [(key, title) for key, (title, is_there) in found.items() if is_there]


def _charts(comparison: Mapping[str, Any], sides: list[Side]) -> dict[str, Any]:
    explained = comparison["explained"]
    return {
        "difference_chart": figures.difference_chart(comparison, sides),
        "curve_panels": figures_panels.curve_panels(comparison, sides),
        "curve_rows": [
            {name: figures_panels.summarised(curves, name) for name in figures_panels.TITLES}
            for curves in comparison["curves"]
        ],
        "curve_titles": figures_panels.TITLES,
        "reliability_panels": figures_panels.reliability_panels(comparison, sides),
        "cost_panels": figures_bars.cost_panels(comparison, sides),
        "explained_chart": figures.explained_chart(explained, sides) if explained else None,
    }


def _matrices(comparison: Mapping[str, Any], sides: list[Side]) -> dict[str, Any]:
    found = confusions.confusions_of(comparison)
    is_written = len(comparison["subject"]["class_names"]) <= confusions.MOST_WRITTEN
    mistakes = confusions.frequent(found, 10 if is_written else 15)
    pairs = [(mistake.true, mistake.said) for mistake in mistakes]
    maps = [figures_bars.heat_map(one, side, pairs) for one, side in zip(found, sides, strict=True)]
    return {"matrices": found, "mistakes": mistakes, "heat_maps": None if is_written else maps}


def _classes(comparison: Mapping[str, Any], sides: list[Side]) -> dict[str, Any]:
    """Classes in order of the difference between the first two sides, each with its strip."""
    entries = comparison["per_class"]
    across = figures_bars.strip_scale(entries)
    rows = [
        {
            **entry,
            "index": index,
            "difference": entry["f1"][1] - entry["f1"][0],
            "strip": figures_bars.strip(entry, across, sides),
        }
        for index, entry in enumerate(entries)
    ]
    return {
        "class_rows": sorted(rows, key=lambda row: row["difference"]),
        "strip_axis": figures_bars.strip_axis(across),
    }


@cache
def _environment() -> jinja2.Environment:
    made = environment()
    names = ("percent", "signed", "points", "size", "spread", "change", "interval", "p_value", "headed")
    made.filters.update({name: getattr(wording, name) for name in names})
    made.filters["difference"] = wording.bare_change
    made.filters["highlighted"] = highlighted
    made.globals.update(swatch=svg.swatch, cell_class=confusions.cell_class, pair_name=figures.pair_name)
    return made
