"""When a training's state is saved."""

from __future__ import annotations

import time

from diptych.artifacts.run import Run
from diptych.training import checkpoint
from diptych.training.checkpoint import Checkpoint

USUAL_STEPS = 500
USUAL_SECONDS = 300.0
# With this many times as long between two saves, saving takes less than 2 % of the time.
LEAST_PAUSE = 50


class Saver:
    """Saves a training's state, every so many steps or as often as it costs little.

    Attributes:
        place: finished epochs, and steps of the next one, in the checkpoint that was saved last.
    """

    def __init__(self, run: Run, steps: int | None, keep: int, found: Checkpoint | None = None) -> None:
        """Save nothing yet.

        Args:
            run: where checkpoints go.
            steps: how many steps of an epoch lie between two; one comes at its end, too. Unless given, they come
                after 500 steps, five minutes or an epoch, but not before fifty times as long as the last save took.
            keep: how many stay.
            found: the checkpoint that the training goes on from.
        """
        self.run, self.steps, self.keep = run, steps, keep
        self.place = _place(found) if found else (0, 0)
        self._is_saved = found is not None
        self._seconds = 0.0
        self._last = time.perf_counter()

    def next_stop(self, step: int) -> int:
        """The next step of an epoch after which a checkpoint may be due."""
        every = self.steps or USUAL_STEPS
        return (step // every + 1) * every

    def is_due(self) -> bool:
        """Whether to save, now that such a step is taken."""
        return self.steps is not None or self._pause() >= LEAST_PAUSE * self._seconds

    def is_overdue(self) -> bool:
        """Whether to save without waiting for such a step."""
        return self.steps is None and self._pause() >= max(USUAL_SECONDS, LEAST_PAUSE * self._seconds)

    def save(self, state: Checkpoint) -> None:
        """Save a state, unless it is the one that was saved last.

        Raises:
            ArtifactError: the system refuses to write; earlier checkpoints stay.
        """
        if self._is_saved and _place(state) == self.place:
            return
        start = time.perf_counter()
        checkpoint.save(self.run, state, self.keep)
        self.place, self._is_saved = _place(state), True
        self._last = time.perf_counter()
        self._seconds = self._last - start

    def _pause(self) -> float:
        return time.perf_counter() - self._last


def _place(state: Checkpoint) -> tuple[int, int]:
    return len(state.epochs), state.position
