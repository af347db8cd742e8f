"""The differences between the frameworks that a model and its training would run into."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from diptych.engines.differences import LEDGER, Difference
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.spec.layers import Layer


def relevant_differences(setups: Iterable[tuple[ModelSpec, Recipe]]) -> list[Difference]:
    """Return the ledger's rows that would change a model's numbers or files, in the ledger's order."""
    known = list(setups)
    return [row for row in LEDGER if any(RELEVANT[row.key](spec, recipe) for spec, recipe in known)]


Condition = Callable[[ModelSpec, Recipe], bool]


def _always(spec: ModelSpec, recipe: Recipe) -> bool:
    return True


def _layer(*kinds: type, of: Callable[..., bool] = lambda layer: True) -> Condition:
    def applies(spec: ModelSpec, recipe: Recipe) -> bool:
        return any(isinstance(layer, kinds) and of(layer) for layer in spec.layers)

    return applies


def _rule(*rules: str) -> Condition:
    return lambda spec, recipe: recipe.optimizer in rules


def _recipe(of: Callable[[Recipe], object]) -> Condition:
    return lambda spec, recipe: bool(of(recipe))


def _padded(layer: Layer) -> bool:
    return isinstance(layer, L.Conv | L.MaxPool | L.AvgPool) and any(layer.padding)


def _function(name: str) -> Condition:
    return _layer(L.Activation, of=lambda layer: layer.function == name)


def _augments(recipe: Recipe) -> bool:
    amounts = (recipe.crop_padding, recipe.rotation, recipe.brightness, recipe.contrast, recipe.saturation)
    return recipe.flip != "none" or any((*amounts, recipe.cutout, recipe.mixup, recipe.cutmix))


RELEVANT: dict[str, Condition] = {
    "image-layout": _always,
    "conv-kernel-axes": _layer(L.Conv),
    "dense-kernel-axes": _layer(L.Dense),
    "flatten-order": _layer(L.Flatten),
    "same-padding": _layer(L.Conv, of=_padded),
    "max-pool-padding": _layer(L.MaxPool, of=_padded),
    "avg-pool-padding": _layer(L.AvgPool, of=_padded),
    "norm-epsilon": _layer(L.BatchNorm),
    "norm-momentum": _layer(L.BatchNorm),
    "norm-running-variance": _layer(L.BatchNorm),
    "norm-one-value": _layer(L.BatchNorm),
    "leaky-relu": _function("leaky_relu"),
    "gelu": _function("gelu"),
    "rescaling-constants": _layer(L.Normalize),
    "constant-cast": _recipe(lambda recipe: recipe.precision == "float64"),
    "dropout-stream": _layer(L.Dropout, of=lambda layer: layer.rate > 0),
    "train-mode": _layer(L.BatchNorm, L.Dropout),
    "initial-weights": _layer(L.Conv, L.Dense),
    "mixed-precision": _recipe(lambda recipe: recipe.precision in ("bfloat16", "float16")),
    "loss-scale": _recipe(lambda recipe: recipe.precision == "float16"),
    "sgd-velocity": _rule("sgd", "rmsprop"),
    "adam-epsilon": _rule("adam", "adamw"),
    "adam-complements": _rule("adam", "adamw"),
    "weight-decay": _recipe(lambda recipe: recipe.l2 or recipe.decay),
    "rmsprop-epsilon": _rule("rmsprop"),
    "gradient-clipping": _recipe(lambda recipe: recipe.clip_norm),
    "weight-average": _recipe(lambda recipe: recipe.average_decay),
    "lr-clock": _recipe(lambda recipe: recipe.schedule != "constant"),
    "plateau": _recipe(lambda recipe: recipe.schedule == "plateau"),
    "early-stopping": _recipe(lambda recipe: recipe.early_stopping),
    "loss-input": _always,
    "label-smoothing": _recipe(lambda recipe: recipe.label_smoothing),
    "class-weights": _recipe(lambda recipe: recipe.class_weights != "none"),
    "epoch-loss": _always,
    "tf32": _always,
    "denormals": _rule("adam", "adamw", "rmsprop"),
    "compile": _always,
    "decode": _always,
    "resize": _always,
    "shuffle": _always,
    "augmentation": _recipe(_augments),
}
