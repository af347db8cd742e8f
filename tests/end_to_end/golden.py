"""Texts that change on purpose only: DIPTYCH_UPDATE_GOLDEN=1 rewrites them."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def assert_golden(name, text):
    """`text` is what `tests/golden/<name>` holds."""
    path = FOLDER / name
    if os.environ.get("DIPTYCH_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
