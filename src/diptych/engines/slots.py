"""What an optimizer remembers, by canonical name: shared by both engines, so that a training can change sides."""

from __future__ import annotations

from diptych.spec import ArraySpec, ModelSpec, Recipe

# float16's small range loses small gradients; PyTorch's GradScaler starts and grows the same way.
# differs: loss-scale
FIRST_LOSS_SCALE = 2.0**16
STEPS_TO_GROW = 2000
_SLOTS = {
    "sgd": ("momentum",),
    "adam": ("first_moment", "second_moment"),
    "adamw": ("first_moment", "second_moment"),
    "rmsprop": ("square", "momentum"),
}


def slots(recipe: Recipe) -> tuple[str, ...]:
    """Names of the arrays that the recipe's rule keeps beside each weight."""
    return tuple(slot for slot in _SLOTS[recipe.optimizer] if slot != "momentum" or recipe.momentum)


def arrays(spec: ModelSpec, recipe: Recipe) -> tuple[ArraySpec, ...]:
    """Every array of the optimizer's state: `step`, `<slot>/<array>`, `average/<array>` where averages are kept.

    With float16 there is `loss_scale` too: the scale, and the steps since it last changed.
    """
    state = [ArraySpec("step", (), "kernel", "zeros")]
    if recipe.precision == "float16":
        state.append(ArraySpec("loss_scale", (2,), "kernel", "zeros"))
    for array in spec.trainable:
        state += [ArraySpec(f"{slot}/{array.name}", array.shape, array.role, "zeros") for slot in slots(recipe)]
    if recipe.average_decay:
        state += [ArraySpec(f"average/{array.name}", array.shape, array.role, "zeros") for array in spec.arrays]
    return tuple(state)


def average_decay(recipe: Recipe, step: int) -> float:
    """Decay of the running average at `step` (from 1): short at first, so that early weights are soon forgotten.

    min(decay, (1 + step) / (10 + step)), as `tf.train.ExponentialMovingAverage` has it with `num_updates`.
    """
    # differs: weight-average
    return min(recipe.average_decay, (1.0 + step) / (10.0 + step))
