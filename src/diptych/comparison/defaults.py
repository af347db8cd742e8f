"""Each framework's own defaults, as changes of a spec and a recipe: what most people compare without knowing it.

Values are those of PyTorch 2.13 and Keras 3.15; tests/contract/test_differences_defaults.py reads them off what is
installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import Activation, BatchNorm, Conv, Dense, Layer

Setup: TypeAlias = tuple[ModelSpec, Recipe]


@dataclass(frozen=True)
class Default:
    """One setting that people leave to the framework."""

    key: str
    """The ledger's."""
    title: str
    values: Mapping[str, str]
    """What each framework does, by engine."""
    switch: Callable[[Setup, str], Setup]
    """The setup with this setting as the named engine's framework has it."""
    matters: Callable[[Recipe], bool] = lambda recipe: True
    """Whether a training with this recipe can feel it, where specs and recipes do not tell."""

    def concerns(self, setup: Setup) -> bool:
        """Whether the two frameworks part over it in this setup."""
        return self.matters(setup[1]) and self.switch(setup, "torch") != self.switch(setup, "tensorflow")


def of(setup: Setup) -> tuple[Default, ...]:
    """The defaults that matter to this model and recipe, in the order of the table."""
    return tuple(default for default in DEFAULTS if default.concerns(setup))


def switched(setup: Setup, defaults: Iterable[Default], engine: str) -> Setup:
    """The setup with these defaults as the engine's framework has them, all others untouched."""
    for default in defaults:
        setup = default.switch(setup, engine)
    return setup


def _layers(kinds: tuple[type, ...], **values: dict[str, Any]) -> Callable[[Setup, str], Setup]:
    """A switch of fields of every layer of some kinds; each field's values by engine."""

    def switch(setup: Setup, engine: str) -> Setup:
        changes = {name: value[engine] for name, value in values.items()}
        spec, recipe = setup
        layers: tuple[Layer, ...] = tuple(
            replace(layer, **changes) if isinstance(layer, kinds) else layer for layer in spec.layers
        )
        return replace(spec, layers=layers), recipe

    return switch


def _leaky_relu(setup: Setup, engine: str) -> Setup:
    spec, recipe = setup
    slope = {"torch": 0.01, "tensorflow": 0.3}[engine]
    layers: tuple[Layer, ...] = tuple(
        replace(layer, slope=slope) if isinstance(layer, Activation) and layer.function == "leaky_relu" else layer
        for layer in spec.layers
    )
    return replace(spec, layers=layers), recipe


def _rule(rules: tuple[str, ...], torch: dict[str, Any], tensorflow: dict[str, Any]) -> Callable[[Setup, str], Setup]:
    """A switch of fields of the recipe, where it has one of these update rules."""
    values = {"torch": torch, "tensorflow": tensorflow}

    def switch(setup: Setup, engine: str) -> Setup:
        spec, recipe = setup
        return (spec, replace(recipe, **values[engine])) if recipe.optimizer in rules else setup

    return switch


def _decay(setup: Setup, engine: str) -> Setup:
    """AdamW decays unasked; elsewhere both frameworks take the same word, `weight_decay`, for different things.

    A recipe that asks for no decay gets none.
    """
    spec, recipe = setup
    amount = recipe.l2 or recipe.decay
    if recipe.optimizer == "adamw":
        native: dict[str, Any] = {"decoupled_decay": {"torch": 0.01, "tensorflow": 0.004}[engine], "l2": 0.0}
    elif engine == "torch":
        native = {"l2": amount, "decoupled_decay": 0.0}
    else:
        native = {"l2": 0.0, "decoupled_decay": amount}
    return spec, replace(recipe, no_decay=(), **native) if amount else recipe


DEFAULTS = (
    Default(
        "initial-weights",
        "initial weights",
        {"torch": "U(±1/√fan_in), biases too", "tensorflow": "Glorot's uniform, biases 0"},
        _layers(
            (Conv, Dense),
            initializer={"torch": "uniform_fan_in", "tensorflow": "glorot_uniform"},
            bias_initializer={"torch": "uniform_fan_in", "tensorflow": "zeros"},
        ),
    ),
    Default(
        "norm-epsilon",
        "batch norm's epsilon",
        {"torch": "1e-5", "tensorflow": "1e-3"},
        _layers((BatchNorm,), epsilon={"torch": 1e-5, "tensorflow": 1e-3}),
    ),
    Default(
        "norm-momentum",
        "batch norm's running averages: share of the old",
        {"torch": "0.9", "tensorflow": "0.99"},
        _layers((BatchNorm,), decay={"torch": 0.9, "tensorflow": 0.99}),
    ),
    Default(
        "norm-running-variance",
        "batch norm's running variance",
        {"torch": "unbiased", "tensorflow": "biased"},
        _layers((BatchNorm,), running_variance={"torch": "unbiased", "tensorflow": "biased"}),
    ),
    Default("leaky-relu", "leaky ReLU's slope", {"torch": "0.01", "tensorflow": "0.3"}, _leaky_relu),
    Default(
        "adam-epsilon",
        "Adam's epsilon, and where it is added",
        {"torch": "1e-8, after bias correction", "tensorflow": "1e-7, before it"},
        _rule(
            ("adam", "adamw"),
            {"update_form": "torch", "epsilon": 1e-8},
            {"update_form": "keras", "epsilon": 1e-7},
        ),
    ),
    Default(
        "rmsprop-epsilon",
        "RMSprop's epsilon, its decay, and whether momentum holds the learning rate",
        {"torch": "1e-8, outside the root; 0.99; no", "tensorflow": "1e-7, inside the root; 0.9; yes"},
        _rule(
            ("rmsprop",),
            {"update_form": "torch", "epsilon": 1e-8, "rho": 0.99},
            {"update_form": "keras", "epsilon": 1e-7, "rho": 0.9},
        ),
    ),
    Default(
        "sgd-velocity",
        "whether SGD's buffer holds the learning rate",
        {"torch": "no", "tensorflow": "yes"},
        _rule(("sgd",), {"update_form": "torch"}, {"update_form": "keras"}),
        # With a rate that never changes, or nothing that remembers it, both are the same numbers.
        matters=lambda recipe: recipe.momentum > 0 and (recipe.schedule != "constant" or recipe.warmup_epochs > 0),
    ),
    Default(
        "weight-decay",
        "weight decay",
        {
            "torch": "AdamW: 0.01 of every array; else a term of the gradient, of every array",
            "tensorflow": "AdamW: 0.004 of every array; else apart from the gradient, of every array",
        },
        _decay,
    ),
)
