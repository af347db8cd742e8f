"""A model and its training as a PyTorch user writes them; names in the state dict are those of the spec."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from typing import assert_never

from diptych.native import shared
from diptych.native.shared import Notes, Unit, call, fitted, number, pair
from diptych.spec import Layer, ModelSpec, Recipe
from diptych.spec import layers as L

FRAMEWORK, WEIGHTS, DATA = "PyTorch", "model.pt", "data_torch"
"""The framework's name, the file that `train.py` writes, and the template of `data.py`."""
HAS_DATASETS, SMOOTHS_CLASSES = False, True
"""Whether the framework reads named data itself, and whether its loss smooths labels that are numbers of classes."""
INITIALIZERS = {
    "he_normal": 'nn.init.kaiming_normal_(module.{field}, nonlinearity="relu")',
    "glorot_uniform": "nn.init.xavier_uniform_(module.{field})",
    "uniform_fan_in": "",
    "zeros": "nn.init.zeros_(module.{field})",
    "ones": "nn.init.ones_(module.{field})",
}
RESERVED = frozenset(
    "append apply buffers children compile cpu cuda double eval extend float forward half insert modules parameters "
    "pop to train training type".split()
)
"""Attributes of `nn.Module` and `nn.Sequential` that a layer's name may hide."""


def model(spec: ModelSpec, recipe: Recipe) -> str:
    """Return the source of the model, which does not depend on the recipe here."""
    units, notes = _units(spec), Notes()
    names = _attributes(units)
    if spec.is_chain:
        definitions = "".join(_listed(layer, spec, notes, 12) for layer in spec.layers)
        forward = [["return self.layers(images)"]]
    else:
        definitions = "".join(_definition(unit, names[unit.name], spec, notes) for unit in units)
        forward = shared.statements(units, lambda unit, inputs: [_expression(unit, inputs, names, spec)], "return {}")
    body = ""
    for unit, lines in zip(units, forward, strict=False):
        shown = [] if spec.is_chain or _is_module(unit, spec) else shared.keys_of(unit.layers[0], spec)
        body += notes(*shown, indent=8) + "".join(f"{fitted(line, 8)}\n" for line in lines)
    return shared.render(
        "model_torch",
        spec=spec,
        normalize=spec.layers[0],
        definitions=definitions,
        forward=body,
        initialization=_initialization(spec),
        initial_note=notes("initial-weights", indent=8),
    )


def paths(spec: ModelSpec) -> dict[str, str]:
    """Return the name of each layer's module inside the model."""
    if spec.is_chain:
        places, found = 0, {}
        for layer in spec.layers:
            modules = _modules(layer, spec.input_shapes(layer)[0])
            places += len(modules)
            found[layer.name] = f"layers.{places - 1}"
        return found
    units = _units(spec)
    names = _attributes(units)
    return {
        layer.name: names[unit.name] + (f".{layer.name.rpartition('.')[2]}" if len(unit.layers) > 1 else "")
        for unit in units
        for layer in unit.layers
    }


def _units(spec: ModelSpec) -> list[Unit]:
    """Return what the model applies one by one: layers, or chains of layers whose names share all but the last part."""
    units: list[Unit] = []
    users = [name for layer in spec.layers for name in layer.inputs]
    for layer in spec.layers:
        last = units[-1].layers[-1] if units else layer
        parent = layer.name.rpartition(".")[0]
        follows = layer.inputs == (last.name,) and users.count(last.name) == 1
        if follows and parent and parent == last.name.rpartition(".")[0]:
            units[-1] = Unit((*units[-1].layers, layer))
        else:
            units.append(Unit((layer,)))
    return [one for unit in units for one in ([unit] if _is_block(unit, spec) else map(Unit, zip(unit.layers)))]


def _is_block(unit: Unit, spec: ModelSpec) -> bool:
    """Whether a chain can be an `nn.Sequential` whose modules have the layers' names."""
    names = [layer.name.rpartition(".")[2] for layer in unit.layers]
    named = all(name.isidentifier() and not keyword.iskeyword(name) and name not in RESERVED for name in names)
    modules = [_modules(layer, spec.input_shapes(layer)[0]) for layer in unit.layers]
    counted = names == [str(place) for place in range(len(names))]
    has_weights = any(spec.owner(array) in unit.layers for array in spec.arrays)
    return len(names) > 1 and has_weights and (named or counted) and all(len(one) == 1 for one in modules)


def _is_module(unit: Unit, spec: ModelSpec) -> bool:
    """Whether a unit is an attribute of the model, because it has weights or depends on the mode."""
    kinds = L.Normalize | L.Conv | L.Dense | L.BatchNorm | L.Dropout
    return len(unit.layers) > 1 or isinstance(unit.layers[0], kinds)


def _attributes(units: Sequence[Unit]) -> dict[str, str]:
    """Return an attribute's name for each unit, by the unit's name."""
    found: dict[str, str] = {}
    for unit in units:
        name = unit.name.rpartition(".")[0] if len(unit.layers) > 1 else unit.name
        flat = re.sub(r"^(?=\d)", "_", name.replace(".", "_"))
        while keyword.iskeyword(flat) or flat in RESERVED or flat in found.values():
            flat += "_"
        found[unit.name] = flat
    return found


def _definition(unit: Unit, name: str, spec: ModelSpec, notes: Notes) -> str:
    """Write the attribute of a unit, if it is one."""
    if not _is_module(unit, spec):
        return ""
    if len(unit.layers) == 1:
        module = _modules(unit.layers[0], spec.input_shapes(unit.layers[0])[0])[-1]
        note = notes(*shared.keys_of(unit.layers[0], spec), indent=8)
        return note + fitted(f"self.{name} = {module}", 8) + "\n"
    is_counted = unit.layers[0].name.endswith(".0")
    start, end, indent = (
        ("nn.Sequential(", ")", 12)
        if is_counted
        else ("nn.Sequential(\n            OrderedDict(", "            )\n        )", 16)
    )
    inside = "".join(
        _listed(layer, spec, notes, indent, "" if is_counted else layer.name.rpartition(".")[2])
        for layer in unit.layers
    )
    return f"        self.{name} = {start}\n{inside}{'        ' if is_counted else ''}{end}\n"


def _listed(layer: Layer, spec: ModelSpec, notes: Notes, indent: int, name: str = "") -> str:
    """Write a layer's modules as parts of an `nn.Sequential`."""
    modules = _modules(layer, spec.input_shapes(layer)[0])
    lines = (fitted(f"{name}{'=' * bool(name)}{module},", indent) for module in modules)
    return notes(*shared.keys_of(layer, spec), indent=indent) + "".join(f"{line}\n" for line in lines)


def _modules(layer: Layer, shape: tuple[int, ...]) -> list[str]:  # noqa: PLR0912  (a table)
    """Write the modules of a layer; none for a sum and a concatenation."""
    channels = str(shape[-1])
    is_map = len(shape) == 3
    match layer:
        case L.Normalize():
            return ["Normalize()"]
        case L.Conv(padding=(top, bottom, left, right)):
            even = (top, left) == (bottom, right)
            pads = [] if even else [f"nn.ZeroPad2d(({left}, {right}, {top}, {bottom}))"]
            settings = {
                "stride": "" if layer.strides == (1, 1) else pair(layer.strides),
                "padding": pair((top, left)) if even and any(layer.padding) else "",
                "groups": "" if layer.groups == 1 else str(layer.groups),
                "bias": "" if layer.use_bias else "False",
            }
            return [*pads, call("nn.Conv2d", channels, str(layer.filters), pair(layer.kernel), **settings)]
        case L.Dense():
            return [call("nn.Linear", channels, str(layer.units), bias="" if layer.use_bias else "False")]
        case L.BatchNorm():
            settings = {"eps": number(layer.epsilon), "momentum": number(1.0 - layer.decay)}
            return [call(f"nn.BatchNorm{2 if is_map else 1}d", channels, **settings)]
        case L.Activation(function=function):
            kinds = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "silu": "SiLU"}
            slope = number(layer.slope) if function == "leaky_relu" else ""
            return [f"nn.{kinds.get(function, function.capitalize())}({slope})"]
        case L.MaxPool():
            return [f"nn.MaxPool2d({_window(layer)})"]
        case L.AvgPool():
            return [f"nn.AvgPool2d({_window(layer)})"]
        case L.GlobalAvgPool():
            return ["nn.AdaptiveAvgPool2d(1)", "nn.Flatten()"]
        case L.Flatten():
            return ["nn.Flatten()"]
        case L.Dropout(mode="sample"):
            return [f"DropPath({number(layer.rate)})"]
        case L.Dropout(mode=mode):
            return [f"nn.Dropout{'2d' * (mode == 'channel')}({number(layer.rate)})"]
        case L.PadChannels():
            sides = f"{'0, 0, 0, 0, ' * is_map}{layer.before}, {layer.after}"
            return [f"nn.ZeroPad{3 if is_map else 1}d(({sides}))"]
        case L.Add() | L.Concat():
            return []
        case _:
            assert_never(layer)


def _expression(unit: Unit, inputs: Sequence[str], names: dict[str, str], spec: ModelSpec) -> str:
    """Write a unit's output, given its inputs' variables."""
    x, layer = inputs[0], unit.layers[0]
    if _is_module(unit, spec):
        if isinstance(layer, L.Conv) and len(_modules(layer, spec.input_shapes(layer)[0])) > 1:
            top, bottom, left, right = layer.padding
            x = f"F.pad({x}, ({left}, {right}, {top}, {bottom}))"
        return f"self.{names[unit.name]}({x})"
    match layer:
        case L.Activation(function=function):
            slope = f", {number(layer.slope)}" if function == "leaky_relu" else ""
            return f"{'torch' if function in ('tanh', 'sigmoid') else 'F'}.{function}({x}{slope})"
        case L.MaxPool() | L.AvgPool():
            return f"F.{'max' if isinstance(layer, L.MaxPool) else 'avg'}_pool2d({x}, {_window(layer)})"
        case L.GlobalAvgPool():
            return f"{x}.mean((2, 3))"
        case L.Flatten():
            return f"{x}.flatten(1)"
        case L.Add():
            return " + ".join(inputs)
        case L.Concat():
            return f"torch.cat([{', '.join(inputs)}], 1)"
        case L.PadChannels():
            area = "0, 0, 0, 0, " if len(spec.shapes[layer.name]) == 3 else ""
            return f"F.pad({x}, ({area}{layer.before}, {layer.after}))"
    raise AssertionError(layer)


def _window(layer: L.MaxPool | L.AvgPool) -> str:
    strides = "" if layer.strides == layer.kernel else f", stride={pair(layer.strides)}"
    padding = f", padding={pair(layer.padding[::2])}" if any(layer.padding) else ""
    uncounted = ", count_include_pad=False" if padding and isinstance(layer, L.AvgPool) else ""
    return f"{pair(layer.kernel)}{strides}{padding}{uncounted}"


def _initialization(spec: ModelSpec) -> list[str]:
    """Write the initializers that are not PyTorch's own."""
    names: dict[str, list[str]] = {}
    place = paths(spec)
    for array in spec.trainable:
        rule = "zeros" if array.role == "bias" and array.initializer in shared.RANDOM else array.initializer
        if array.role in ("kernel", "bias"):
            field = array.name.rpartition(".")[2]
            names.setdefault(INITIALIZERS[rule].format(field=field), []).append(place[spec.owner(array).name])
    weights, biases = ([one for one in names if field in one] for field in ("module.weight", "module.bias"))
    if "" not in names and len(weights) == 1 and biases in ([], [INITIALIZERS["zeros"].format(field="bias")]):
        conditions = ["if module.bias is not None:", f"    {biases[0]}"] if biases else []
        lines = ["if isinstance(module, (nn.Conv2d, nn.Linear)):", *(f"    {line}" for line in [*weights, *conditions])]
        return ["for module in self.modules():", *(f"    {line}" for line in lines)]
    lines = []
    for statement, owners in names.items():
        modules = [re.sub(r"\.(\d+)", r"[\1]", f"self.{name}") for name in owners]
        if statement and len(modules) == 1:
            lines.append(statement.replace("module", modules[0]))
        elif statement:
            lines += [f"for module in ({', '.join(modules)}):", f"    {statement}"]
    return lines


def train(spec: ModelSpec, recipe: Recipe, validates: bool, title: str) -> str:
    """Return the source of the training."""
    # AdamW decays apart from the gradient, the other rules as a part of it.
    adamw = not recipe.l2 and (recipe.optimizer == "adamw" or (recipe.optimizer == "adam" and recipe.decay > 0))
    decay = recipe.decay if adamw else recipe.l2
    exempt = recipe.no_decay if recipe.decay or recipe.l2 else ()
    place = paths(spec)
    excluded = [array for array in spec.trainable if array.role in exempt]
    names = [f"{place[spec.owner(array).name]}.{array.name.rpartition('.')[2]}" for array in excluded]
    return shared.render(
        "train_torch",
        spec=spec,
        recipe=recipe,
        title=title,
        validates=validates,
        optimizer_keys=", ".join(shared.optimizer_keys(recipe)),
        excluded=names,
        vectors=excluded == [array for array in spec.trainable if len(array.shape) == 1],
        decay=decay,
        decays_by_hand=recipe.decay > 0 and not adamw,
        optimizer=_optimizer(recipe, adamw, decay, bool(excluded)),
    )


def left_out(spec: ModelSpec, recipe: Recipe) -> tuple[str, ...]:
    """List what the code does not do."""
    biased = any(isinstance(layer, L.BatchNorm) and layer.running_variance == "biased" for layer in spec.layers)
    own = {
        f"Keras's form of {recipe.optimizer}: the update is PyTorch's own": recipe.update_form == "keras",
        "Keras's biased running variance: batch norm keeps the unbiased one": biased,
        "a lower decay of the average in the first steps": recipe.average_decay,
    }
    return shared.left_out(spec, recipe, own)


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
    return call(f"torch.optim.{name}", "groups" if grouped else "model.parameters()", **settings)
