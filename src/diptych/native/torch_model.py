"""The model of a PyTorch script: an `nn.Module` whose state dict has the spec's names."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import assert_never

from diptych.native import shared
from diptych.native.shared import call, indented, number, pair
from diptych.spec import ModelSpec
from diptych.spec import layers as L
from diptych.spec.layers import Layer

INITIALIZERS = {
    "he_normal": 'nn.init.kaiming_normal_(module.{field}, nonlinearity="relu")',
    "glorot_uniform": "nn.init.xavier_uniform_(module.{field})",
    "uniform_fan_in": "",
    "zeros": "nn.init.zeros_(module.{field})",
    "ones": "nn.init.ones_(module.{field})",
}


def model(spec: ModelSpec) -> list[str]:
    """Write `Net`, one line for each module and one for each layer's call."""
    modules = {layer.name: text for layer in spec.layers if (text := _module(layer, spec.input_shapes(layer)[0]))}
    attributes = all(name.isidentifier() and not keyword.iskeyword(name) for name in modules)
    if attributes:
        definitions = [f"self.{name} = {module}" for name, module in modules.items()]
    else:
        definitions = [f'self.add("{name}", {module})' for name, module in modules.items()]

    def write(layer: Layer, inputs: Sequence[str]) -> str:
        module = f"self.{layer.name}" if attributes else f'layer("{layer.name}")'
        return _expression(layer, inputs, module, spec)

    return [
        "class Net(nn.Module):",
        f"    {shared.docstring(spec)}",
        "",
        "    def __init__(self):",
        "        super().__init__()",
        *indented([*definitions, *_initialization(spec)], 2),
        *([] if attributes else ADD),
        "",
        "    def forward(self, images):",
        *([] if attributes else ["        layer = self.get_submodule"]),
        *indented(shared.statements(spec, write), 2),
    ]


def _module(layer: Layer, shape: tuple[int, ...]) -> str:
    """Write the module of a layer with weights; empty for other layers."""
    channels = str(shape[-1])
    match layer:
        case L.Conv(padding=(top, _, left, _)):
            even = (top, top, left, left)
            return call(
                "nn.Conv2d",
                channels,
                str(layer.filters),
                pair(layer.kernel),
                stride="" if layer.strides == (1, 1) else pair(layer.strides),
                padding=pair(layer.padding[::2]) if any(layer.padding) and layer.padding == even else "",
                groups="" if layer.groups == 1 else str(layer.groups),
                bias="" if layer.use_bias else "False",
            )
        case L.Dense():
            return call("nn.Linear", channels, str(layer.units), bias="" if layer.use_bias else "False")
        case L.BatchNorm():
            return call(
                f"nn.BatchNorm{'2d' if len(shape) == 3 else '1d'}",
                channels,
                eps="" if layer.epsilon == 1e-5 else number(layer.epsilon),
                momentum="" if layer.decay == 0.9 else number(1.0 - layer.decay),
            )
        case _:
            return ""


def _expression(layer: Layer, inputs: Sequence[str], module: str, spec: ModelSpec) -> str:  # noqa: PLR0912  (a table)
    """Write a layer's output, given its inputs' variables."""
    x = inputs[0]
    match layer:
        case L.Normalize():
            return f"(({x} / 255 - MEAN) / STD).permute(0, 3, 1, 2)"
        case L.Conv(padding=(top, bottom, left, right)) if (top, left) != (bottom, right):
            return f"{module}(F.pad({x}, ({left}, {right}, {top}, {bottom})))"
        case L.Conv() | L.Dense() | L.BatchNorm():
            return f"{module}({x})"
        case L.Activation(function="leaky_relu"):
            return f"F.leaky_relu({x}, {number(layer.slope)})"
        case L.Activation(function="tanh" | "sigmoid"):
            return f"torch.{layer.function}({x})"
        case L.Activation():
            return f"F.{layer.function}({x})"
        case L.MaxPool():
            return f"F.max_pool2d({x}, {_window(layer)})"
        case L.AvgPool():
            uncounted = ", count_include_pad=False" if any(layer.padding) else ""
            return f"F.avg_pool2d({x}, {_window(layer)}{uncounted})"
        case L.GlobalAvgPool():
            return f"{x}.mean((2, 3))"
        case L.Flatten():
            return f"{x}.flatten(1)"
        case L.Dropout():
            return f"F.dropout({x}, {number(layer.rate)}, self.training)"
        case L.Add():
            return " + ".join(inputs)
        case L.Concat():
            return f"torch.cat([{', '.join(inputs)}], 1)"
        case L.PadChannels():
            area = "0, 0, 0, 0, " if len(spec.shapes[layer.name]) == 3 else ""
            return f"F.pad({x}, ({area}{layer.before}, {layer.after}))"
        case _:
            assert_never(layer)


def _window(layer: L.MaxPool | L.AvgPool) -> str:
    strides = "" if layer.strides == layer.kernel else f", stride={pair(layer.strides)}"
    padding = f", padding={pair(layer.padding[::2])}" if any(layer.padding) else ""
    return f"{pair(layer.kernel)}{strides}{padding}"


def _initialization(spec: ModelSpec) -> list[str]:
    """Write the initializers that are not PyTorch's own."""
    names: dict[str, list[str]] = {}
    for array in spec.trainable:
        rule = "zeros" if array.role == "bias" and array.initializer in shared.RANDOM else array.initializer
        if array.role in ("kernel", "bias"):
            field = array.name.rpartition(".")[2]
            names.setdefault(INITIALIZERS[rule].format(field=field), []).append(array.name.rpartition(".")[0])
    statements = [statement for statement in names if statement]
    weights, biases = ([one for one in names if field in one] for field in ("module.weight", "module.bias"))
    if "" not in names and len(weights) == 1 and biases in ([], [INITIALIZERS["zeros"].format(field="bias")]):
        conditions = ["if module.bias is not None:", f"    {biases[0]}"] if biases else []
        lines = ["if isinstance(module, (nn.Conv2d, nn.Linear)):", *indented([*weights, *conditions])]
        return ["for module in self.modules():", *indented(lines)]
    return [
        line
        for statement in statements
        for line in (
            "for name in (",
            *(f'    "{name}",' for name in names[statement]),
            "):",
            "    module = self.get_submodule(name)",
            f"    {statement}",
        )
    ]


ADD = [
    "",
    "    def add(self, name, module):",
    '        """Add a module under a dotted name, such as layer1.0.conv1."""',
    '        *path, last = name.split(".")',
    "        parent = self",
    "        for part in path:",
    "            if not hasattr(parent, part):",
    "                parent.add_module(part, nn.Module())",
    "            parent = getattr(parent, part)",
    "        parent.add_module(last, module)",
]
