"""Models by name."""

from __future__ import annotations

from collections.abc import Callable

from diptych.errors import SpecError
from diptych.spec.model import ModelSpec
from diptych.spec.typed import did_you_mean
from diptych.spec.zoo import plain, resnet

MODELS: dict[str, tuple[Callable[..., ModelSpec], str]] = {
    "mlp": (plain.mlp, "two hidden layers of 256: the baseline"),
    "cifar_sequential": (plain.cifar_sequential, "conv 32, 64, 64, dense 64: TensorFlow's tutorial CNN"),
    "fashion_cnn": (plain.fashion_cnn, "conv 32, 64, dense 128, dropout"),
    "cnn": (plain.cnn, "six conv-norm-ReLU blocks, dropout, dense: the default"),
    "resnet20": (resnet.resnet20, "He et al. 2015, CIFAR form, parameter-free shortcuts (A)"),
    "resnet20_b": (resnet.resnet20_b, "the same with projection shortcuts (B)"),
    "resnet56": (resnet.resnet56, "He et al. 2015, CIFAR form, parameter-free shortcuts (A)"),
    "resnet56_b": (resnet.resnet56_b, "the same with projection shortcuts (B)"),
}


def model(
    name: str,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ModelSpec:
    """A model of the zoo for images of `input_shape` (height, width, channels).

    Args:
        name: one of `MODELS`.
        input_shape: any that the arithmetic allows.
        num_classes: number of logits.
        mean: per channel, in units of 0 to 1; 0.5 when not given.
        std: per channel, in units of 0 to 1; 0.25 when not given.

    Raises:
        SpecError: the name is unknown, or the images are too small for the model; says which layer.
    """
    if name not in MODELS:
        raise SpecError(f"Unknown model '{name}'{did_you_mean(name, MODELS)}. `diptych models` lists them.")
    height, width, channels = input_shape
    write, _ = MODELS[name]
    try:
        return write((height, width, channels), num_classes, mean or (0.5,) * channels, std or (0.25,) * channels)
    except SpecError as error:
        raise SpecError(
            f"{error} Images are {height} × {width} here; image_size brings them to another size."
        ) from error
