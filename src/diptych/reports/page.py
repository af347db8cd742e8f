"""Reports of a comparison and of a data check: HTML in one file that loads nothing from elsewhere, and Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from diptych.comparison import wording
from diptych.data.rules import Finding
from diptych.errors import first_of
from diptych.reports import figures, figures_panels, svg
from diptych.reports.svg import Side, sides_of

RESULT_HEADS = ("", "accuracy", "loss", "images/s", "seconds")
RESULT_COSTS = ("train_throughput", "train_seconds")
TEMPLATES = Path(__file__).parent / "templates"
MAX_WRITTEN_CLASSES = 25
"""Number of classes up to which confusion matrices are written as tables."""
MAX_IMAGE_SIZE = 96
MAX_PIXELATED_SIZE = 48
"""Size in pixels up to which an image is stored without loss and shown pixel by pixel."""
MAX_SHOWN = 48
"""Findings of a kind that are shown with images."""
MAX_GROUP = 6
"""Images of one finding."""
MAX_LISTED = 500
"""Findings of a kind that are listed; `findings.json` has all of them."""
SEVERITY_MARKS = {"error": "✗", "warning": "!", "note": "·"}


def render(comparison: Mapping[str, Any], images: Mapping[int, np.ndarray]) -> str:
    """Return the report of a comparison as HTML, with these test images by id, uint8, (H, W, 1 or 3)."""
    sides, curves = sides_of(comparison), figures_panels.curves_of(comparison)
    return compose(
        "report.html.j2",
        ("page.css", "charts.css", "print.css"),
        ("report.js",),
        c=comparison,
        sides=sides,
        results=results(comparison),
        sections=_sections(comparison),
        over="seeds" if comparison["subject"]["seeds"] else "runs",
        num_seeds=len(comparison["sides"][0]["runs"]),
        pictures={place: picture(image) for place, image in images.items()},
        difference_chart=figures.difference_chart(comparison, sides),
        curves=curves,
        curve_panels=figures_panels.curve_panels(curves, sides),
        reliability_panels=list(map(figures_panels.reliability_panel, sides, comparison["reliability"])),
        cost_charts=figures.cost_charts(comparison, sides),
        explained_chart=figures.explained_chart(comparison["explained"], sides) if comparison["explained"] else None,
        **_confusions(comparison, sides),
        **_classes(comparison, sides),
    )


def markdown(comparison: Mapping[str, Any]) -> str:
    """Return a comparison as Markdown, with the numbers of the page."""
    template = _environment().overlay(finalize=_plain).get_template("comparison.md.j2")
    text = template.render(c=comparison, results=results(comparison), result_heads=RESULT_HEADS)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _plain(value: Any) -> Markup:
    """Escape text so that it cannot end a cell of a Markdown table or start a tag."""
    if isinstance(value, Markup):
        return value
    return Markup(" ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;"))


def results(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of results: a row for each side, with speed and time only if the machine was idle."""
    medians = {cost["key"]: cost["medians"] for cost in comparison["costs"] if not comparison["disturbed"]}
    rows = []
    for index, side in enumerate(comparison["sides"]):
        which = min(index, 1)
        accuracy, _, loss, *_ = comparison["contrasts"][max(index - 1, 0)]["measures"]
        share = wording.percent(accuracy["means"][which])
        if accuracy["deviations"]:
            share += f" ± {wording.spread(accuracy['deviations'][which], 'share')}"
        speed, seconds = (medians[key][index] if key in medians else None for key in RESULT_COSTS)
        duration = wording.NOTHING if seconds is None else f"{seconds:,.1f}"
        rows.append([side["name"], share, wording.size(loss["means"][which], "nats"), wording.count(speed), duration])
    return rows


def _sections(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of the sections by id; those without content are left out."""
    titles = {
        "results": "Results",
        "verdict": "Verdict",
        "measures": "Measures",
        "curves": "Training curves",
        "confusions": "Confusion matrices",
        "classes": "Class by class",
        "reliability": "Reliability",
        "costs": "Costs",
        "explained": "Effects of defaults",
        "parity": "Parity",
        "gallery": "Disagreements",
        "code": "Native code",
        "deployment": "Exported files",
        "differences": "Known differences",
        "settings": "Settings",
    }
    return {key: title for key, title in titles.items() if comparison.get(key, True)}


def _confusions(comparison: Mapping[str, Any], sides: Sequence[Side]) -> dict[str, Any]:
    names = comparison["subject"]["class_names"]
    matrices = [figures_panels.Confusion(np.asarray(counts)) for counts in comparison["confusion"]]
    is_written = len(names) <= MAX_WRITTEN_CLASSES
    mistakes = figures_panels.frequent_mistakes(matrices, 10 if is_written else 15)
    pairs = [(true, predicted) for true, predicted, _ in mistakes]
    maps = [figures_panels.heat_map(one, side, names, pairs) for one, side in zip(matrices, sides, strict=True)]
    return {"matrices": matrices, "mistakes": mistakes, "heat_maps": None if is_written else maps}


def _classes(comparison: Mapping[str, Any], sides: Sequence[Side]) -> dict[str, Any]:
    """Return the classes in order of the difference between the first two sides, each with its strip."""
    across = figures.strip_scale([entry for entry in comparison["per_class"] if entry["support"]])
    rows = []
    for index, entry in enumerate(comparison["per_class"]):
        if not entry["support"]:
            continue
        derived = {"difference": entry["f1"][1] - entry["f1"][0], "strip": figures.strip(entry, across, sides)}
        rows.append({**entry, "index": index, **derived})
    rows.sort(key=lambda row: row["difference"])
    return {"class_rows": rows, "strip_axis": figures.strip_axis(across)}


def render_check(check: Mapping[str, Any], pictures: Mapping[int, Picture]) -> str:
    """Return the report of a data check as HTML, without scripts, with the available pictures, by place."""
    by_kind = {key: list(group) for key, group in groupby(check["findings"], key=lambda finding: finding["kind"])}
    return compose(
        "check.html.j2",
        ("page.css", "charts.css", "check.css", "print.css"),
        (),
        c=check,
        sections={"verdict": "Overview", **{kind["kind"]: kind["title"] for kind in check["kinds"]}},
        headline=check_headline(check),
        by_kind=by_kind,
        pictures=pictures,
        marks=SEVERITY_MARKS,
        max_shown=MAX_SHOWN,
        max_group=MAX_GROUP,
        max_listed=MAX_LISTED,
    )


def check_headline(check: Mapping[str, Any]) -> str:
    """Return the result of a data check in one line."""
    num_images = f"{sum(check['num_images'].values()):,} images"
    counts = [wording.plural(count, name) for name, count in check["counts"].items() if count]
    return f"{', '.join(counts)} in {num_images}" if counts else f"No problems in {num_images}"


def shown_places(findings: Sequence[Finding]) -> Iterator[int]:
    """Yield the places of the images that the report of a data check shows."""
    for _, kind in groupby(findings, key=lambda finding: finding.kind):
        for finding in list(kind)[:MAX_SHOWN]:
            yield from (sample.place for sample in finding.samples[:MAX_GROUP])


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        """Whether it is shown pixel by pixel."""
        return max(self.width, self.height) <= MAX_PIXELATED_SIZE


def picture(image_hwc: np.ndarray) -> Picture:
    """Encode an image, uint8, (H, W, 1 or 3), shrunk to 96 pixels at most."""
    image = Image.fromarray(image_hwc[..., 0] if image_hwc.shape[2] == 1 else image_hwc)
    kind = "png" if max(image.size) <= MAX_PIXELATED_SIZE else "jpeg"
    image.thumbnail((MAX_IMAGE_SIZE, MAX_IMAGE_SIZE), Image.Resampling.BOX)
    file = BytesIO()
    image.save(file, kind, quality=88)
    return Picture(f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", *image.size)


def highlighted(source: str) -> Markup:
    """Return Python source as HTML with highlighted syntax."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return Markup(highlight(source, PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True)))


def compose(template: str, styles: Sequence[str], scripts: Sequence[str], **view: Any) -> str:
    """Render a template with its style and script inline, and the hashes by which the page admits only these."""
    for kind, names in ("style", styles), ("script", scripts):
        text = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        view |= {kind: Markup(text), f"{kind}_hash": f"sha256-{digest}"}
    return _environment().get_template(template).render(view)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    names = ("count", "percent", "change", "size", "spread", "interval", "p_value", "headed")
    environment.filters.update({name: getattr(wording, name) for name in names})
    environment.filters["json"] = lambda data: json.dumps(data, indent=2, ensure_ascii=False)
    environment.filters |= {"highlighted": highlighted, "first_of": first_of}
    environment.globals.update(
        words=wording, swatch=svg.swatch, pair_name=figures.pair_name, quantities=figures_panels.QUANTITIES
    )
    return environment
