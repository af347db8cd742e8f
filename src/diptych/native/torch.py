"""A training script as a PyTorch user writes it; its state dict has the spec's names."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import assert_never

from diptych.native import shared
from diptych.native.shared import Script, call, number, pair
from diptych.spec import Layer, ModelSpec, Recipe
from diptych.spec import layers as L

INITIALIZERS = {
    "he_normal": 'nn.init.kaiming_normal_(module.{field}, nonlinearity="relu")',
    "glorot_uniform": "nn.init.xavier_uniform_(module.{field})",
    "uniform_fan_in": "",
    "zeros": "nn.init.zeros_(module.{field})",
    "ones": "nn.init.ones_(module.{field})",
}


def script(spec: ModelSpec, recipe: Recipe) -> Script:
    """Return the script of a model and its training."""
    modules = {layer.name: text for layer in spec.layers if (text := _module(layer, spec.input_shapes(layer)[0]))}
    attributes = all(name.isidentifier() and not keyword.iskeyword(name) for name in modules)
    define, use = ("self.{} = {}", "self.{}") if attributes else ('self.add("{}", {})', 'layer("{}")')

    def write(layer: Layer, inputs: Sequence[str]) -> str:
        return _expression(layer, inputs, use.format(layer.name), spec)

    # AdamW decays apart from the gradient, the other rules as a part of it.
    adamw = not recipe.l2 and (recipe.optimizer == "adamw" or (recipe.optimizer == "adam" and recipe.decay > 0))
    decay = recipe.decay if adamw else recipe.l2
    exempt = recipe.no_decay if recipe.decay or recipe.l2 else ()
    excluded = [array.name for array in spec.trainable if array.role in exempt]
    return shared.render(
        "torch",
        "train_torch.py",
        "torch.tensor({}, device=DEVICE)",
        spec,
        recipe,
        _left_out(spec, recipe),
        attributes=attributes,
        definitions=[*(define.format(name, module) for name, module in modules.items()), *_initialization(spec)],
        statements=shared.statements(spec, write),
        excluded=excluded,
        vectors=set(excluded) == {array.name for array in spec.trainable if len(array.shape) == 1},
        decay=decay,
        decays_by_hand=recipe.decay > 0 and not adamw,
        optimizer=_optimizer(recipe, adamw, decay, bool(excluded)),
        smoothing=f", label_smoothing={number(recipe.label_smoothing)}" if recipe.label_smoothing else "",
    )


def _left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    biased = any(isinstance(layer, L.BatchNorm) and layer.running_variance == "biased" for layer in spec.layers)
    own = {
        "float16, with torch.autocast and torch.amp.GradScaler": recipe.precision == "float16",
        "bfloat16 if the processor supports it: torch.autocast(DEVICE, torch.bfloat16)": recipe.precision == "auto",
        f"Keras's form of {recipe.optimizer}: the update is PyTorch's own": recipe.update_form == "keras",
        "Keras's biased running variance: batch norm keeps the unbiased one": biased,
    }
    return shared.left_out(spec, recipe, own)


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
        case L.Conv(padding=(top, bottom, left, right)) if (top, left) != (bottom, right):
            return f"{module}(F.pad({x}, ({left}, {right}, {top}, {bottom})))"
        case L.Conv() | L.Dense() | L.BatchNorm():
            return f"{module}({x})"
        case L.Normalize():
            return f"(({x} / 255 - MEAN) / STD).permute(0, 3, 1, 2)"
        case L.Activation(function=function):
            slope = f", {number(layer.slope)}" if function == "leaky_relu" else ""
            return f"{'torch' if function in ('tanh', 'sigmoid') else 'F'}.{function}({x}{slope})"
        case L.MaxPool():
            return f"F.max_pool2d({x}, {_window(layer)})"
        case L.AvgPool():
            uncounted = ", count_include_pad=False" if any(layer.padding) else ""
            return f"F.avg_pool2d({x}, {_window(layer)}{uncounted})"
        case L.GlobalAvgPool():
            return f"{x}.mean((2, 3))"
        case L.Flatten():
            return f"{x}.flatten(1)"
        case L.Dropout(mode=mode):
            ones = f"{x}.new_ones(len({x}){', 1' * len(spec.shapes[layer.name])})"
            kept, product = (ones, f"{x} * ") if mode == "sample" else (x, "")
            return f"{product}F.dropout{'2d' * (mode == 'channel')}({kept}, {number(layer.rate)}, self.training)"
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
    weights, biases = ([one for one in names if field in one] for field in ("module.weight", "module.bias"))
    if "" not in names and len(weights) == 1 and biases in ([], [INITIALIZERS["zeros"].format(field="bias")]):
        conditions = ["if module.bias is not None:", f"    {biases[0]}"] if biases else []
        lines = ["if isinstance(module, (nn.Conv2d, nn.Linear)):", *(f"    {line}" for line in [*weights, *conditions])]
        return ["for module in self.modules():", *(f"    {line}" for line in lines)]
    lines = []
    for statement in filter(None, names):
        quoted = [f'    "{name}",' for name in names[statement]]
        lines += ["for name in (", *quoted, "):", "    module = self.get_submodule(name)", f"    {statement}"]
    return lines


def _optimizer(recipe: Recipe, adamw: bool, decay: float, grouped: bool) -> str:
    name = {"sgd": "SGD", "rmsprop": "RMSprop"}.get(recipe.optimizer, "AdamW" if adamw else "Adam")
    momentum = number(recipe.momentum) if recipe.momentum else ""
    epsilon, betas = number(recipe.epsilon), f"({number(recipe.beta1)}, {number(recipe.beta2)})"
    others = {
        "SGD": {"momentum": momentum, "nesterov": "True" if recipe.nesterov and momentum else ""},
        "RMSprop": {"alpha": number(recipe.rho), "eps": epsilon, "momentum": momentum},
    }
    settings = {"lr": "LEARNING_RATE", **others.get(name, {"betas": betas, "eps": epsilon})}
    if not grouped and (decay or adamw):
        settings["weight_decay"] = number(decay)
    return call(f"torch.optim.{name}", "groups" if grouped else "net.parameters()", **settings)
