"""Learning rates and stopping rules: functions of the step and of what was measured; no framework's clock matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.spec import Recipe

# differs: lr-clock
START_OF_ONE_CYCLE = 1 / 25


def learning_rates(
    recipe: Recipe, epoch: int, steps_per_epoch: int, validation_losses: Sequence[float] = ()
) -> list[float]:
    """The learning rate of every step of one epoch.

    Args:
        recipe: schedule, peak and warm-up.
        epoch: from 1.
        steps_per_epoch: steps in each epoch.
        validation_losses: of the epochs before; only the plateau schedule looks at them.
    """
    steps = np.arange((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch, dtype=np.float64)
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "one_cycle":
        return list(map(float, recipe.rate * _one_cycle(recipe, steps, total)))
    warmup = recipe.warmup_epochs * steps_per_epoch
    rising = np.minimum((steps + 1) / max(warmup, 1.0), 1.0)
    share: np.ndarray
    match recipe.schedule:
        case "constant":
            share = np.ones_like(steps)
        case "step":
            epochs_done = steps // steps_per_epoch
            share = recipe.step_factor ** np.searchsorted(sorted(recipe.step_epochs), epochs_done, side="right")
        case "cosine":
            share = _falling(np.clip((steps - warmup) / max(total - warmup, 1.0), 0.0, 1.0), recipe.final_factor)
        case "plateau":
            share = np.full_like(steps, recipe.step_factor ** plateaus(validation_losses, recipe.plateau_patience))
    return list(map(float, recipe.rate * rising * share))


def plateaus(validation_losses: Sequence[float], patience: int) -> int:
    """How often `patience` epochs went by without a new lowest loss; each time the count begins anew."""
    # differs: plateau, early-stopping
    best, stale, found = float("inf"), 0, 0
    for loss in validation_losses:
        best, stale = (loss, 0) if loss < best else (best, stale + 1)
        if stale == patience:
            stale, found = 0, found + 1
    return found


def should_stop(validation_losses: Sequence[float], patience: int) -> bool:
    """Whether the lowest loss lies `patience` epochs back; never when `patience` is 0."""
    if not patience or not validation_losses:
        return False
    return len(validation_losses) - 1 - int(np.argmin(validation_losses)) >= patience


def _one_cycle(recipe: Recipe, steps: np.ndarray, total: int) -> np.ndarray:
    """Cosine up over the first `rise` of the training, cosine down over the rest (Smith and Topin 2019)."""
    top = recipe.rise * total
    rise = _falling(1.0 - np.clip(steps / top, 0.0, 1.0), START_OF_ONE_CYCLE)
    fall = _falling(np.clip((steps - top) / max(total - top, 1.0), 0.0, 1.0), recipe.final_factor)
    return np.where(steps < top, rise, fall)


def _falling(progress: np.ndarray, final: float) -> np.ndarray:
    """Half a cosine from 1 at progress 0 to `final` at progress 1."""
    return final + (1.0 - final) * 0.5 * (1.0 + np.cos(np.pi * progress))
