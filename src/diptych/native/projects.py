"""A training as native code, a project for each framework: its files, from the texts of the parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from diptych.native import data, shared, tensorflow, torch
from diptych.native.data import Reading
from diptych.options import EngineName
from diptych.spec import ModelSpec, Recipe

_WRITERS: Mapping[EngineName, ModuleType] = {"torch": torch, "tensorflow": tensorflow}
_REQUIREMENTS = {
    "ai_edge_litert": "ai-edge-litert>=1.0",
    "keras": "keras>=3.8",
    "matplotlib": "matplotlib>=3.8",
    "numpy": "numpy>=2.0",
    "pandas": "pandas>=2.2",
    "PIL": "pillow>=10.3",
    "seaborn": "seaborn>=0.13",
    "sklearn": "scikit-learn>=1.5",
    "tensorflow": "tensorflow>=2.18",
    "torch": "torch>=2.6",
}
_ALWAYS = ("tensorboard>=2.17",)


@dataclass(frozen=True)
class Project:
    """A training in one framework: its files by name, and what they do not do, as sentences."""

    engine: EngineName
    files: Mapping[str, str]
    left_out: tuple[str, ...]
    title: str
    folder: Path = Path()
    """Where the files are, once they are written."""

    @property
    def weights(self) -> str:
        """The file that `train.py` writes."""
        return str(_WRITERS[self.engine].WEIGHTS)


def project(
    spec: ModelSpec, recipe: Recipe, engine: EngineName, reading: Reading | None = None, title: str = ""
) -> Project:
    """Write a training as a project of one framework; needs no framework.

    Args:
        spec: the model.
        recipe: the training; without flips and crops if they are not set (`Recipe.for_data`).
        engine: torch or tensorflow.
        reading: the data (default: arrays in `data.npz`).
        title: the training's name for people (default: those of the model and the data).
    """
    recipe = plain(spec, recipe)
    known = data.default(spec) if reading is None else reading
    validates = data.validates(known, recipe)
    writer = _WRITERS[engine]
    title = title or f"{spec.name} on {known.title}"
    left_out = (*writer.left_out(spec, recipe), *data.left_out(known, spec))
    code = {
        "model.py": writer.model(spec, recipe),
        "train.py": writer.train(spec, recipe, validates, title),
        "data.py": data.source(known, spec, recipe, writer.DATA, writer.HAS_DATASETS, writer.SMOOTHS_CLASSES),
    }
    readme = shared.render(
        "README",
        title=title,
        framework=writer.FRAMEWORK,
        reading=known,
        kind=known.kind,
        weights=writer.WEIGHTS,
        holds_out=not {"test", *["validation"] * validates} <= {*known.splits},
        augments=shared.augments(recipe),
        left_out=left_out,
    )
    required = "\n".join([*requirements("\n".join(code.values())), ""])
    return Project(engine, {**code, "README.md": readme, "requirements.txt": required}, left_out, title)


def requirements(code: str) -> list[str]:
    """Return the packages that code imports, as pip names them."""
    imported = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    return sorted({*_ALWAYS, *(_REQUIREMENTS[name] for name in imported if name in _REQUIREMENTS)})


def plain(spec: ModelSpec, recipe: Recipe) -> Recipe:
    """Return the recipe without decays of kinds of parameters that the model does not have."""
    if {array.role for array in spec.trainable} <= set(recipe.no_decay):
        return replace(recipe, l2=0.0, decoupled_decay=0.0)
    return recipe
