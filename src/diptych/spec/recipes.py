"""Built-in recipes by name; `benchmarks/recipes.py` writes the measured results into the docstrings."""

from __future__ import annotations

from collections.abc import Callable

from diptych.errors import SpecError
from diptych.spec.recipe import Recipe
from diptych.spec.typed import did_you_mean


def default() -> Recipe:
    """AdamW with a one-cycle schedule, flips if the dataset allows them, and crops; ten epochs.

    Measured: not yet.
    """
    return Recipe()


def sgd() -> Recipe:
    """SGD with Nesterov momentum and a cosine schedule, flips but no crops; ten epochs.

    Measured: not yet.
    """
    return Recipe(optimizer="sgd", learning_rate=0.05, schedule="cosine", warmup_epochs=0.5, l2=1e-4, crop_padding=0)


def resnet_cifar() -> Recipe:
    """He et al. 2015, section 4.2: SGD at 0.1, divided by 10 at half and three quarters, L2 1e-4; 164 epochs.

    Measured: not here, 164 epochs take too long on a CPU. The paper reports 91.25 % for resnet20 on CIFAR-10.
    """
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
    """The default recipe in three epochs.

    Measured: not yet.
    """
    return Recipe(epochs=3)


RECIPES: dict[str, Callable[[], Recipe]] = {one.__name__: one for one in (default, sgd, resnet_cifar, quick)}


def recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        SpecError: The name is unknown.
    """
    if name not in RECIPES:
        raise SpecError(f"Unknown recipe '{name}'{did_you_mean(name, RECIPES)}. `diptych recipes` lists them.")
    return RECIPES[name]()
