"""Each layer as a PyTorch user writes it: its module, its call, its first weights."""

from __future__ import annotations

from diptych.comparison.scripts.blocks import Form
from diptych.comparison.scripts.flow import MOST_NESTED
from diptych.comparison.scripts.text import number, pair, tuple_of
from diptych.spec import ModelSpec
from diptych.spec import layers as L
from diptych.spec.layers import ArraySpec, Layer

_INITIALIZERS = {
    "he_normal": 'nn.init.kaiming_normal_({}, nonlinearity="relu")',
    "glorot_uniform": "nn.init.xavier_uniform_({})",
    "zeros": "nn.init.zeros_({})",
    "ones": "nn.init.ones_({})",
}
_FUNCTIONS = {
    "relu": ("F.relu({x})", "nn.ReLU()"),
    "leaky_relu": ("F.leaky_relu({{x}}, {slope})", "nn.LeakyReLU({slope})"),
    "gelu": ("F.gelu({x})", "nn.GELU()"),
    "silu": ("F.silu({x})", "nn.SiLU()"),
    "tanh": ("torch.tanh({x})", "nn.Tanh()"),
    "sigmoid": ("torch.sigmoid({x})", "nn.Sigmoid()"),
}


def own(layer: Layer, spec: ModelSpec) -> Form:
    """The module of a layer that has weights, or that behaves differently in training."""
    shape = spec.input_shapes(layer)[0]
    channels = ("in_channels", shape[-1])
    match layer:
        case L.Conv():
            values = [channels, ("out_channels", layer.filters)]
            text = f"nn.Conv2d({{0}}, {{1}}, {pair(layer.kernel)}{_stride(layer)}"
            top, bottom, left, right = layer.padding
            if any(layer.padding) and top == bottom and left == right:
                text += f", padding={pair((top, left))}"
            if layer.groups > 1:
                text += ", groups={2}"
                values.append(("groups", layer.groups))
            return Form(f"{text}{_bias(layer)})", tuple(values))
        case L.Dense():
            return Form(f"nn.Linear({{0}}, {{1}}{_bias(layer)})", (channels, ("out_channels", layer.units)))
        case L.BatchNorm():
            epsilon = "" if layer.epsilon == 1e-5 else f", eps={number(layer.epsilon)}"
            momentum = "" if layer.decay == 0.9 else f", momentum={number(1.0 - layer.decay)}"
            return Form(f"nn.BatchNorm{'2d' if len(shape) == 3 else '1d'}({{0}}{epsilon}{momentum})", (channels,))
        case L.Dropout():
            return Form(f"nn.Dropout({number(layer.rate)})")
        case _:
            raise AssertionError(layer)


def standing(layer: Layer, spec: ModelSpec) -> Form | None:
    """A layer as a module of an `nn.Sequential`; None for what is only ever called."""
    match layer:
        case L.Conv(padding=(top, bottom, left, right)) if top != bottom or left != right:
            return None
        case L.Conv() | L.Dense() | L.BatchNorm() | L.Dropout():
            return own(layer, spec)
        case L.Activation(function=function, slope=slope):
            return Form(_FUNCTIONS[function][1].format(slope=number(slope)))
        case L.MaxPool():
            return Form(f"nn.MaxPool2d({_window(layer)})")
        case L.AvgPool():
            return Form(f"nn.AvgPool2d({_window(layer)}{_uncounted(layer)})")
        case L.Flatten():
            return Form("nn.Flatten()")
        case _:
            return None


def called(layer: Layer, spec: ModelSpec) -> tuple[Form, int, str]:  # noqa: PLR0912  (a table)
    """A layer's call, how deeply its inputs may be nested, and what stands between several of them."""
    match layer:
        case L.Conv(padding=(top, bottom, left, right)) if top != bottom or left != right:
            return Form(f"{{module}}(F.pad({{x}}, ({left}, {right}, {top}, {bottom})))"), 0, ""
        case L.Conv():
            return Form("{module}({x})"), 0, ""
        case L.Dense():
            return Form("{module}({x})"), 1, ""
        case L.BatchNorm() | L.Dropout():
            return Form("{module}({x})"), MOST_NESTED, ""
        case L.Activation(function=function, slope=slope):
            text = _FUNCTIONS[function][0]
            return Form(text.format(slope=number(slope)) if "slope" in text else text), MOST_NESTED, ""
        case L.MaxPool():
            return Form(f"F.max_pool2d({{x}}, {_window(layer)})"), MOST_NESTED, ""
        case L.AvgPool(kernel=(1, 1), padding=(0, 0, 0, 0), strides=(rows, columns)):
            return Form(f"{{x}}[:, :, ::{rows}, ::{columns}]"), 0, ""
        case L.AvgPool():
            return Form(f"F.avg_pool2d({{x}}, {_window(layer)}{_uncounted(layer)})"), MOST_NESTED, ""
        case L.GlobalAvgPool():
            return Form("{x}.mean((2, 3))"), 0, ""
        case L.Flatten():
            return Form("{x}.flatten(1)"), 0, ""
        case L.Add():
            return Form("{x}"), 1, " + "
        case L.Concat():
            return Form("torch.cat([{x}], 1)"), 1, ", "
        case L.PadChannels(before=before, after=after):
            area = "0, 0, 0, 0, " if len(spec.shapes[layer.name]) == 3 else ""
            return Form(f"F.pad({{x}}, ({area}{{0}}, {{1}}))", (("padding", before), ("padding", after))), 1, ""
        case _:
            raise AssertionError(layer)


def constants(spec: ModelSpec) -> list[str]:
    """What the normalisation needs in `__init__`: nothing where all channels are alike."""
    mean, std = _statistics(spec)
    if len(set(mean)) == len(set(std)) == 1:
        return []
    prefix = _prefix(spec)
    return [
        f'self.register_buffer("{prefix}mean", torch.tensor([{", ".join(mean)}]), persistent=False)',
        f'self.register_buffer("{prefix}std", torch.tensor([{", ".join(std)}]), persistent=False)',
    ]


def normalised(spec: ModelSpec) -> list[str]:
    """The normalisation in `forward`."""
    mean, std = _statistics(spec)
    if len(set(mean)) == len(set(std)) == 1:
        return [f"x = (images / 255 - {mean[0]}) / {std[0]}"]
    prefix = _prefix(spec)
    return [f"x = (images / 255 - self.{prefix}mean) / self.{prefix}std"]


def _prefix(spec: ModelSpec) -> str:
    """What keeps the pixels' statistics apart from a layer that is called mean or std."""
    tops = {layer.name.split(".")[0] for layer in spec.layers}
    return "pixel_" if tops & {"mean", "std"} else ""


def initialisation(spec: ModelSpec) -> list[str]:
    """Lines that draw the first weights where PyTorch would draw them by another rule."""
    lines: list[str] = []
    drawn = [array for array in spec.trainable if array.role in ("kernel", "bias")]
    kernels = [array for array in drawn if array.role == "kernel"]
    biases = [array for array in drawn if array.role == "bias"]
    if {array.initializer for array in drawn} == {"uniform_fan_in"}:
        return lines
    if len({array.initializer for array in kernels}) == 1 and {array.initializer for array in biases} <= {"zeros"}:
        kinds = [name for kind, name in _KINDS.items() if any(isinstance(layer, kind) for layer in spec.layers)]
        wanted = kinds[0] if len(kinds) == 1 else f"({', '.join(kinds)})"
        lines += ["for module in self.modules():", f"    if isinstance(module, {wanted}):"]
        if kernels[0].initializer != "uniform_fan_in":
            lines.append(f"        {_INITIALIZERS[kernels[0].initializer].format('module.weight')}")
        if 0 < len(biases) < len(kernels):
            lines += ["        if module.bias is not None:", "            nn.init.zeros_(module.bias)"]
        elif biases:
            lines.append("        nn.init.zeros_(module.bias)")
        return lines
    for group, field in ((kernels, "weight"), (biases, "bias")):
        lines += _by_name(group, field)
    return lines


_KINDS = {L.Conv: "nn.Conv2d", L.Dense: "nn.Linear"}


def _by_name(arrays: list[ArraySpec], field: str) -> list[str]:
    lines = []
    for rule in dict.fromkeys(array.initializer for array in arrays):
        if rule == "uniform_fan_in" or (field == "bias" and rule not in ("zeros", "ones")):
            continue
        names = [f'"{array.name.rpartition(".")[0]}"' for array in arrays if array.initializer == rule]
        written = _INITIALIZERS[rule].format(f"self.get_submodule(name).{field}")
        lines += [f"for name in {tuple_of(names)}:", f"    {written}"]
    return lines


def _statistics(spec: ModelSpec) -> tuple[list[str], list[str]]:
    first = spec.layers[0]
    assert isinstance(first, L.Normalize)
    return [number(value) for value in first.mean], [number(value) for value in first.std]


def _stride(layer: L.Conv) -> str:
    return "" if layer.strides == (1, 1) else f", stride={pair(layer.strides)}"


def _bias(layer: L.Conv | L.Dense) -> str:
    return "" if layer.use_bias else ", bias=False"


def _window(layer: L.MaxPool | L.AvgPool) -> str:
    strides = "" if layer.strides == layer.kernel else f", stride={pair(layer.strides)}"
    padding = f", padding={pair(layer.padding[::2])}" if any(layer.padding) else ""
    return f"{pair(layer.kernel)}{strides}{padding}"


def _uncounted(layer: L.AvgPool) -> str:
    return ", count_include_pad=False" if any(layer.padding) else ""
