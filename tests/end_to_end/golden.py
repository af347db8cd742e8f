"""Texts that change only on purpose; DIPTYCH_UPDATE_GOLDEN=1 rewrites them."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def golden(name, now):
    """Return the content of `tests/golden/<name>`; `now` is written there when golden files are rewritten."""
    path = FOLDER / name
    if os.environ.get("DIPTYCH_UPDATE_GOLDEN"):
        path.write_text(now, encoding="utf-8")
    return path.read_text(encoding="utf-8")
