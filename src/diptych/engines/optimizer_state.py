"""Names and shapes of an optimizer's state, the same in both engines, so that a training can switch engines."""

from __future__ import annotations

from diptych.spec import ArraySpec, ModelSpec, Recipe

# Small gradients underflow in float16; PyTorch's GradScaler starts and grows the same way.
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
    """Return the names of the optimizer's arrays per weight."""
    return tuple(slot for slot in _SLOTS[recipe.optimizer] if slot != "momentum" or recipe.momentum)


def arrays(spec: ModelSpec, recipe: Recipe) -> tuple[ArraySpec, ...]:
    """Return every array of the optimizer's state: `step`, `<slot>/<array>`, `average/<array>` with a weight average.

    In float16 also `loss_scale`: the scale, and the number of steps since it last changed.
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
    """Return the decay of the weight average at `step` (from 1), smaller at first to forget the initial weights.

    min(decay, (1 + step) / (10 + step)), as in `tf.train.ExponentialMovingAverage` with `num_updates`.
    """
    # differs: weight-average
    return min(recipe.average_decay, (1.0 + step) / (10.0 + step))
