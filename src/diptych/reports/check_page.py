"""The report of a check of data: one HTML file without scripts, a contact sheet of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import jinja2

from diptych.data.check.findings import Finding
from diptych.reports.frame import environment, frame
from diptych.reports.gallery import Picture

STYLES = ("page.css", "charts.css", "check.css", "print.css")
MOST_SHOWN = 48
"""Findings of a kind that are shown with pictures."""
MOST_OF_A_GROUP = 6
"""Pictures of one finding."""
MOST_LISTED = 500
"""Findings of a kind that are named at all; `findings.json` names every one."""
MARKS = {"error": "✗", "warning": "!", "note": "·"}


def shown(findings: Sequence[Finding]) -> Iterator[int]:
    """The places of the images that the page shows."""
    for _, kind in groupby(findings, key=lambda finding: finding.kind):
        for finding in list(kind)[:MOST_SHOWN]:
            yield from (sample.place for sample in finding.samples[:MOST_OF_A_GROUP])


def render(check: Mapping[str, Any], pictures: Mapping[int, Picture]) -> str:
    """The page as text.

    Args:
        check: what `findings.json` holds.
        pictures: of the images that are shown and can be, by place.
    """
    by_kind = {key: list(found) for key, found in groupby(check["findings"], key=lambda finding: finding["kind"])}
    view = {
        **frame(STYLES),
        "c": check,
        "sections": [("verdict", "Overview"), *((kind["kind"], kind["title"]) for kind in check["kinds"])],
        "headline": headline(check),
        "by_kind": by_kind,
        "has_pictures": {key: _has_pictures(found, pictures) for key, found in by_kind.items()},
        "pictures": pictures,
        "marks": MARKS,
        "most_shown": MOST_SHOWN,
        "most_of_a_group": MOST_OF_A_GROUP,
        "most_listed": MOST_LISTED,
    }
    return _environment().get_template("check.html.j2").render(view)


def headline(check: Mapping[str, Any]) -> str:
    """What was found, in one line."""
    num_images = f"{sum(check['num_images'].values()):,} images"
    found = [f"{count:,} {name}{'s' * (count > 1)}" for name, count in check["counts"].items() if count]
    return f"{', '.join(found)} in {num_images}" if found else f"Nothing to complain of in {num_images}"


def _has_pictures(findings: Sequence[Mapping[str, Any]], pictures: Mapping[int, Picture]) -> bool:
    return any(sample["place"] in pictures for finding in findings for sample in finding["images"])


@cache
def _environment() -> jinja2.Environment:
    return environment()
