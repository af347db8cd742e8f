"""The timing of a training: learning rates, early stopping, checkpoints and stopping on SIGTERM, for every engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from diptych.artifacts.run import Run
from diptych.processes import TERMINATED
from diptych.spec import Recipe
from diptych.training import checkpoint
from diptych.training.checkpoint import Checkpoint

# differs: lr-clock
START_OF_ONE_CYCLE = 1 / 25
DEFAULT_STEPS = 500
DEFAULT_SECONDS = 300.0
# Waiting fifty times as long as the last save took keeps the cost of saving below 2%.
MIN_PAUSE = 50


def learning_rates(
    recipe: Recipe, epoch: int, steps_per_epoch: int, validation_losses: Sequence[float] = ()
) -> list[float]:
    """Return the learning rate of every step of an epoch, counted from 1.

    The plateau schedule depends on the validation losses of the epochs before.
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
    """Return how often `patience` epochs passed without a new lowest loss; each time the count starts over."""
    # differs: plateau, early-stopping
    best, stale, found = float("inf"), 0, 0
    for loss in validation_losses:
        best, stale = (loss, 0) if loss < best else (best, stale + 1)
        if stale == patience:
            stale, found = 0, found + 1
    return found


def should_stop(validation_losses: Sequence[float], patience: int) -> bool:
    """Whether the lowest loss is `patience` epochs old; never when `patience` is 0."""
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


class Saver:
    """Saves the state of a training every so many steps, or as often as it costs little."""

    def __init__(self, run: Run, steps: int | None, keep: int, last: Checkpoint | None = None) -> None:
        """Save after `steps` steps of an epoch and at its end; keep `keep` checkpoints, and resume from `last`.

        If `steps` is None, save after 500 steps, five minutes or an epoch, but not before fifty times as long as the
        last save took.
        """
        self.run, self.steps, self.keep = run, steps, keep
        self._saved = last.place if last else None
        self._seconds = 0.0
        self._last = time.perf_counter()

    def next_stop(self, step: int) -> int:
        """Return the next step of an epoch after which to ask whether a checkpoint is due."""
        every = self.steps or DEFAULT_STEPS
        return (step // every + 1) * every

    def is_due(self) -> bool:
        """Whether to save after such a step."""
        return self.steps is not None or self._pause() >= MIN_PAUSE * self._seconds

    def is_overdue(self) -> bool:
        """Whether to save before the next such step."""
        return self.steps is None and self._pause() >= max(DEFAULT_SECONDS, MIN_PAUSE * self._seconds)

    def save(self, state: Checkpoint) -> None:
        """Save a state, unless it is the one that was saved last."""
        if state.place == self._saved:
            return
        start = time.perf_counter()
        checkpoint.save(self.run, state, self.keep)
        self._saved = state.place
        self._last = time.perf_counter()
        self._seconds = self._last - start

    def _pause(self) -> float:
        return time.perf_counter() - self._last


class Stopped(SystemExit):
    """Training was asked to stop; the process exits with the code for SIGTERM."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


class Stopping:
    """Stops on SIGTERM: after the current step and its checkpoint, or immediately outside of a step."""

    def __init__(self) -> None:
        self.requested = False
        self._holds = False

    def request(self) -> None:
        """Raise Stopped, now or at the end of a `held` block; further requests change nothing."""
        if not self.requested:
            self.requested = True
            if not self._holds:
                raise Stopped

    @contextmanager
    def held(self) -> Iterator[None]:
        """Finish the block before stopping."""
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
        if self.requested:
            raise Stopped
