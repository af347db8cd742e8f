"""Models from names and specs: built as plain framework models, proved equal, or found in files of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from diptych import engines
from diptych.comparison import parity
from diptych.comparison.parity.certificate import Certificate
from diptych.deployment.transfer import Transfer
from diptych.deployment.transfer import transfer as bring
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


def transfer(
    source: str | Path,
    target: str | Path,
    *,
    model: str | Path | ModelSpec | None = None,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    layer_map: Mapping[str, str] | None = None,
    force: bool = False,
) -> Transfer:
    """Bring the weights in one file into another, bit for bit: PyTorch's, Keras's or safetensors, either way.

    Layers are found by name and by structure. Nothing in the source is run, and nothing is guessed.

    Args:
        source: a `.pt`, `.pth`, `.safetensors`, `.keras`, `.h5` or `.weights.h5` file, whoever wrote it.
        target: a file of one of the same kinds.
        model: a name of the zoo, a `spec.json`, or a spec; what the source says of itself when not given.
        input_shape: (height, width, channels), for a model of the zoo.
        num_classes: number of logits, for a model of the zoo.
        layer_map: layers of the source, by name, and the layers of the model that they are.
        force: replace a target that is there.

    Raises:
        ArtifactError: the source is damaged, holds another model, or leaves open which layer is which.
        UsageError: a suffix is unknown, the target exists, or the source does not say which model it holds.
        SpecError: no such model, or it does not fit the shape.
        MissingEngine: a framework that one of the files needs is not installed.
    """
    spec = None if model is None else _spec(model, input_shape, num_classes)
    return bring(Path(source), Path(target), spec=spec, layer_map=layer_map, force=force)


def _spec(model: str | Path | ModelSpec, input_shape: tuple[int, int, int], num_classes: int) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    return spec_from_file(model) or zoo.model(str(model), input_shape, num_classes)


def spec_from_file(model: str | Path) -> ModelSpec | None:
    """The spec in a JSON file; None where `model` is a name."""
    return read_model(Path(model)) if str(model).endswith(".json") else None
