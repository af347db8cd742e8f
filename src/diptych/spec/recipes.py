"""Recipes by name; each one's docstring says what it was measured to reach."""

from __future__ import annotations

from collections.abc import Callable

from diptych.errors import SpecError
from diptych.spec.recipe import Recipe
from diptych.spec.typed import did_you_mean


def default() -> Recipe:
    """AdamW under one-cycle, flips where the dataset allows them, crops; ten epochs."""
    return Recipe()


def sgd() -> Recipe:
    """SGD with Nesterov momentum under cosine, flips but no crops: for small plain nets; ten epochs."""
    return Recipe(optimizer="sgd", learning_rate=0.05, schedule="cosine", warmup_epochs=0.5, l2=1e-4, crop_padding=0)


def resnet_cifar() -> Recipe:
    """He et al. 2015, section 4.2: SGD 0.1, steps at half and three quarters, weight decay 1e-4; 164 epochs."""
    return Recipe(
        epochs=164,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        nesterov=False,
        schedule="step",
        warmup_epochs=1.0,
        step_epochs=(82, 123),
        l2=1e-4,
        no_decay=(),
        crop_padding=4,
    )


def quick() -> Recipe:
    """The default in three epochs, for a first look."""
    return Recipe(epochs=3)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "default": default,
    "sgd": sgd,
    "resnet_cifar": resnet_cifar,
    "quick": quick,
}


def recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        SpecError: the name is unknown.
    """
    if name not in RECIPES:
        raise SpecError(f"Unknown recipe '{name}'{did_you_mean(name, RECIPES)}. `diptych recipes` lists them.")
    return RECIPES[name]()
