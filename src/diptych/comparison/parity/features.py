"""The options of a recipe as trainings and updates of a small model, each about a second in float64."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.spec.recipe import Rule, UpdateForm
from diptych.spec.zoo import Graph

OPTIMIZERS: tuple[Rule, ...] = ("sgd", "adam", "adamw", "rmsprop")
FORMS: tuple[UpdateForm, ...] = ("torch", "keras")
# Batches of 40, and a last one of 36.
NUM_IMAGES = 116
PLAIN = Recipe(
    epochs=2,
    batch_size=40,
    precision="float64",
    optimizer="sgd",
    schedule="constant",
    flip="none",
    crop_padding=0,
    validation_fraction=0.0,
)


# Fields of rows that are not features, and those whose values depend on the size of the data or on the classes.
GIVEN = {"epochs", "validation_fraction", "learning_rate"}
OF_THE_DATA = GIVEN | {"step_epochs", "early_stopping", "plateau_patience", "class_weights", "flip"}
OF_THE_DATA |= {"warmup_epochs", "average_decay"}
FEATURES: dict[str, dict[str, Any]] = {
    name: {field: tuple(value) if isinstance(value, list) else value for field, value in values.items()}
    for name, values in tomllib.loads(resources.files(__package__).joinpath("features.toml").read_text("utf-8")).items()
}
"""Features of recipes by name, each with the recipe fields that test it."""


def uses(recipe: Recipe, feature: str) -> bool:
    """Whether a recipe uses a feature."""
    values = FEATURES[feature]
    if "schedule" in values:
        return bool(recipe.schedule == values["schedule"])
    own = {**vars(recipe), "decoupled_decay": recipe.decay or None}
    return any(own[field] != getattr(PLAIN, field) for field in values.keys() - GIVEN - {"no_decay"})


def recipe_with(feature: str, own: Recipe | None) -> Recipe:
    """Return a small recipe with a feature, with the values of the user's recipe if there is one."""
    values = FEATURES[feature]
    given = {} if own is None else {**vars(own), "decoupled_decay": own.decay}
    return replace(PLAIN, **{**values, **{name: given[name] for name in (values.keys() & given.keys()) - OF_THE_DATA}})


@cache
def small_model(with_dropout: bool) -> ModelSpec:
    """Return a model for 8×8 digits with every kind of array and mode of dropout; without dropout, rates are 0."""
    graph, drops = Graph((8, 8, 1), (0.3,), (0.4,)), float(with_dropout)
    graph.conv("conv", 4, padding=1)
    graph.add(L.BatchNorm, "norm")
    graph.relu("relu")
    graph.add(L.Dropout, "channels", rate=0.1 * drops, mode="channel")
    graph.max_pool("pool")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dropout, "elements", rate=0.3 * drops)
    graph.add(L.Dense, "hidden", units=12)
    graph.add(L.Activation, "tanh", function="tanh")
    graph.add(L.Dropout, "samples", rate=0.2 * drops, mode="sample")
    graph.add(L.Dense, "head", units=10)
    return graph.model("small_model")


def update_recipes(optimizers: Sequence[Rule], own: Recipe | None) -> dict[str, Recipe]:
    """Return a recipe for each update rule to test, by name: the user's `own`, or all of them in both forms."""
    if own is not None:
        return {own.optimizer: replace(own, precision="float32")}  # float16 adds the loss scale
    terms: dict[str, Any] = {"l2": 1e-3, "decoupled_decay": 0.1, "clip_norm": 1.0, "average_decay": 0.9}
    names = {"torch": "{}", "keras": "{} in Keras's form"}
    return {
        names[form].format(rule): Recipe(optimizer=rule, update_form=form, **terms)
        for rule in optimizers
        for form in FORMS
    }
