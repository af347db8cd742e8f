"""What a layer makes of its inputs: output shapes, arrays and operations, by pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from diptych.errors import SpecError
from diptych.spec.layers import (
    Activation,
    Add,
    ArraySpec,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    MaxPool,
    Normalize,
    PadChannels,
    Pair,
    Shape,
)


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
        case Conv(filters=filters, kernel=kernel, groups=groups):
            shape = (filters, channels // groups, *kernel)
            area = prod(kernel)
            fan_in, fan_out = shape[1] * area, filters // groups * area
            return _kernel_and_bias(layer, shape, fan_in, fan_out)
        case Dense(units=units):
            return _kernel_and_bias(layer, (units, channels), channels, units)
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


def _kernel_and_bias(layer: Conv | Dense, shape: Shape, fan_in: int, fan_out: int) -> tuple[ArraySpec, ...]:
    """Both with the kernel's fans, by which PyTorch draws its biases too."""
    kernel = ArraySpec(f"{layer.name}.weight", shape, "kernel", layer.initializer, fan_in, fan_out)
    bias = ArraySpec(f"{layer.name}.bias", shape[:1], "bias", layer.bias_initializer, fan_in, fan_out)
    return (kernel, bias) if layer.use_bias else (kernel,)


def _want_map(layer: Layer, shape: Shape) -> None:
    _want(layer, len(shape) == 3, "a (height, width, channels) map as input", shape)


def _want(layer: Layer, holds: bool, wanted: str, came: object) -> None:
    if not holds:
        kind = type(layer).__name__
        raise SpecError(f"Layer '{layer.name}' ({kind}): wants {wanted}, got {came}.")
