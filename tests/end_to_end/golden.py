"""Texts that change on purpose only: DIPTYCH_UPDATE_GOLDEN=1 rewrites them."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def golden(name, now):
    """What `tests/golden/<name>` holds; `now` is what it becomes when golden files are rewritten."""
    path = FOLDER / name
    if os.environ.get("DIPTYCH_UPDATE_GOLDEN"):
        path.write_text(now, encoding="utf-8")
    return path.read_text(encoding="utf-8")
