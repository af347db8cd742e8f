"""The vocabulary of a model: one frozen dataclass a layer, with its shape, arrays and arithmetic.

Shapes are NHWC without the batch: `(height, width, channels)` for maps and `(features,)` for vectors.
Arrays carry PyTorch's names and layouts, which are the canonical ones (see ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

from diptych.errors import SpecError
from diptych.spec.init import Initializer

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[int, int, int, int]
Role: TypeAlias = Literal["kernel", "bias", "scale", "shift", "mean", "variance"]
Function: TypeAlias = Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"]


@dataclass(frozen=True)
class ArraySpec:
    """One array of a model, in canonical (PyTorch) layout.

    Attributes:
        name: canonical name, such as `layer1.0.conv1.weight`.
        shape: canonical shape, such as OIHW for a convolution's kernel.
        role: what the array is to its layer; running statistics are `mean` and `variance`.
        initializer: the rule its first values are drawn by.
        fan_in: inputs that meet in one output, for the drawing rules.
        fan_out: outputs that one input reaches.
    """

    name: str
    shape: Shape
    role: Role
    initializer: Initializer
    fan_in: int = 1
    fan_out: int = 1

    @property
    def trainable(self) -> bool:
        """Whether gradients reach it (running statistics are only followed)."""
        return self.role not in ("mean", "variance")

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Normalize:
    """`(pixels / 255 − mean) / std` per channel; the first layer of every model."""

    name: str
    inputs: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Conv:
    """Two-dimensional convolution (cross-correlation). `padding` is (top, bottom, left, right) zeros."""

    name: str
    inputs: tuple[str, ...]
    filters: int
    kernel: Pair
    strides: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    use_bias: bool = True
    initializer: Initializer = "he_normal"


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation over the last axis. `decay` is the share of the *old* running statistics."""

    name: str
    inputs: tuple[str, ...]
    decay: float = 0.9
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Activation:
    """An elementwise function; `slope` is the negative side of `leaky_relu`. `gelu` is the exact one."""

    name: str
    inputs: tuple[str, ...]
    function: Function = "relu"
    slope: float = 0.01


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows; padding (the same on opposite sides) counts as minus infinity."""

    name: str
    inputs: tuple[str, ...]
    kernel: Pair
    strides: Pair
    padding: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class AvgPool:
    """Mean over windows; padding (the same on opposite sides) is left out of the divisor."""

    name: str
    inputs: tuple[str, ...]
    kernel: Pair
    strides: Pair
    padding: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class GlobalAvgPool:
    """Mean over height and width."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Flatten:
    """A map as a vector, in channel, height, width order."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Dense:
    """Fully connected layer."""

    name: str
    inputs: tuple[str, ...]
    units: int
    use_bias: bool = True
    initializer: Initializer = "he_normal"


@dataclass(frozen=True)
class Dropout:
    """Zeroes each element with probability `rate` in training and scales the others by 1/(1 − rate)."""

    name: str
    inputs: tuple[str, ...]
    rate: float = 0.5


@dataclass(frozen=True)
class Add:
    """Elementwise sum of two or more inputs of one shape."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Concat:
    """Inputs side by side along the channels."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class PadChannels:
    """Zero channels before and after: the parameter-free shortcut (option A) of He et al. 2015."""

    name: str
    inputs: tuple[str, ...]
    before: int
    after: int


Layer: TypeAlias = (
    Normalize
    | Conv
    | BatchNorm
    | Activation
    | MaxPool
    | AvgPool
    | GlobalAvgPool
    | Flatten
    | Dense
    | Dropout
    | Add
    | Concat
    | PadChannels
)


def scale_and_offset(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """A Normalize as `pixels * scale + offset`, per channel: the form that both engines compute."""
    scale = [1.0 / (255.0 * deviation) for deviation in std]
    offset = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    return scale, offset


def output_shape(layer: Layer, inputs: tuple[Shape, ...]) -> Shape:
    """The shape that `layer` makes of `inputs` (without the batch).

    Raises:
        SpecError: the arithmetic does not allow it; the message names the layer.
    """
    check_settings(layer)
    first = inputs[0]
    match layer:
        case Normalize(mean=mean, std=std):
            _want(layer, len(mean) == len(std) == first[-1], f"mean and std for {first[-1]} channel(s)", mean)
            return first
        case Conv(filters=filters, groups=groups):
            _want_map(layer, first)
            _want(layer, first[-1] % groups == 0, f"groups that divide its {first[-1]} input channels", groups)
            _want(layer, filters % groups == 0, f"groups that divide its {filters} filters", groups)
            return (*_windows(layer, first), filters)
        case MaxPool() | AvgPool():
            _want_map(layer, first)
            return (*_windows(layer, first), first[-1])
        case GlobalAvgPool():
            _want_map(layer, first)
            return first[-1:]
        case Flatten():
            return (prod(first),)
        case Dense(units=units):
            _want(layer, len(first) == 1, "a vector as input (put a Flatten or GlobalAvgPool before it)", first)
            return (units,)
        case Add():
            _want(layer, len(set(inputs)) == 1, "inputs of one shape", inputs)
            return first
        case Concat():
            _want(layer, len({shape[:-1] for shape in inputs}) == 1, "inputs of one height and width", inputs)
            return (*first[:-1], sum(shape[-1] for shape in inputs))
        case PadChannels(before=before, after=after):
            return (*first[:-1], first[-1] + before + after)
        case BatchNorm() | Activation() | Dropout():
            return first


def arrays(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[ArraySpec, ...]:
    """The arrays that `layer` owns, in canonical order and layout."""
    channels = inputs[0][-1]
    match layer:
        case Conv(name=name, filters=filters, kernel=kernel, groups=groups):
            shape = (filters, channels // groups, *kernel)
            area = prod(kernel)
            fan_in, fan_out = shape[1] * area, filters // groups * area
            return _kernel_and_bias(name, shape, layer.initializer, fan_in, fan_out, layer.use_bias)
        case Dense(name=name, units=units):
            return _kernel_and_bias(name, (units, channels), layer.initializer, channels, units, layer.use_bias)
        case BatchNorm(name=name):
            return (
                ArraySpec(f"{name}.weight", (channels,), "scale", "ones"),
                ArraySpec(f"{name}.bias", (channels,), "shift", "zeros"),
                ArraySpec(f"{name}.running_mean", (channels,), "mean", "zeros"),
                ArraySpec(f"{name}.running_var", (channels,), "variance", "ones"),
            )
        case _:
            return ()


def flops(layer: Layer, inputs: tuple[Shape, ...], output: Shape) -> int:
    """Floating-point operations of one image's forward pass; a multiply-add counts as two."""
    match layer:
        case Conv(kernel=kernel, groups=groups, use_bias=use_bias):
            return prod(output) * (2 * prod(kernel) * inputs[0][-1] // groups + use_bias)
        case Dense(use_bias=use_bias):
            return prod(output) * (2 * inputs[0][-1] + use_bias)
        case Normalize() | BatchNorm():
            return 2 * prod(output)
        case MaxPool(kernel=kernel) | AvgPool(kernel=kernel):
            return prod(output) * prod(kernel)
        case GlobalAvgPool():
            return prod(inputs[0])
        case Activation():
            return prod(output)
        case Add():
            return prod(output) * (len(inputs) - 1)
        case Flatten() | Dropout() | Concat() | PadChannels():
            return 0


def check_settings(layer: Layer) -> None:
    """Refuse settings that no input could make sense of; raises SpecError naming the layer."""
    least = 2 if isinstance(layer, Add | Concat) else 1
    enough = len(layer.inputs) >= least if least == 2 else len(layer.inputs) == 1
    _want(layer, enough, "two or more inputs" if least == 2 else "exactly one input", layer.inputs)
    for field, holds, wanted in _CHECKS.get(type(layer), ()):
        value = getattr(layer, field)
        _want(layer, holds(value), f"{field} {wanted}", value)


_POSITIVE = "of at least 1"
_WINDOW_CHECKS: tuple[tuple[str, Callable[..., bool], str], ...] = (
    ("kernel", lambda pair: min(pair) >= 1, _POSITIVE),
    ("strides", lambda pair: min(pair) >= 1, _POSITIVE),
    ("padding", lambda pads: min(pads) >= 0, "of at least 0"),
)
_CHECKS: dict[type, tuple[tuple[str, Callable[..., bool], str], ...]] = {
    Normalize: (("std", lambda std: all(deviation > 0 for deviation in std), "above 0"),),
    Conv: (
        *_WINDOW_CHECKS,
        ("filters", lambda count: count >= 1, _POSITIVE),
        ("groups", lambda count: count >= 1, _POSITIVE),
    ),
    BatchNorm: (
        ("decay", lambda share: 0 <= share < 1, "from 0 up to, not including, 1"),
        ("epsilon", lambda value: value > 0, "above 0"),
    ),
    MaxPool: _WINDOW_CHECKS,
    AvgPool: _WINDOW_CHECKS,
    Dense: (("units", lambda count: count >= 1, _POSITIVE),),
    Dropout: (("rate", lambda share: 0 <= share < 1, "from 0 up to, not including, 1"),),
    PadChannels: (
        ("before", lambda count: count >= 0, "of at least 0"),
        ("after", lambda count: count >= 0, "of at least 0"),
    ),
}


def _windows(layer: Conv | MaxPool | AvgPool, shape: Shape) -> Pair:
    top, bottom, left, right = layer.padding
    if not isinstance(layer, Conv):
        fits = top == bottom <= layer.kernel[0] // 2 and left == right <= layer.kernel[1] // 2
        _want(
            layer,
            fits,
            f"the same padding on opposite sides, at most half its kernel {layer.kernel}",
            layer.padding,
        )
    height, width = shape[0] + top + bottom, shape[1] + left + right
    fits = height >= layer.kernel[0] and width >= layer.kernel[1]
    _want(layer, fits, f"an input of at least {layer.kernel} with padding", (height, width))
    return (
        (height - layer.kernel[0]) // layer.strides[0] + 1,
        (width - layer.kernel[1]) // layer.strides[1] + 1,
    )


def _kernel_and_bias(
    name: str, shape: Shape, initializer: Initializer, fan_in: int, fan_out: int, use_bias: bool
) -> tuple[ArraySpec, ...]:
    kernel = ArraySpec(f"{name}.weight", shape, "kernel", initializer, fan_in, fan_out)
    bias_rule: Initializer = "uniform_fan_in" if initializer == "uniform_fan_in" else "zeros"
    bias = ArraySpec(f"{name}.bias", shape[:1], "bias", bias_rule, fan_in, fan_out)
    return (kernel, bias) if use_bias else (kernel,)


def _want_map(layer: Layer, shape: Shape) -> None:
    _want(layer, len(shape) == 3, "a (height, width, channels) map as input", shape)


def _want(layer: Layer, holds: bool, wanted: str, came: object) -> None:
    if not holds:
        kind = type(layer).__name__
        raise SpecError(f"Layer '{layer.name}' ({kind}): wants {wanted}, got {came}.")
