"""Options of native code; see `diptych.options`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.options import ImageOptions, option
from diptych.spec import Recipe


@dataclass(frozen=True)
class CodeOptions(ImageOptions):
    """What code to write, and where."""

    to: Literal["torch", "tensorflow", "both"] = "both"
    """Framework to write code for; with both, each gets a folder of its name."""
    out: str | Path = "code"
    """Folder for the code."""
    data: str | Path | None = option(None, metavar="DATA")
    """Data that the code reads (default: the run's, or else arrays in data.npz)."""
    recipe: str | Path | Recipe | None = option(None, metavar="RECIPE")
    """Recipe name (see `diptych recipes`) or a recipe.json (default: the run's, or else `default`)."""
    notebook: bool = False
    """Write notebooks instead: notebook.ipynb, and notebook.py with the same cells."""
    force: bool = False
    """Replace files that exist."""
