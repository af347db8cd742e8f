"""What a recipe can say, as rungs of the ladder: trainings and updates of a small model, in float64 a second each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.spec.recipe import Rule, ScheduleKind, UpdateForm
from diptych.spec.zoo import Graph

OPTIMIZERS: tuple[Rule, ...] = ("sgd", "adam", "adamw", "rmsprop")
FORMS: tuple[UpdateForm, ...] = ("torch", "keras")
ALL_TERMS = "decays, clipping and averages"
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


@dataclass(frozen=True)
class Feature:
    """Something that a recipe can ask for, with values to test it by."""

    name: str
    used: Callable[[Recipe], bool]
    """Whether a recipe asks for it."""
    values: Mapping[str, Any]

    def recipe(self, own: Recipe | None) -> Recipe:
        """Return a small recipe with this feature, and with the numbers of the user's recipe if there is one."""
        given = {} if own is None else {**vars(own), "decoupled_decay": own.decay}
        kept = {name: given.get(name, value) for name, value in self.values.items() if name not in OF_THE_SIZE}
        return replace(PLAIN, **{**self.values, **kept})


def _schedule(kind: ScheduleKind, **values: Any) -> Feature:
    return Feature(f"{kind} schedule", lambda recipe: recipe.schedule == kind, {"schedule": kind, **values})


AUGMENTED = {"flip": "both", "crop_padding": 1, "rotation": 15.0, "brightness": 0.2, "contrast": 0.2, "cutout": 2}
# Fields whose values fit the size of the data.
OF_THE_SIZE = (
    "epochs",
    "step_epochs",
    "early_stopping",
    "validation_fraction",
    "plateau_patience",
    "class_weights",
    "flip",
)
FEATURES = (
    Feature("weight averages", lambda recipe: recipe.average_decay > 0, {"average_decay": 0.8}),
    Feature("gradient clipping", lambda recipe: recipe.clip_norm > 0, {"clip_norm": 0.5}),
    Feature("L2 decay by role", lambda recipe: recipe.l2 > 0, {"l2": 0.02, "no_decay": ("bias", "shift")}),
    Feature(
        "decoupled decay by role", lambda recipe: recipe.decay > 0, {"decoupled_decay": 0.5, "no_decay": ("kernel",)}
    ),
    Feature("label smoothing", lambda recipe: recipe.label_smoothing > 0, {"label_smoothing": 0.2}),
    Feature("mixup and cutmix", lambda recipe: recipe.mixup + recipe.cutmix > 0, {"mixup": 0.5, "cutmix": 1.0}),
    Feature("class weights", lambda recipe: recipe.class_weights != "none", {"class_weights": "balanced"}),
    Feature(
        "augmentation",
        lambda recipe: any(getattr(recipe, name) not in (0, "none") for name in AUGMENTED),
        AUGMENTED,
    ),
    _schedule("step", step_epochs=(1,), step_factor=0.1, warmup_epochs=0.5),
    _schedule("cosine", final_factor=0.01, warmup_epochs=0.5),
    _schedule("one_cycle", rise=0.25, final_factor=0.01),
    _schedule("plateau", epochs=4, plateau_patience=1, step_factor=0.1, validation_fraction=0.3),
    Feature(
        "early stopping and best weights",
        lambda recipe: bool(recipe.early_stopping or recipe.keep_best),
        {"epochs": 6, "early_stopping": 1, "keep_best": True, "validation_fraction": 0.3},
    ),
)


@cache
def small_model(with_dropout: bool) -> ModelSpec:
    """Return a model of 8×8 digits with each kind of array, and with each mode of dropout or none."""
    graph = Graph((8, 8, 1), (0.3,), (0.4,))
    graph.conv("conv", 4, padding=1)
    graph.add(L.BatchNorm, "norm")
    graph.relu("relu")
    if with_dropout:
        graph.add(L.Dropout, "channels", rate=0.1, mode="channel")
    graph.max_pool("pool")
    graph.add(L.Flatten, "flatten")
    if with_dropout:
        graph.add(L.Dropout, "elements", rate=0.3)
    graph.add(L.Dense, "hidden", units=12)
    graph.add(L.Activation, "tanh", function="tanh")
    if with_dropout:
        graph.add(L.Dropout, "samples", rate=0.2, mode="sample")
    graph.add(L.Dense, "head", units=10)
    return graph.model("small_model")


def update_recipes(optimizers: Sequence[Rule], own: Recipe | None) -> dict[str, Recipe]:
    """Return a recipe for each update rule to test, by name: the user's `own`, or all of them in both forms."""
    if own is not None:
        return {own.optimizer: own}
    found = {}
    for rule in optimizers:
        for form in FORMS:
            name = rule if form == "torch" else f"{rule} in Keras's form"
            found[name] = Recipe(optimizer=rule, update_form=form)
    if "sgd" in optimizers:
        terms: dict[str, Any] = {"l2": 1e-3, "decoupled_decay": 0.1, "clip_norm": 1.0, "average_decay": 0.9}
        found[f"sgd with {ALL_TERMS}"] = Recipe(optimizer="sgd", **terms)
    return found
