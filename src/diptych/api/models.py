"""Models from names and specs: built as plain framework models, or proved equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from diptych import engines
from diptych.comparison import parity
from diptych.comparison.certificate import Certificate
from diptych.spec import ModelSpec, zoo
from diptych.spec.codec import read_model

EngineName = Literal["torch", "tensorflow"]


def build(
    model: str | Path | ModelSpec,
    engine: EngineName,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    precision: str = "float32",
) -> Any:
    """A plain `torch.nn.Module` or `keras.Model`: uint8 images, (N, H, W, C), in; logits, (N, K), out.

    Args:
        model: a name of the zoo, a `spec.json`, or a spec.
        engine: torch or tensorflow.
        input_shape: (height, width, channels), for a model of the zoo.
        num_classes: number of logits, for a model of the zoo.
        precision: float32, float64, bfloat16 or float16.

    Raises:
        SpecError: no such model, or it does not fit the shape.
        MissingEngine: the framework is not installed.
    """
    return engines.get(engine).build(_spec(model, input_shape, num_classes), precision)


def verify(
    model: str | Path | ModelSpec,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    **settings: Any,
) -> Certificate:
    """Prove that a model is the same in both frameworks; see `comparison.parity.verify` for the settings.

    Args:
        model: a name of the zoo, a `spec.json`, or a spec.
        input_shape: (height, width, channels), for a model of the zoo.
        num_classes: number of logits, for a model of the zoo.
        settings: optimizers, precisions, steps, digits_epochs, seed, on_rung.

    Raises:
        SpecError: no such model, or it does not fit the shape.
        MissingEngine: a framework is not installed.
    """
    return parity.verify(_spec(model, input_shape, num_classes), **settings)


def _spec(model: str | Path | ModelSpec, input_shape: tuple[int, int, int], num_classes: int) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    return spec_from_file(model) or zoo.model(str(model), input_shape, num_classes)


def spec_from_file(model: str | Path) -> ModelSpec | None:
    """The spec in a JSON file; None where `model` is a name."""
    return read_model(Path(model)) if str(model).endswith(".json") else None
