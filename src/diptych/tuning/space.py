"""The search space of a study as data, and what a trial's parameters mean: a recipe and a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from diptych.artifacts.store import parse_json, read_bytes
from diptych.errors import UsageError
from diptych.files import expanded
from diptych.spec import ModelSpec, Recipe, zoo
from diptych.spec.layers import Dropout
from diptych.spec.recipe import Rule
from diptych.vocabulary import did_you_mean

Number: TypeAlias = int | float
Value: TypeAlias = bool | int | float | str
Setup: TypeAlias = tuple[Recipe, ModelSpec]
# They change how long a trial is, or the images that it is judged on.
FIXED = ("epochs", "validation_fraction", "early_stopping", "keep_best")


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A parameter of a search space: a field of the recipe, or a name of `DERIVED`."""

    name: str
    kind: Literal["float", "int", "choice"]
    low: Number = 0
    high: Number = 0
    step: Number | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    when: dict[str, tuple[Value, ...]] = {}
    """Earlier parameters, and the values with which this one applies."""
    meaning: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a name that is unknown or fixed, or for an empty range."""
        known = [*DERIVED, *(one.name for one in fields(Recipe) if one.name not in FIXED)]
        if self.name not in known:
            fault = "is fixed in a study" if self.name in FIXED else f"is unknown{did_you_mean(self.name, known)}"
            raise ValueError(f"parameter '{self.name}' {fault}; use a field of the recipe or {', '.join(DERIVED)}.")
        if self.kind == "choice" and not self.choices:
            raise ValueError(f"parameter '{self.name}' needs 'choices'.")
        if self.kind != "choice" and not (self.low < self.high and (not self.log or self.low > 0)):
            range_ = f"[{self.low}, {self.high}]"
            raise ValueError(f"parameter '{self.name}' needs low < high, and low > 0 if it is log; got {range_}.")
        if self.step is not None and (self.step <= 0 or self.log):
            raise ValueError(f"parameter '{self.name}': 'step' must be > 0, and a log parameter has none.")

    def suggest(self, trial: Any) -> Value:
        """Return an Optuna trial's value."""
        value: Value
        if self.kind == "choice":
            value = trial.suggest_categorical(self.name, self.choices)
        elif self.kind == "int":
            value = trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        else:
            value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return value

    def allows(self, value: Value | None) -> bool:
        """Whether a value can be sampled."""
        if self.kind == "choice":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or (1 if self.kind == "int" else np.inf))
        return abs(steps - round(steps)) < 1e-8 or self.step is None


Space: TypeAlias = tuple[Parameter, ...]


class _SpaceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="format", tag="diptych-space"):
    version: Literal[1]
    parameters: Space

    def __post_init__(self) -> None:
        known: list[str] = []
        for one in self.parameters:
            if one.name in known:
                raise ValueError(f"parameter '{one.name}' is there twice.")
            if missing := sorted(one.when.keys() - {*known}):
                raise ValueError(f"parameter '{one.name}' depends on '{missing[0]}', which must come before it.")
            known.append(one.name)
        if not known:
            raise ValueError("the space has no parameters.")


@dataclass(frozen=True)
class Base:
    """What a study starts from: the recipe and the model in force, and the number of training images."""

    recipe: Recipe
    spec: ModelSpec
    num_train: int
    is_cnn: bool = False
    """Whether the model is the built-in `cnn`, which can be wider and deeper."""


def steps_of(recipe: Recipe, num_train: int) -> int:
    """Return the steps of a whole training."""
    return recipe.epochs * -(-num_train // recipe.batch_size)


def read_space(space: str | Path | Mapping[str, Any]) -> Space:
    """Read a space from a JSON file or its content; raises ArtifactError or UsageError, which names the entry."""
    if not isinstance(space, Mapping):
        path = expanded(space, "--space")
        return parse_json(path, read_bytes(path), _SpaceFile).parameters
    try:
        return msgspec.convert(space, _SpaceFile).parameters
    except msgspec.ValidationError as error:
        raise UsageError(f"Invalid 'space': {error}") from error


def sample(space: Space, trial: Any) -> dict[str, Value]:
    """Return an Optuna trial's values of the parameters that apply."""
    values: dict[str, Value] = {}
    for one in space:
        if applies(one, values):
            values[one.name] = one.suggest(trial)
    return values


def applies(parameter: Parameter, values: Mapping[str, Value]) -> bool:
    """Whether a parameter applies beside the values of those before it."""
    return all(name in values and values[name] in accepted for name, accepted in parameter.when.items())


def defaults(space: Space, base: Base) -> dict[str, Value]:
    """Return the values that stand for the recipe and the model in force, without those that the space lacks."""
    values: dict[str, Value] = {}
    value: Any
    for one in space:
        value = DERIVED[one.name].current(base) if one.name in DERIVED else getattr(base.recipe, one.name)
        if applies(one, values) and one.allows(value):
            values[one.name] = value
    return values


def setup(base: Base, values: Mapping[str, Value]) -> Setup:
    """Return the recipe and the model of a trial; raises SpecError if they are invalid."""
    recipe = base.recipe
    if values.get("optimizer", recipe.optimizer) != recipe.optimizer:  # whose rates are no measure for another one
        recipe = replace(recipe, learning_rate=None, decoupled_decay=None)
    plain: dict[str, Any] = {name: value for name, value in values.items() if name not in DERIVED}
    made = replace(recipe, **plain), base.spec
    if base.is_cnn and {"width", "depth"} & values.keys():
        mean, std = (getattr(base.spec.layers[0], name) for name in ("mean", "std"))
        shape = {name: values[name] for name in ("width", "depth") if name in values}
        made = made[0], zoo.model("cnn", base.spec.input_shape, base.spec.num_classes, mean, std, **shape)
        made = made[0], with_dropout(made[1], dropout_of(base.spec))
    for name, derived in DERIVED.items():
        if name in values:
            made = derived.apply(base, made, values[name])
    return made


def default_space(base: Base) -> Space:
    """Return what is worth searching around any recipe and model."""
    model = []
    if base.is_cnn:
        model += [
            Parameter(
                "width", "choice", choices=(0.5, 0.75, 1.0, 1.5), meaning="factor of the cnn's filters and units"
            ),
            Parameter("depth", "int", 1, 3, meaning="blocks in each of the cnn's stages"),
        ]
    if dropout_of(base.spec) is not None:
        model.append(Parameter("dropout", "float", 0.0, 0.6, 0.1, meaning="rate of every dropout layer"))
    return (
        Parameter("optimizer", "choice", choices=("adamw", "sgd"), meaning="optimizer"),
        Parameter(
            "rate_factor", "float", 0.1, 10.0, log=True, meaning="learning rate, relative to the optimizer's own"
        ),
        Parameter("step_decay", "float", 1e-6, 1e-3, log=True, meaning="share of a weight that a step takes away"),
        Parameter("schedule", "choice", choices=("one_cycle", "cosine", "constant"), meaning="learning-rate schedule"),
        Parameter(
            "warmup_share", "float", 0.0, 0.2, when={"schedule": ("cosine", "constant")}, meaning="share of warmup"
        ),
        Parameter("batch_size", "choice", choices=(32, 64, 128, 256), meaning="images per step"),
        Parameter("augmentation", "float", 0.0, 2.0, meaning="up to 1: crops; above: rotation, color and cutout, too"),
        Parameter("mixup", "float", 0.0, 0.4, 0.1, meaning="alpha of mixup"),
        Parameter("label_smoothing", "float", 0.0, 0.2, 0.05, meaning="share of each target spread over all classes"),
        Parameter(
            "average_share", "float", 0.0, 0.1, 0.02, meaning="share of the training that the weights' mean spans"
        ),
        *model,
    )


def left_out(space: Space, base: Base) -> str:
    """Say in a sentence what of the model is not searched; empty if width, depth and dropout are."""
    missing = [name for name in ("width", "depth", "dropout") if name not in {one.name for one in space}]
    why = "" if base.is_cnn else f" (only the built-in cnn has a width and a depth; this is '{base.spec.name}')"
    return f"The space leaves out {', '.join(missing)}{why}." if missing else ""


@dataclass(frozen=True)
class _Derived:
    """A parameter that stands for several fields, or depends on the optimizer or the data."""

    apply: Callable[[Base, Setup, Any], Setup]
    current: Callable[[Base], Value | None]
    """Its value for what is in force; None if it has none."""


def own_rate(optimizer: Rule) -> float:
    """Return an optimizer's own learning rate."""
    return Recipe(optimizer=optimizer).rate


def _with_rate(base: Base, made: Setup, factor: float) -> Setup:
    return replace(made[0], learning_rate=factor * made[0].rate), made[1]


def _with_decay(base: Base, made: Setup, share: float) -> Setup:
    return replace(made[0], decoupled_decay=share / own_rate(made[0].optimizer)), made[1]


def _with_warmup(base: Base, made: Setup, share: float) -> Setup:
    return replace(made[0], warmup_epochs=share * made[0].epochs), made[1]


def _with_average(base: Base, made: Setup, share: float) -> Setup:
    span = share * steps_of(made[0], base.num_train)
    return replace(made[0], average_decay=1 - 1 / span if span > 1 else 0.0), made[1]


def _with_augmentation(base: Base, made: Setup, strength: float) -> Setup:
    return replace(made[0], **augmentation(strength, base.spec.input_shape)), made[1]


def augmentation(strength: float, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the recipe's fields: crops of up to an eighth of the image at 1, then also rotation, color and cutout."""
    side, more, colored = min(image_shape[:2]), max(0.0, strength - 1.0), image_shape[2] == 3
    color = round(0.3 * more, 4)
    return {
        "crop_padding": round(side / 8 * min(strength, 1.0)),
        "rotation": round(15 * more, 2),
        "brightness": color,
        "contrast": color,
        "saturation": color if colored else 0.0,
        "cutout": round(side / 2 * more),
    }


def _current_augmentation(base: Base) -> float | None:
    """Return the middle of the strengths that give the recipe's fields."""
    recipe, shape, strengths = vars(base.recipe), base.spec.input_shape, np.linspace(0, 2, 201).tolist()
    found = [one for one in strengths if {**recipe, **augmentation(one, shape)} == recipe]
    return found[len(found) // 2] if found else None


def _current_average(base: Base) -> float:
    decay, steps = base.recipe.average_decay, steps_of(base.recipe, base.num_train)
    return 1 / ((1 - decay) * steps) if decay else 0.0


def dropout_of(spec: ModelSpec) -> float | None:
    """Return the rate of all dropout layers; None if there are none, or if they differ."""
    rates = {layer.rate for layer in spec.layers if isinstance(layer, Dropout)}
    return rates.pop() if len(rates) == 1 else None


def with_dropout(spec: ModelSpec, rate: float | None) -> ModelSpec:
    """Return the model with another rate of every dropout layer; None changes nothing."""
    if rate is None:
        return spec
    layers = (replace(one, rate=rate) if isinstance(one, Dropout) else one for one in spec.layers)
    return replace(spec, layers=tuple(layers))


DERIVED: dict[str, _Derived] = {
    "rate_factor": _Derived(_with_rate, lambda base: 1.0),
    "step_decay": _Derived(_with_decay, lambda base: base.recipe.decay * own_rate(base.recipe.optimizer)),
    "warmup_share": _Derived(_with_warmup, lambda base: base.recipe.warmup_epochs / base.recipe.epochs),
    "average_share": _Derived(_with_average, _current_average),
    "augmentation": _Derived(_with_augmentation, _current_augmentation),
    "dropout": _Derived(lambda base, made, rate: (made[0], with_dropout(made[1], rate)), lambda b: dropout_of(b.spec)),
    "width": _Derived(lambda base, made, factor: made, lambda base: 1.0 if base.is_cnn else None),
    "depth": _Derived(lambda base, made, blocks: made, lambda base: 2 if base.is_cnn else None),
}
