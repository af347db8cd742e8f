"""Each framework's defaults as changes of a spec and a recipe, and the effect of each on accuracy.

The values are those of PyTorch 2.13 and Keras 3.15; tests/contract/test_differences_defaults.py reads them from the
installed versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from diptych.comparison.runs import Arm
from diptych.comparison.statistics import LEVEL, holm, paired_difference
from diptych.comparison.wording import change, interval
from diptych.engines import NAMES
from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import Activation, BatchNorm, Conv, Dense, Layer

Setup: TypeAlias = tuple[ModelSpec, Recipe]
ALIGNED, NATIVE = "aligned", "native"
# Accuracies by arm and engine, one a seed.
Accuracies = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Default:
    """A setting with a different default in each framework."""

    key: str
    """Key in the ledger."""
    title: str
    values: tuple[str, str]
    """PyTorch's default and Keras's."""
    switch: Callable[[Setup, str], Setup]
    """Returns the setup with the default of an engine's framework."""
    matters: Callable[[Recipe], bool] = lambda recipe: True
    """Whether the setting affects a training with this recipe, even if both frameworks' setups differ."""


def of(setup: Setup) -> tuple[Default, ...]:
    """Return the defaults that affect this model and recipe."""
    differing = (one for one in DEFAULTS if one.switch(setup, "torch") != one.switch(setup, "tensorflow"))
    return tuple(one for one in differing if one.matters(setup[1]))


def _switch(
    *rules: str, layers: Callable[[Layer], bool] = lambda layer: False, **values: tuple[Any, Any]
) -> Callable[[Setup, str], Setup]:
    """Return a switch to PyTorch's or Keras's `values` in some layers, or in the recipe for some update rules."""

    def switch(setup: Setup, engine: str) -> Setup:
        spec, recipe = setup
        changes = {name: value[NAMES.index(engine)] for name, value in values.items()}
        switched = tuple(replace(layer, **changes) if layers(layer) else layer for layer in spec.layers)
        return replace(spec, layers=switched), replace(recipe, **changes) if recipe.optimizer in rules else recipe

    return switch


def _is_norm(layer: Layer) -> bool:
    return isinstance(layer, BatchNorm)


def _decay(setup: Setup, engine: str) -> Setup:
    """Switch the decay, if any: AdamW has one by default; elsewhere `weight_decay` means different things."""
    spec, recipe = setup
    amount = recipe.l2 or recipe.decay
    native = ((0.0, 0.01), (0.0, 0.004)) if recipe.optimizer == "adamw" else ((amount, 0.0), (0.0, amount))
    l2, decoupled = native[NAMES.index(engine)]
    return spec, replace(recipe, no_decay=(), l2=l2, decoupled_decay=decoupled) if amount else recipe


FORMS = ("torch", "keras")
DEFAULTS = (
    Default(
        "initial-weights",
        "initial weights",
        ("U(±1/√fan_in), biases included", "Glorot uniform, biases 0"),
        _switch(
            layers=lambda layer: isinstance(layer, Conv | Dense),
            initializer=("uniform_fan_in", "glorot_uniform"),
            bias_initializer=("uniform_fan_in", "zeros"),
        ),
    ),
    Default("norm-epsilon", "batch norm's epsilon", ("1e-5", "1e-3"), _switch(layers=_is_norm, epsilon=(1e-5, 1e-3))),
    Default(
        "norm-momentum",
        "batch norm's momentum: weight of the old running statistics",
        ("0.9", "0.99"),
        _switch(layers=_is_norm, decay=(0.9, 0.99)),
    ),
    Default(
        "norm-running-variance",
        "batch norm's running variance",
        ("unbiased", "biased"),
        _switch(layers=_is_norm, running_variance=("unbiased", "biased")),
    ),
    Default(
        "leaky-relu",
        "leaky ReLU's slope",
        ("0.01", "0.3"),
        _switch(
            layers=lambda layer: isinstance(layer, Activation) and layer.function == "leaky_relu", slope=(0.01, 0.3)
        ),
    ),
    Default(
        "adam-epsilon",
        "Adam's epsilon and where it is added",
        ("1e-8, after bias correction", "1e-7, before it"),
        _switch("adam", "adamw", update_form=FORMS, epsilon=(1e-8, 1e-7)),
    ),
    Default(
        "rmsprop-epsilon",
        "RMSprop's epsilon, its decay, and whether its momentum includes the learning rate",
        ("1e-8, outside the root; 0.99; no", "1e-7, inside the root; 0.9; yes"),
        _switch("rmsprop", update_form=FORMS, epsilon=(1e-8, 1e-7), rho=(0.99, 0.9)),
    ),
    Default(
        "sgd-velocity",
        "whether SGD's momentum buffer includes the learning rate",
        ("no", "yes"),
        _switch("sgd", update_form=FORMS),
        # With a constant rate, or without momentum, both give the same numbers.
        matters=lambda recipe: recipe.momentum > 0 and (recipe.schedule != "constant" or recipe.warmup_epochs > 0),
    ),
    Default(
        "weight-decay",
        "weight decay",
        (
            "AdamW: 0.01 for every array; otherwise added to the gradient of every array",
            "AdamW: 0.004 for every array; otherwise applied separately, to every array",
        ),
        _decay,
    ),
)


def accuracies(arms: Mapping[str, Sequence[Arm]]) -> Accuracies:
    """Return the test accuracy of every run, by arm and engine."""
    return {
        name: {arm.record.last_engine: [run.value("accuracy") for run in arm.runs] for arm in several}
        for name, several in arms.items()
    }


def explain(measured: Accuracies, setup: Setup, resolution: float) -> dict[str, Any]:
    """Return each default's effect on both frameworks and on the gap, paired by seed, with 95 % intervals.

    `measured` has the arms aligned, native and each default's key; `setup` is the aligned one; `resolution` is the step
    between possible accuracies, one over the number of test images.
    """
    rows: list[dict[str, Any]] = []
    for default in of(setup):
        base, switched = measured[ALIGNED], measured[default.key]
        gains = {engine: np.subtract(switched[engine], base[engine]) for engine in NAMES}
        # If a framework's default is the aligned value, both arms have the same runs, without rounding.
        steps = {engine: 0.0 if default.switch(setup, engine) == setup else resolution for engine in gains}
        effects = [_effect(np.zeros_like(gain), gain, steps[engine]) for engine, gain in gains.items()]
        gap = _effect(gains["torch"], gains["tensorflow"], resolution)
        told = {"key": default.key, "title": default.title, "values": list(default.values)}
        rows.append({**told, "effects": effects, "gap": gap})
    gaps = [row["gap"] for row in rows]
    if gaps and gaps[0]["p_value"] is not None:
        for gap, p_value in zip(gaps, holm([gap["p_value"] for gap in gaps]), strict=True):
            gap["holm_p"] = p_value
    return {
        **{arm: _effect(measured[arm]["torch"], measured[arm]["tensorflow"], resolution) for arm in (ALIGNED, NATIVE)},
        "defaults": rows,
        "sum": float(sum(gap["mean"] for gap in gaps)),
    }


def summarize(explained: Mapping[str, Any]) -> str:
    """Return the attribution in one sentence."""
    native, aligned, rows = explained["native"], explained["aligned"], explained["defaults"]
    gap = f"With each framework's defaults, the difference is {change(native['mean'])} points"
    gap += f"; with aligned settings, {change(aligned['mean'])} points"
    if not rows:
        return f"{gap}; both frameworks have the same defaults for this model and recipe."
    is_single = native["p_value"] is None
    clear = [row for row in rows if is_single or row["gap"]["holm_p"] < LEVEL]
    if not clear:
        return f"{gap}; no single default has a significant effect."
    largest = max(clear, key=lambda row: abs(row["gap"]["mean"]))
    effect = largest["gap"]
    name = f"{largest['title']} (`{largest['key']}`)"
    if is_single:
        amount = f"{change(effect['mean'])} points, but one pair cannot distinguish that from chance"
        return f"{gap}; the largest effect is that of {name}: {amount}."
    test = f"95% interval {interval(effect)}; p = {effect['holm_p']:.2g} after Holm's correction"
    return f"{gap}; the largest effect is that of {name}: {change(effect['mean'])} points ({test})."


def _effect(first_s: Any, second_s: Any, resolution: float) -> dict[str, Any]:
    """Return the mean and interval of second minus first; for a single pair, only the difference."""
    if len(first_s) < 2:
        return {"mean": float(second_s[0] - first_s[0]), "low": None, "high": None, "p_value": None}
    difference = paired_difference(first_s, second_s, resolution)
    return {key: getattr(difference, key) for key in ("mean", "low", "high", "p_value")}
