"""A model and its training as a Keras user writes them; named layers have the spec's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from diptych.native import shared
from diptych.native.shared import Notes, Unit, call, fitted, number, pair
from diptych.spec import Layer, ModelSpec, Recipe
from diptych.spec import layers as L

FRAMEWORK, WEIGHTS, DATA = "Keras", "model.keras", "data_keras"
"""The framework's name, the file that `train.py` writes, and the template of `data.py`."""
HAS_DATASETS, SMOOTHS_CLASSES = True, False
"""Whether the framework reads named data itself, and whether its loss smooths labels that are numbers of classes."""
VARIABLES = {"kernel": "kernel", "bias": "bias", "scale": "gamma", "shift": "beta"}
INITIALIZERS = {
    "he_normal": "HE_NORMAL",
    "glorot_uniform": "",
    "uniform_fan_in": "UNIFORM",
    "zeros": '"zeros"',
    "ones": '"ones"',
}
DRAWN = {
    "HE_NORMAL": 'initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=SEEDS)',
    "UNIFORM": 'initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=SEEDS)',
}


def model(spec: ModelSpec, recipe: Recipe) -> str:
    """Return the source of the model."""
    notes, is_chain = Notes(), _is_chain(spec)
    partials = _partials(spec, recipe)
    units = [Unit((layer,)) for layer in spec.layers]
    used = " ".join(value for layer in spec.layers for value in _weights(layer, spec, recipe).values())
    drawn = {name: code for name, code in DRAWN.items() if name in used}
    initial = notes("initial-weights") + "".join(f"{fitted(f'{name} = {code}')}\n" for name, code in drawn.items())
    # With a seed generator, because layers of equal shape would start equal with a fixed seed.
    initial = f"SEEDS = keras.random.SeedGenerator(0)\n{initial}" if drawn else initial
    indent = 12 if is_chain else 4

    def write(unit: Unit, inputs: Sequence[str]) -> list[str]:
        return _expressions(unit.layers[0], inputs, spec, recipe, partials)

    written = shared.statements(units, write, "logits = {}")
    definitions = ""
    for layer, lines in zip(spec.layers, written, strict=True):
        definitions += notes(*shared.keys_of(layer, spec), indent=indent)
        listed = [f"{one}," for one in _layers(layer, spec, recipe, partials)] if is_chain else lines
        definitions += "".join(f"{fitted(line, indent)}\n" for line in listed)
    return shared.render(
        "model_keras",
        spec=spec,
        normalize=spec.layers[0],
        is_chain=is_chain,
        definitions=definitions,
        initializers=initial if drawn or "initializers." in definitions else "",
        partials=[f"{kind} = {call('partial', f'layers.{kind}', **shown)}" for kind, shown in partials.items()],
        l2=recipe.l2 if "L2" in f"{definitions}{partials}" else 0.0,
        averages="average_pool(" in definitions,
    )


def train(spec: ModelSpec, recipe: Recipe, validates: bool, title: str) -> str:
    """Return the source of the training."""
    roles = {array.role for array in spec.trainable} & set(recipe.no_decay) if recipe.decay else set()
    return shared.render(
        "train_keras",
        spec=spec,
        recipe=recipe,
        title=title,
        validates=validates,
        optimizer_keys=", ".join(shared.optimizer_keys(recipe)),
        excluded=[f'"{name}"' for role, name in VARIABLES.items() if role in roles],
        optimizer=_optimizer(recipe),
    )


def left_out(spec: ModelSpec, recipe: Recipe) -> tuple[str, ...]:
    """List what the code does not do."""
    forms = {
        "rmsprop": "Keras adds epsilon inside the root",
        "sgd": "Keras keeps the learning rate inside the momentum",
    }
    form = forms.get(recipe.optimizer, "Keras adds epsilon before the bias correction")
    differs = recipe.update_form == "torch" and (recipe.optimizer != "sgd" or recipe.momentum > 0)
    grouped = [layer for layer in spec.layers if isinstance(layer, L.Conv) and layer.groups > 1]
    depthwise = any(layer.initializer == "he_normal" for layer in grouped)
    unbiased = any(isinstance(layer, L.BatchNorm) and layer.running_variance == "unbiased" for layer in spec.layers)
    watches = recipe.early_stopping or recipe.schedule == "plateau"
    own = {
        f"PyTorch's form of {recipe.optimizer}: {form}": differs,
        "PyTorch's unbiased running variance: batch norm keeps the biased one": unbiased,
        "he_normal with the fan-in of one group for grouped convolutions": depthwise,
        "the loss without the L2 penalty: Keras adds the penalty to the loss it prints": recipe.l2,
        "a validation loss without label smoothing: Keras smooths both": recipe.label_smoothing and watches,
        "the L2 term after the other decay: Keras computes it first": recipe.l2 and recipe.decay,
        "clipping before the L2 term is added: Keras clips the sum": recipe.l2 and recipe.clip_norm,
        "averages of running statistics, and a lower decay in the first steps": recipe.average_decay,
        "crops by whole pixels: images are moved by random fractions, rounded": recipe.crop_padding,
    }
    return shared.left_out(spec, recipe, own)


def _is_chain(spec: ModelSpec) -> bool:
    """Whether each layer is one or several of Keras's own, applied one after the other."""
    padded = [layer for layer in spec.layers if isinstance(layer, L.MaxPool | L.AvgPool) and any(layer.padding)]
    others = any(isinstance(layer, L.PadChannels) for layer in spec.layers)
    return spec.is_chain and not others and all(map(_is_same, padded))


def _layers(  # noqa: PLR0912  (a table)
    layer: Layer, spec: ModelSpec, recipe: Recipe, partials: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Write the Keras layers of a layer, without inputs."""
    exact = recipe.precision == "bfloat16" and layer in (spec.layers[0], spec.layers[-1])
    named = {} if _is_chain(spec) or not _has_weights(layer) else {"name": shared.text(layer.name)}
    last = {**named, "dtype": '"float32"' if exact else ""}

    def make(kind: str, *arguments: str, **settings: str) -> str:
        known = partials.get(kind, {})
        own = {key: value for key, value in settings.items() if known.get(key) != value}
        return call(kind if known else f"layers.{kind}", *arguments, **own, **last)

    match layer:
        case L.Normalize():
            return [make("Rescaling", "1 / 255 / STD", "-MEAN / STD")]
        case L.Conv(padding=(top, bottom, left, right)):
            is_same, channels = any(layer.padding) and _is_same(layer), spec.input_shapes(layer)[0][-1]
            even = (top, left) == (bottom, right)
            margins = pair((top, left)) if even else f"(({top}, {bottom}), ({left}, {right}))"
            pads = [f"layers.ZeroPadding2D({margins})"] if any(layer.padding) and not is_same else []
            settings = {
                "strides": "" if layer.strides == (1, 1) else pair(layer.strides),
                "padding": '"same"' if is_same else "",
            }
            if _is_depthwise(layer, spec):
                settings["depth_multiplier"] = str(layer.filters // channels) if layer.filters > channels else ""
                return [*pads, make("DepthwiseConv2D", pair(layer.kernel), **settings, **_weights(layer, spec, recipe))]
            settings["groups"] = "" if layer.groups == 1 else str(layer.groups)
            arguments = str(layer.filters), pair(layer.kernel)
            return [*pads, make("Conv2D", *arguments, **settings, **_weights(layer, spec, recipe))]
        case L.Dense():
            return [make("Dense", str(layer.units), **_weights(layer, spec, recipe))]
        case L.BatchNorm():
            settings = {"momentum": number(layer.decay), "epsilon": number(layer.epsilon)}
            return [make("BatchNormalization", **settings, **_weights(layer, spec, recipe))]
        case L.Activation(function=function):
            kinds = {"relu": "ReLU", "leaky_relu": "LeakyReLU"}
            slope = [number(layer.slope)] if function == "leaky_relu" else []
            return [make(kinds[function], *slope) if function in kinds else make("Activation", f'"{function}"')]
        case L.MaxPool() | L.AvgPool():
            kind = "MaxPooling2D" if isinstance(layer, L.MaxPool) else "AveragePooling2D"
            is_same = any(layer.padding) and _is_same(layer)
            strides = pair(layer.strides) if is_same or layer.strides != layer.kernel else ""
            return [make(kind, pair(layer.kernel), strides=strides, padding='"same"' if is_same else "")]
        case L.GlobalAvgPool():
            return [make("GlobalAveragePooling2D")]
        case L.Flatten():
            # PyTorch's order, unless only Dense layers depend on it: their rows can be permuted instead.
            mixes = len(spec.input_shapes(layer)[0]) == 3 and not spec.only_feeds_dense(layer)
            return [*["layers.Permute((3, 1, 2))"] * mixes, make("Flatten")]
        case L.Dropout(mode=mode):
            noise = f"(None{', 1' * len(spec.shapes[layer.name])})" if mode == "sample" else ""
            return [make("SpatialDropout2D" if mode == "channel" else "Dropout", number(layer.rate), noise_shape=noise)]
        case L.Add():
            return [make("Add")]
        case L.Concat():
            return [make("Concatenate")]
        case L.PadChannels():
            return []
        case _:
            assert_never(layer)


def _expressions(
    layer: Layer, inputs: Sequence[str], spec: ModelSpec, recipe: Recipe, partials: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Write a layer's output, given its inputs' variables; padding comes first."""
    x = inputs[0]
    if isinstance(layer, L.PadChannels):
        area = "(0, 0), " * len(spec.shapes[layer.name])
        return [f"ops.pad({x}, ({area}({layer.before}, {layer.after})))"]
    *pads, made = _layers(layer, spec, recipe, partials)
    if isinstance(layer, L.MaxPool | L.AvgPool) and any(layer.padding) and not _is_same(layer):
        rows, _, columns, _ = layer.padding
        margins = f"((0, 0), ({rows}, {rows}), ({columns}, {columns}), (0, 0))"
        if isinstance(layer, L.AvgPool):
            return [f"average_pool({x}, {layer.kernel}, {layer.strides}, {margins})"]
        return [f"ops.pad({x}, {margins}, constant_values=-np.inf)", f"{made}(y)"]
    if isinstance(layer, L.Add | L.Concat):
        return [f"{made}([{', '.join(inputs)}])"]
    return [*(f"{pad}({x})" for pad in pads), f"{made}({'y' if pads else x})"]


def _partials(spec: ModelSpec, recipe: Recipe) -> dict[str, dict[str, str]]:
    """Return the settings that all layers of a kind have, where there are several."""
    kinds: dict[str, list[dict[str, str]]] = {}
    for layer in spec.layers:
        if isinstance(layer, L.Conv | L.Dense | L.BatchNorm):
            kind = "BatchNormalization" if isinstance(layer, L.BatchNorm) else type(layer).__name__
            kind = {"Conv": "DepthwiseConv2D" if _is_depthwise(layer, spec) else "Conv2D"}.get(kind, kind)
            kinds.setdefault(kind, []).append(_weights(layer, spec, recipe))
    common = {
        kind: {key: value for key, value in every[0].items() if value and all(one.get(key) == value for one in every)}
        for kind, every in kinds.items()
        if len(every) > 1
    }
    return {kind: settings for kind, settings in common.items() if settings}


def _weights(layer: Layer, spec: ModelSpec, recipe: Recipe) -> dict[str, str]:
    """Write the initializers and regularizers of a layer that are not Keras's own."""

    def l2(role: str) -> str:
        # Keras's form of a decay that is part of the gradient.
        return "L2" if recipe.l2 and role not in recipe.no_decay else ""

    if isinstance(layer, L.BatchNorm):
        return {"gamma_regularizer": l2("scale"), "beta_regularizer": l2("shift")}
    if not isinstance(layer, L.Conv | L.Dense):
        return {}
    bias, kernel = "", "depthwise" if _is_depthwise(layer, spec) else "kernel"
    if layer.use_bias and layer.bias_initializer == "uniform_fan_in":
        fan_in = next(array.fan_in for array in spec.arrays if array.name == f"{layer.name}.bias")
        bias = f"initializers.RandomUniform(-{number(fan_in**-0.5)}, {number(fan_in**-0.5)})"
    elif layer.use_bias and layer.bias_initializer == "ones":
        bias = '"ones"'
    return {
        "use_bias": "" if layer.use_bias else "False",
        f"{kernel}_initializer": INITIALIZERS[layer.initializer],
        "bias_initializer": bias,
        f"{kernel}_regularizer": l2("kernel"),
        "bias_regularizer": l2("bias") if layer.use_bias else "",
    }


def _has_weights(layer: Layer) -> bool:
    return isinstance(layer, L.Conv | L.Dense | L.BatchNorm)


def _is_depthwise(layer: Layer, spec: ModelSpec) -> bool:
    """Whether Keras has a layer of its own for a convolution: one group a channel, and equal strides."""
    if not isinstance(layer, L.Conv):
        return False
    return 1 < layer.groups == spec.input_shapes(layer)[0][-1] and layer.strides[0] == layer.strides[1]


def _is_same(layer: L.Conv | L.MaxPool | L.AvgPool) -> bool:
    """Whether the padding is Keras's "same" for any size of the map."""
    rows, columns = layer.kernel
    middle = (rows // 2, rows // 2, columns // 2, columns // 2)
    return layer.strides == (1, 1) and rows % 2 == columns % 2 == 1 and layer.padding == middle


def _optimizer(recipe: Recipe) -> str:
    name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[recipe.optimizer]
    momentum = number(recipe.momentum) if recipe.momentum else ""
    adam = {"beta_1": number(recipe.beta1), "beta_2": number(recipe.beta2), "epsilon": number(recipe.epsilon)}
    others = {
        "sgd": {"momentum": momentum, "nesterov": "True" if recipe.nesterov and momentum else ""},
        "rmsprop": {"rho": number(recipe.rho), "momentum": momentum, "epsilon": number(recipe.epsilon)},
    }
    settings = others.get(recipe.optimizer, adam)
    settings["weight_decay"] = number(recipe.decay) if recipe.decay or recipe.optimizer == "adamw" else ""
    settings["global_clipnorm"] = number(recipe.clip_norm) if recipe.clip_norm else ""
    if recipe.average_decay:
        settings |= {"use_ema": "True", "ema_momentum": number(recipe.average_decay)}
    return call(f"keras.optimizers.{name}", "LEARNING_RATE", **settings)
