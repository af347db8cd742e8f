"""The search space of a study as data, and what a trial's parameters mean: a recipe and a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

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
DERIVED = (
    "rate_factor", "step_decay", "warmup_share", "average_share", "augmentation", "dropout", "width", "depth"
)  # fmt: skip
"""Parameters that stand for several fields, or depend on the optimizer or the data."""
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
        fault = ""
        if self.name not in known:
            is_ = "is fixed in a study" if self.name in FIXED else f"is unknown{did_you_mean(self.name, known)}"
            fault = f"{is_}; use a field of the recipe or {', '.join(DERIVED)}"
        elif self.kind == "choice" and not self.choices:
            fault = "needs 'choices'"
        elif self.kind != "choice" and not (self.low < self.high and (not self.log or self.low > 0)):
            fault = f"needs low < high, and low > 0 if it is log; got [{self.low}, {self.high}]"
        elif self.step is not None and (self.step <= 0 or self.log):
            fault = "has a 'step', which must be > 0, and which a log parameter has not"
        if fault:
            raise ValueError(f"parameter '{self.name}' {fault}.")

    def suggest(self, trial: Any) -> Value:
        """Return an Optuna trial's value."""
        value: Value
        if self.kind == "choice":
            value = trial.suggest_categorical(self.name, self.choices)
        elif self.kind == "int":
            value = trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        else:
            sampled = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
            value = round(sampled, 12) if self.step else sampled  # 0.3, not 3 × 0.1
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

    def steps(self, recipe: Recipe) -> int:
        """Return the steps of a whole training."""
        return recipe.epochs * -(-self.num_train // recipe.batch)


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
    recipe, values = base.recipe, dict[str, Value]()
    current: dict[str, Any] = {
        **vars(recipe),
        "rate_factor": 1.0,
        "step_decay": recipe.decay * own_rate(recipe.optimizer),
        "warmup_share": recipe.warmup_epochs / recipe.epochs,
        "average_share": 1 / ((1 - recipe.average_decay) * base.steps(recipe)) if recipe.average_decay else 0.0,
        "augmentation": _strength(base),
        "dropout": dropout_of(base.spec),
        **({"width": 1.0, "depth": 2} if base.is_cnn else {"width": None, "depth": None}),
    }
    for one in space:
        if applies(one, values) and one.allows(current[one.name]):
            values[one.name] = current[one.name]
    return values


def setup(base: Base, values: Mapping[str, Value]) -> Setup:
    """Return the recipe and the model of a trial; raises SpecError if they are invalid."""
    recipe, spec, given = base.recipe, base.spec, cast(dict[str, Any], values)
    if given.get("optimizer", recipe.optimizer) != recipe.optimizer:  # whose rates are no measure for another one
        recipe = replace(recipe, learning_rate=None, decoupled_decay=None)
    recipe = replace(recipe, **{name: value for name, value in given.items() if name not in DERIVED})
    if base.is_cnn and (shape := {name: given[name] for name in ("width", "depth") if name in given}):
        mean, std = (getattr(spec.layers[0], name) for name in ("mean", "std"))
        spec = zoo.model("cnn", spec.input_shape, spec.num_classes, mean, std, **shape)
    fields: dict[str, Any] = {}
    if "rate_factor" in given:
        fields["learning_rate"] = given["rate_factor"] * recipe.rate
    if "step_decay" in given:
        fields["decoupled_decay"] = given["step_decay"] / own_rate(recipe.optimizer)
    if "warmup_share" in given:
        fields["warmup_epochs"] = given["warmup_share"] * recipe.epochs
    if "average_share" in given:
        span = given["average_share"] * base.steps(recipe)
        fields["average_decay"] = 1 - 1 / span if span > 1 else 0.0
    if "augmentation" in given:
        fields |= augmentation(given["augmentation"], spec.input_shape)
    return replace(recipe, **fields), with_dropout(spec, given.get("dropout", dropout_of(base.spec)))


def space_for(base: Base, given: Space | None = None) -> Space:
    """Return the given space, or the default one as far as it fits the model; raises UsageError for one that does not.

    The default space is `space.json` in this folder.
    """
    space = read_space(Path(__file__).with_name("space.json")) if given is None else given
    unfit = [] if base.is_cnn else ["width", "depth"]
    unfit += [] if dropout_of(base.spec) is not None else ["dropout"]
    if given is not None and (wrong := [one.name for one in space if one.name in unfit]):
        fault = f"parameter '{wrong[0]}' does not apply to the model '{base.spec.name}'"
        raise UsageError(f"Invalid 'space': {fault}; only the built-in cnn has a width and a depth.")
    return tuple(one for one in space if one.name not in unfit)


def left_out(space: Space, base: Base) -> str:
    """Say in a sentence what of the model is not searched; empty if width, depth and dropout are."""
    missing = [name for name in ("width", "depth", "dropout") if name not in {one.name for one in space}]
    why = "" if base.is_cnn else f" (only the built-in cnn has a width and a depth; this is '{base.spec.name}')"
    return f"The space leaves out {', '.join(missing)}{why}." if missing else ""


def own_rate(optimizer: Rule) -> float:
    """Return an optimizer's own learning rate."""
    return Recipe(optimizer=optimizer).rate


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


def _strength(base: Base) -> float | None:
    """Return the middle of the strengths that give the recipe's augmentation; None if there is none."""
    recipe, strengths = vars(base.recipe), [step / 100 for step in range(201)]
    found = [one for one in strengths if {**recipe, **augmentation(one, base.spec.input_shape)} == recipe]
    return found[len(found) // 2] if found else None


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
