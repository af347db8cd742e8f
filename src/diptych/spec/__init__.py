"""What is built and how it is trained, as plain data: no framework, no arrays of pixels."""

from diptych.spec.layers import ArraySpec, Layer
from diptych.spec.model import ModelSpec
from diptych.spec.recipe import Recipe

__all__ = ["ArraySpec", "Layer", "ModelSpec", "Recipe"]
