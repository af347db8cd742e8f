"""A model and its training as stand-alone native scripts, one a framework, with one line for each layer."""

from __future__ import annotations

from dataclasses import replace

from diptych.native import tensorflow, torch
from diptych.native.shared import Script
from diptych.spec import ModelSpec, Recipe


def scripts(spec: ModelSpec, recipe: Recipe) -> tuple[Script, Script]:
    """Return the PyTorch script and the Keras script of a training, as text; needs no framework."""
    if {array.role for array in spec.trainable} <= set(recipe.no_decay):
        recipe = replace(recipe, l2=0.0, decoupled_decay=0.0)
    return torch.script(spec, recipe), tensorflow.script(spec, recipe)
