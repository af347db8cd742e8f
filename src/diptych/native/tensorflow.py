"""A training script as a Keras user writes it; its layers have the spec's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from diptych.native import shared
from diptych.native.shared import Script, call, number, pair
from diptych.spec import Layer, ModelSpec, Recipe
from diptych.spec import layers as L

VARIABLES = {"kernel": "kernel", "bias": "bias", "scale": "gamma", "shift": "beta"}
INITIALIZERS = {
    "he_normal": '"he_normal"',
    "glorot_uniform": "",
    "uniform_fan_in": "UNIFORM",
    "zeros": '"zeros"',
    "ones": '"ones"',
}


def script(spec: ModelSpec, recipe: Recipe) -> Script:
    """Return the script of a model and its training."""
    roles = {array.role for array in spec.trainable} & set(recipe.no_decay) if recipe.decay else set()
    return shared.render(
        "tensorflow",
        "train_keras.py",
        "np.array({})",
        spec,
        recipe,
        _left_out(spec, recipe),
        statements=shared.statements(spec, lambda layer, inputs: _expression(layer, inputs, spec, recipe)),
        excluded=[f'"{name}"' for role, name in VARIABLES.items() if role in roles],
        optimizer=_optimizer(recipe),
    )


def _left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    forms = {
        "rmsprop": "Keras adds epsilon inside the root",
        "sgd": "Keras keeps the learning rate inside the momentum",
    }
    form = forms.get(recipe.optimizer, "Keras adds epsilon before the bias correction")
    differs = recipe.update_form == "torch" and (recipe.optimizer != "sgd" or recipe.momentum > 0)
    policy = "keras.mixed_precision.set_global_policy"
    he_normal = any(array.initializer == "he_normal" for array in spec.trainable)
    grouped = [layer for layer in spec.layers if isinstance(layer, L.Conv) and layer.groups > 1]
    depthwise = any(layer.initializer == "he_normal" for layer in grouped)
    unbiased = any(isinstance(layer, L.BatchNorm) and layer.running_variance == "unbiased" for layer in spec.layers)
    own = {
        f'float16, with {policy}("mixed_float16")': recipe.precision == "float16",
        f'bfloat16 if the processor supports it: {policy}("mixed_bfloat16")': recipe.precision == "auto",
        f"PyTorch's form of {recipe.optimizer}: {form}": differs,
        "a test in float32: Keras also tests in bfloat16": recipe.precision == "bfloat16",
        "PyTorch's unbiased running variance: batch norm keeps the biased one": unbiased,
        "he_normal without truncation: Keras cuts it at two standard deviations": he_normal,
        "he_normal with the fan-in of one group for grouped convolutions": depthwise,
        "the loss without the L2 penalty: Keras adds the penalty to the loss it prints": recipe.l2,
        "the L2 term after the other decay: Keras computes it first": recipe.l2 and recipe.decay,
        "clipping before the L2 term is added: Keras clips the sum": recipe.l2 and recipe.clip_norm,
    }
    return shared.left_out(spec, recipe, own)


def _expression(layer: Layer, inputs: Sequence[str], spec: ModelSpec, recipe: Recipe) -> str:  # noqa: PLR0912  (a table)
    """Write a layer's output, given its inputs' variables."""
    x = inputs[0]
    exact = recipe.precision == "bfloat16" and layer in (spec.layers[0], spec.layers[-1])
    last = {"name": f'"{layer.name}"', "dtype": '"float32"' if exact else ""}

    def apply(kind: str, *arguments: str, to: str = x, **settings: str) -> str:
        return f"{call(f'layers.{kind}', *arguments, **settings, **last)}({to})"

    match layer:
        case L.Normalize():
            return apply("Rescaling", "1 / 255 / STD", "-MEAN / STD")
        case L.Conv():
            channels = spec.input_shapes(layer)[0][-1]
            settings = {
                "strides": "" if layer.strides == (1, 1) else pair(layer.strides),
                "padding": '"same"' if any(layer.padding) and _is_same(layer) else "",
            }
            if any(layer.padding) and not _is_same(layer):
                top, bottom, left, right = layer.padding
                even = top == bottom and left == right
                margins = pair((top, left)) if even else f"(({top}, {bottom}), ({left}, {right}))"
                x = f"layers.ZeroPadding2D({margins})({x})"
            if 1 < layer.groups == channels and layer.strides[0] == layer.strides[1]:
                settings["depth_multiplier"] = str(layer.filters // channels) if layer.filters > channels else ""
                settings |= _weights(layer, "depthwise", spec, recipe)
                return apply("DepthwiseConv2D", pair(layer.kernel), to=x, **settings)
            settings["groups"] = "" if layer.groups == 1 else str(layer.groups)
            settings |= _weights(layer, "kernel", spec, recipe)
            return apply("Conv2D", str(layer.filters), pair(layer.kernel), to=x, **settings)
        case L.Dense():
            return apply("Dense", str(layer.units), **_weights(layer, "kernel", spec, recipe))
        case L.BatchNorm():
            return apply(
                "BatchNormalization",
                momentum="" if layer.decay == 0.99 else number(layer.decay),
                epsilon="" if layer.epsilon == 1e-3 else number(layer.epsilon),
                gamma_regularizer=_l2(recipe, "scale"),
                beta_regularizer=_l2(recipe, "shift"),
            )
        case L.Activation(function="relu"):
            return apply("ReLU")
        case L.Activation(function="leaky_relu"):
            return apply("LeakyReLU", number(layer.slope))
        case L.Activation():
            return apply("Activation", f'"{layer.function}"')
        case L.MaxPool() | L.AvgPool():
            kind = "MaxPooling2D" if isinstance(layer, L.MaxPool) else "AveragePooling2D"
            size, strides = pair(layer.kernel), pair(layer.strides)
            if any(layer.padding) and _is_same(layer):
                return apply(kind, size, strides=strides, padding='"same"')
            rows, _, columns, _ = layer.padding
            margins = f"((0, 0), ({rows}, {rows}), ({columns}, {columns}), (0, 0))"
            if any(layer.padding) and isinstance(layer, L.AvgPool):
                return f"average_pool({x}, {size}, {strides}, {margins})"
            to = f"ops.pad({x}, {margins}, constant_values=-np.inf)" if any(layer.padding) else x
            return apply(kind, size, to=to, strides="" if layer.strides == layer.kernel else strides)
        case L.GlobalAvgPool():
            return apply("GlobalAveragePooling2D")
        case L.Flatten():
            return apply("Flatten")
        case L.Dropout(mode=mode):
            noise = f"(None{', 1' * len(spec.shapes[layer.name])})" if mode == "sample" else ""
            return apply("SpatialDropout2D" if mode == "channel" else "Dropout", number(layer.rate), noise_shape=noise)
        case L.Add() | L.Concat():
            kind = "Add" if isinstance(layer, L.Add) else "Concatenate"
            return apply(kind, to=f"[{', '.join(inputs)}]")
        case L.PadChannels():
            area = "(0, 0), " * len(spec.shapes[layer.name])
            return f"ops.pad({x}, ({area}({layer.before}, {layer.after})))"
        case _:
            assert_never(layer)


def _weights(layer: L.Conv | L.Dense, kernel: str, spec: ModelSpec, recipe: Recipe) -> dict[str, str]:
    """Write the initializers and regularizers that are not Keras's own."""
    bias = ""
    if layer.use_bias and layer.bias_initializer == "uniform_fan_in":
        fan_in = next(array.fan_in for array in spec.arrays if array.name == f"{layer.name}.bias")
        limit = number(fan_in**-0.5)
        bias = f"keras.initializers.RandomUniform(-{limit}, {limit})"
    elif layer.use_bias and layer.bias_initializer == "ones":
        bias = '"ones"'
    return {
        "use_bias": "" if layer.use_bias else "False",
        f"{kernel}_initializer": INITIALIZERS[layer.initializer],
        "bias_initializer": bias,
        f"{kernel}_regularizer": _l2(recipe, "kernel"),
        "bias_regularizer": _l2(recipe, "bias") if layer.use_bias else "",
    }


def _l2(recipe: Recipe, role: str) -> str:
    """Write an L2 penalty, Keras's form of a decay that is part of the gradient."""
    return "L2" if recipe.l2 and role not in recipe.no_decay else ""


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
    return call(f"keras.optimizers.{name}", "LEARNING_RATE", **settings)
