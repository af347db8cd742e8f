"""What every page is made in: templates, style and script inside, and the hashes by which it admits them alone."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from diptych.comparison import wording

TEMPLATES = Path(__file__).parent / "templates"


def frame(styles: Sequence[str], scripts: Sequence[str] = ()) -> dict[str, Any]:
    """Style and script of a page, from files among the templates, with the hashes by which the page admits them."""
    style, script = ("".join(_read(name) for name in names) for names in (styles, scripts))
    return {
        "style": Markup(style),
        "script": Markup(script),
        "style_hash": _digest(style),
        "script_hash": _digest(script),
    }


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def environment() -> jinja2.Environment:
    """Templates that escape what they show, stumble over what is missing, and write numbers as people read them."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["count"] = wording.count
    made.filters["json"] = lambda data: json.dumps(data, indent=2, ensure_ascii=False)
    made.globals["words"] = wording
    return made
