"""Output shapes, arrays and operation counts of layers, by arithmetic alone."""

from __future__ import annotations

from math import prod

from diptych.errors import SpecError
from diptych.spec import layers as L
from diptych.spec.layers import ArraySpec, Layer, Pair, Shape


def output_shape(layer: Layer, inputs: tuple[Shape, ...]) -> Shape:
    """Return the shape of the layer's output, without the batch; raise SpecError for unsupported inputs."""
    if isinstance(layer, L.Add | L.Concat):
        _expect(layer, len(inputs) >= 2, "two or more inputs", layer.inputs)
    else:
        _expect(layer, len(inputs) == 1, "exactly one input", layer.inputs)
    first = inputs[0]
    match layer:
        case L.Normalize(mean=mean, std=std):
            _expect(layer, len(mean) == len(std) == first[-1], f"one mean and std per channel ({first[-1]})", mean)
            return first
        case L.Conv(filters=filters, groups=groups):
            _expect_map(layer, first)
            _expect(layer, first[-1] % groups == 0, f"groups that divide its {first[-1]} input channels", groups)
            _expect(layer, filters % groups == 0, f"groups that divide its {filters} filters", groups)
            return (*_windows(layer, first), filters)
        case L.MaxPool() | L.AvgPool():
            _expect_map(layer, first)
            return (*_windows(layer, first), first[-1])
        case L.GlobalAvgPool():
            _expect_map(layer, first)
            return first[-1:]
        case L.Flatten():
            return (prod(first),)
        case L.Dense(units=units):
            _expect(layer, len(first) == 1, "a vector as input (add a Flatten or GlobalAvgPool before it)", first)
            return (units,)
        case L.Add():
            _expect(layer, len(set(inputs)) == 1, "inputs of equal shape", inputs)
            return first
        case L.Concat():
            _expect(layer, len({shape[:-1] for shape in inputs}) == 1, "inputs of equal height and width", inputs)
            return (*first[:-1], sum(shape[-1] for shape in inputs))
        case L.PadChannels(before=before, after=after):
            return (*first[:-1], first[-1] + before + after)
        case L.BatchNorm() | L.Activation() | L.Dropout():
            by_channel = getattr(layer, "mode", "") == "channel"
            _expect(layer, len(first) == 3 or not by_channel, "a map as input for mode channel", first)
            return first


def arrays(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[ArraySpec, ...]:
    """Return the layer's arrays in canonical order and layout."""
    channels = inputs[0][-1]
    match layer:
        case L.Conv(filters=filters, kernel=kernel, groups=groups):
            shape = (filters, channels // groups, *kernel)
            area = prod(kernel)
            fan_in, fan_out = shape[1] * area, filters // groups * area
            return _kernel_and_bias(layer, shape, fan_in, fan_out)
        case L.Dense(units=units):
            return _kernel_and_bias(layer, (units, channels), channels, units)
        case L.BatchNorm(name=name):
            return (
                ArraySpec(f"{name}.weight", (channels,), "scale", "ones"),
                ArraySpec(f"{name}.bias", (channels,), "shift", "zeros"),
                ArraySpec(f"{name}.running_mean", (channels,), "mean", "zeros"),
                ArraySpec(f"{name}.running_var", (channels,), "variance", "ones"),
            )
        case _:
            return ()


def flops(layer: Layer, inputs: tuple[Shape, ...], output: Shape) -> int:
    """Count the floating-point operations of one image's forward pass; a multiply-add counts as two."""
    match layer:
        case L.Conv(kernel=kernel, groups=groups, use_bias=use_bias):
            return prod(output) * (2 * prod(kernel) * inputs[0][-1] // groups + use_bias)
        case L.Dense(use_bias=use_bias):
            return prod(output) * (2 * inputs[0][-1] + use_bias)
        case L.MaxPool(kernel=kernel) | L.AvgPool(kernel=kernel):
            return prod(output) * prod(kernel)
        case L.GlobalAvgPool():
            return prod(inputs[0])
        case L.Flatten() | L.Dropout() | L.Concat() | L.PadChannels():
            return 0
        case _:
            of_each = {L.Normalize: 2, L.BatchNorm: 2, L.Activation: 1, L.Add: len(inputs) - 1}
            return prod(output) * of_each[type(layer)]


def _windows(layer: L.Conv | L.MaxPool | L.AvgPool, shape: Shape) -> Pair:
    top, bottom, left, right = layer.padding
    if not isinstance(layer, L.Conv):
        fits = top == bottom <= layer.kernel[0] // 2 and left == right <= layer.kernel[1] // 2
        _expect(layer, fits, f"equal padding on opposite sides, at most half the kernel {layer.kernel}", layer.padding)
    height, width = shape[0] + top + bottom, shape[1] + left + right
    rows, columns = height - layer.kernel[0], width - layer.kernel[1]
    _expect(layer, min(rows, columns) >= 0, f"an input of at least {layer.kernel} including padding", (height, width))
    return rows // layer.strides[0] + 1, columns // layer.strides[1] + 1


def _kernel_and_bias(layer: L.Conv | L.Dense, shape: Shape, fan_in: int, fan_out: int) -> tuple[ArraySpec, ...]:
    """Both have the kernel's fans, because PyTorch's initial biases depend on them too."""
    kernel = ArraySpec(f"{layer.name}.weight", shape, "kernel", layer.initializer, fan_in, fan_out)
    bias = ArraySpec(f"{layer.name}.bias", shape[:1], "bias", layer.bias_initializer, fan_in, fan_out)
    return (kernel, bias) if layer.use_bias else (kernel,)


def _expect_map(layer: Layer, shape: Shape) -> None:
    _expect(layer, len(shape) == 3, "a (height, width, channels) feature map as input", shape)


def _expect(layer: Layer, is_valid: bool, expected: str, value: object) -> None:
    if not is_valid:
        raise SpecError(f"Layer '{layer.name}' ({type(layer).__name__}): expected {expected}, got {value}.")
