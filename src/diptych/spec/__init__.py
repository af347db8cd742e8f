"""Models and training recipes as plain data, without a framework."""

from diptych.spec.layers import ArraySpec, Layer
from diptych.spec.model import ModelSpec
from diptych.spec.recipe import Recipe

__all__ = ["ArraySpec", "Layer", "ModelSpec", "Recipe"]
