"""Each layer as a Keras user writes it: a stock layer with its numbers, its first weights and its regularizers."""

from __future__ import annotations

from dataclasses import dataclass

from diptych.comparison.scripts.blocks import Form
from diptych.comparison.scripts.text import number, pair
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.spec.layers import Layer

_ALIASES: dict[type, tuple[str, str]] = {
    L.Conv: ("Conv", "Conv2D"),
    L.BatchNorm: ("Norm", "BatchNormalization"),
    L.Dense: ("Dense", "Dense"),
}
_INITIALIZERS = {"he_normal": '"he_normal"', "uniform_fan_in": "UNIFORM", "zeros": '"zeros"', "ones": '"ones"'}
Settings = dict[str, str]


@dataclass(frozen=True)
class Applied:
    """A layer, or an operation, and how it takes its inputs; a layer's `{name}` is its last argument."""

    form: Form
    takes: str = "({x})"


class Style:
    """How this model's layers are written: what all layers of a kind have in common is said once, in a `partial`."""

    def __init__(self, spec: ModelSpec, recipe: Recipe) -> None:
        self.spec = spec
        self.recipe = recipe
        self.common: dict[type, Settings] = {}
        for kind in _ALIASES:
            found = [self.settings(layer) for layer in spec.layers if self._is(kind, layer)]
            shared = found[0] if len(found) > 1 or (found and len(found[0]) > 1) else {}
            self.common[kind] = {
                key: found[0][key] for key in shared if all(one.get(key) == found[0][key] for one in found)
            }

    def constants(self) -> list[str]:
        """The lines that say what the layers have in common."""
        lines = []
        if "uniform_fan_in" in {array.initializer for array in self.spec.trainable if array.role == "kernel"}:
            lines += [
                "# A seed generator, because with a mere seed all layers of one shape would start equal.",
                'UNIFORM = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=SEEDS)',
            ]
            lines.insert(0, "SEEDS = keras.random.SeedGenerator(0)")
        if self.recipe.l2:
            half, whole = number(self.recipe.l2 / 2), number(self.recipe.l2)
            lines.append(f"L2 = keras.regularizers.L2({half})  # half, as its gradient is {whole} * weight")
        for kind, (alias, name) in _ALIASES.items():
            settings = [f"{key}={value}" for key, value in self.common[kind].items()]
            lines += [f"{alias} = partial(layers.{', '.join([name, *settings])})"] if settings else []
        return lines

    def settings(self, layer: Layer) -> Settings:
        """The settings of a layer that are not Keras's own, but for its size and name."""
        match layer:
            case L.Conv():
                return {"kernel_size": pair(layer.kernel), **self._windows(layer), **self._weights(layer, "kernel")}
            case L.Dense():
                return self._weights(layer, "kernel")
            case L.BatchNorm():
                momentum = {} if layer.decay == 0.99 else {"momentum": number(layer.decay)}
                epsilon = {} if layer.epsilon == 1e-3 else {"epsilon": number(layer.epsilon)}
                return {**momentum, **epsilon, **self._decays(("gamma", "scale"), ("beta", "shift"))}
            case _:
                return {}

    def written(self, layer: Layer, *size: tuple[str, int]) -> Form:
        """A convolution, norm or dense layer: its size, and what sets it apart from others of its kind."""
        kind = type(layer)
        alias, name = _ALIASES[kind]
        common, settings = self.common[kind], self.settings(layer)
        own = {key: value for key, value in settings.items() if key not in common}
        first = [f"{{{place}}}" for place in range(len(size))]
        first += [own.pop("kernel_size")] if "kernel_size" in own else []
        if layer is self.spec.layers[-1] and self.recipe.precision == "bfloat16":
            own["dtype"] = '"float32"'
        arguments = ", ".join([*first, *(f"{key}={value}" for key, value in own.items())])
        return Form(f"{alias if common else f'layers.{name}'}({arguments}{{name}})", size)

    def applied(self, layer: Layer) -> list[Applied]:
        """What to call, one after the other."""
        shape = self.spec.input_shapes(layer)[0]
        match layer:
            case L.Conv():
                return [*self._margins(layer), Applied(self._convolution(layer, shape[-1]))]
            case L.BatchNorm():
                return [Applied(self.written(layer))]
            case L.Dense():
                return [Applied(self.written(layer, ("units", layer.units)))]
            case L.Dropout():
                return [_stock(f"Dropout({number(layer.rate)}{{name}})")]
            case L.PadChannels(before=before, after=after):
                area = "(0, 0), " * len(shape)
                return [
                    Applied(Form(f"ops.pad({{x}}, ({area}({{0}}, {{1}})))", (("before", before), ("after", after))), "")
                ]
            case _:
                return _without_weights(layer)

    def _is(self, kind: type, layer: Layer) -> bool:
        return isinstance(layer, kind) and not self._depthwise(layer)

    def _depthwise(self, layer: Layer) -> bool:
        channels = self.spec.input_shapes(layer)[0][-1]
        return isinstance(layer, L.Conv) and 1 < layer.groups == channels and layer.strides[0] == layer.strides[1]

    def _convolution(self, layer: L.Conv, channels: int) -> Form:
        if not self._depthwise(layer):
            return self.written(layer, ("filters", layer.filters))
        settings = {**self._windows(layer), **self._weights(layer, "depthwise")}
        settings.pop("groups")
        if layer.filters > channels:
            settings["depth_multiplier"] = str(layer.filters // channels)
        arguments = ", ".join([pair(layer.kernel), *(f"{key}={value}" for key, value in settings.items())])
        return Form(f"layers.DepthwiseConv2D({arguments}{{name}})")

    def _margins(self, layer: L.Conv) -> list[Applied]:
        if not any(layer.padding) or _is_same(layer):
            return []
        top, bottom, left, right = layer.padding
        if top == bottom and left == right:
            return [Applied(Form(f"layers.ZeroPadding2D({pair((top, left))})"))]
        return [Applied(Form(f"layers.ZeroPadding2D((({top}, {bottom}), ({left}, {right})))"))]

    def _windows(self, layer: L.Conv) -> Settings:
        return {
            **({} if layer.strides == (1, 1) else {"strides": pair(layer.strides)}),
            **({"padding": '"same"'} if _is_same(layer) and any(layer.padding) else {}),
            **({"groups": str(layer.groups)} if layer.groups > 1 else {}),
        }

    def _weights(self, layer: L.Conv | L.Dense, kernel: str) -> Settings:
        rules = {array.role: array for array in self.spec.arrays if array.name.rpartition(".")[0] == layer.name}
        settings = {} if layer.use_bias else {"use_bias": "False"}
        if rules["kernel"].initializer != "glorot_uniform":
            settings[f"{kernel}_initializer"] = _INITIALIZERS[rules["kernel"].initializer]
        if layer.use_bias and layer.bias_initializer == "uniform_fan_in":
            limit = number(rules["bias"].fan_in ** -0.5)
            settings["bias_initializer"] = f"keras.initializers.RandomUniform(-{limit}, {limit})"
        elif layer.use_bias and layer.bias_initializer == "ones":
            settings["bias_initializer"] = '"ones"'
        decays = ((kernel, "kernel"), ("bias", "bias")) if layer.use_bias else ((kernel, "kernel"),)
        return {**settings, **self._decays(*decays)}

    def _decays(self, *pairs: tuple[str, str]) -> Settings:
        """L2 penalties, Keras's way of a decay that is part of the gradient."""
        if not self.recipe.l2:
            return {}
        return {f"{name}_regularizer": "L2" for name, role in pairs if role not in self.recipe.no_decay}


def rescaling(spec: ModelSpec, recipe: Recipe) -> tuple[list[str], str]:
    """The constants that the normalisation needs, and its layer."""
    first = spec.layers[0]
    assert isinstance(first, L.Normalize)
    mean, std = [number(value) for value in first.mean], [number(value) for value in first.std]
    last = f'name="{first.name}"' + (', dtype="float32"' if recipe.precision == "bfloat16" else "")
    if len(set(mean)) == len(set(std)) == 1:
        return [], f"layers.Rescaling(1 / 255 / {std[0]}, -{mean[0]} / {std[0]}, {last})"
    constants = [f"MEAN = np.array([{', '.join(mean)}])", f"STD = np.array([{', '.join(std)}])"]
    return constants, f"layers.Rescaling(1 / 255 / STD, -MEAN / STD, {last})"


def _is_same(layer: L.Conv | L.MaxPool | L.AvgPool) -> bool:
    """Whether Keras's "same" is this padding whatever the size of the map."""
    rows, columns = layer.kernel
    middle = (rows // 2, rows // 2, columns // 2, columns // 2)
    return layer.strides == (1, 1) and rows % 2 == columns % 2 == 1 and layer.padding == middle


def _without_weights(layer: Layer) -> list[Applied]:
    match layer:
        case L.Activation(function="relu"):
            return [_stock("ReLU({name})")]
        case L.Activation(function="leaky_relu", slope=slope):
            return [_stock(f"LeakyReLU({number(slope)}{{name}})")]
        case L.Activation(function=function):
            return [_stock(f'Activation("{function}"{{name}})')]
        case L.MaxPool():
            return _pooled(layer, "MaxPooling2D")
        case L.AvgPool():
            return _pooled(layer, "AveragePooling2D")
        case L.GlobalAvgPool():
            return [_stock("GlobalAveragePooling2D({name})")]
        case L.Flatten():
            return [_stock("Flatten({name})")]
        case L.Add():
            return [Applied(Form("layers.Add({name})"), "([{x}])")]
        case L.Concat():
            return [Applied(Form("layers.Concatenate({name})"), "([{x}])")]
        case _:
            raise AssertionError(layer)


def _pooled(layer: L.MaxPool | L.AvgPool, name: str) -> list[Applied]:
    strides = "" if layer.strides == layer.kernel else f", strides={pair(layer.strides)}"
    if not any(layer.padding):
        return [_stock(f"{name}({pair(layer.kernel)}{strides}{{name}})")]
    if _is_same(layer):
        return [_stock(f'{name}({pair(layer.kernel)}, strides=1, padding="same"{{name}})')]
    rows, _, columns, _ = layer.padding
    margins = f"((0, 0), ({rows}, {rows}), ({columns}, {columns}), (0, 0))"
    if isinstance(layer, L.AvgPool):
        settings = f"{pair(layer.kernel)}, {pair(layer.strides)}, {margins}"
        return [Applied(Form(f"average_pool({{x}}, {settings})"), "")]
    padded = Applied(Form(f"ops.pad({{x}}, {margins}, constant_values=-np.inf)"), "")
    return [padded, _stock(f"{name}({pair(layer.kernel)}{strides}{{name}})")]


def _stock(text: str) -> Applied:
    return Applied(Form(f"layers.{text}"))
