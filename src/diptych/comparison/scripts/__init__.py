"""A model and its training as stand-alone native scripts, one a framework: what their users would write by hand."""

from __future__ import annotations

from diptych.comparison.scripts import tensorflow, torch
from diptych.comparison.scripts.shared import Script
from diptych.spec import ModelSpec, Recipe

__all__ = ["Script", "scripts"]


def scripts(spec: ModelSpec, recipe: Recipe) -> tuple[Script, Script]:
    """The PyTorch script and the Keras script of a training; text alone, no framework is needed."""
    return torch.script(spec, recipe), tensorflow.script(spec, recipe)
