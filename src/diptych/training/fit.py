"""The training that both engines share: epochs, validation, early stopping, checkpoints, events, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from diptych.artifacts.events import EventLog
from diptych.artifacts.run import Run
from diptych.data.batches import Batch
from diptych.engines.contract import Arrays
from diptych.training import divergence
from diptych.training.learner import Learner
from diptych.training.saving import Saver
from diptych.training.stopping import Stopped, Stopping

Notify = Callable[[str, dict[str, Any]], None]
SECONDS_BETWEEN_TICKS = 0.2


def fit(
    learner: Learner,
    saver: Saver,
    run: Run,
    events: EventLog,
    notify: Notify,
    *,
    origin: Mapping[str, Any],
    stopping: Stopping,
    stop_after: int | None = None,
) -> Arrays:
    """Train until the recipe's last epoch, or until early stopping.

    Args:
        learner: a training as far as it has come.
        saver: decides when it is saved.
        run: where curves, and what is said of a divergence, go.
        events: told of every epoch, when it is finished, and of an early stop.
        notify: told of every `step` (a few times a second) and every `epoch`.
        origin: what the training follows from, as each checkpoint keeps it.
        stopping: ends the training, its state saved, when that is asked for.
        stop_after: stop when this many epochs are done, to be resumed later.

    Returns:
        The weights to keep: the last, averaged or best ones, as the recipe says.

    Raises:
        Diverged: loss, weights or the optimizer's state are not finite any more; the last checkpoint is from before.
        Stopped: it was asked for; the state is saved.
    """
    from diptych.training.tensorboard import TensorBoardWriter  # takes a fifth of a second to import

    epochs = learner.job.recipe.epochs
    last = min(stop_after or epochs, epochs)
    with TensorBoardWriter(run.tensorboard_dir, learner.epoch) as tensorboard:
        try:
            while learner.epoch <= last and not learner.should_stop:
                _take_steps(learner, saver, run, origin, stopping, notify)
                measured = learner.validate()
                with stopping.held():
                    record = learner.close_epoch(*measured)
                    events.write("epoch", record)
                    tensorboard.write_epoch(record)
                    notify("epoch", record)
            with stopping.held():
                if learner.epoch <= last:
                    events.write("early_stop", {"epoch": learner.epoch - 1})
                saver.save(learner.state(origin))
        except Stopped:
            saver.save(learner.state(origin))
            raise
    return learner.kept_weights()


def _take_steps(
    learner: Learner, saver: Saver, run: Run, origin: Mapping[str, Any], stopping: Stopping, notify: Notify
) -> None:
    """Take what steps are left of an epoch, and save where that is due."""
    tick = _Ticker(learner, notify)
    with closing(learner.batches()) as batches:
        while learner.totals.steps < learner.num_steps:
            with stopping.held():
                until = min(saver.next_stop(learner.totals.steps), learner.num_steps)
                given = _until(batches, lambda: stopping.requested or saver.is_overdue(), tick)
                learner.train(given, until, lambda: stopping.requested)
                state = learner.state(origin)
                arrays = divergence.broken(state.weights, state.optimizer)
                if learner.totals.diverged or arrays:
                    raise divergence.told(learner, run, saver.place, arrays)
                if stopping.requested or saver.is_due():
                    saver.save(state)


def _until(batches: Iterator[Batch], is_time: Callable[[], bool], tick: Callable[[Batch], None]) -> Iterator[Batch]:
    """Batches until it is time; none is taken that is not given."""
    while not is_time() and (batch := next(batches, None)) is not None:
        yield batch
        tick(batch)


class _Ticker:
    """Tells of steps, a few times a second."""

    def __init__(self, learner: Learner, notify: Notify) -> None:
        self._epoch, self._steps, self._notify = learner.epoch, learner.num_steps, notify
        self._step, self._count = learner.totals.steps, 0
        self._start = self._last = time.perf_counter()

    def __call__(self, batch: Batch) -> None:
        """Count a step over a batch."""
        self._step += 1
        self._count += len(batch.images)
        now = time.perf_counter()
        if now - self._last > SECONDS_BETWEEN_TICKS:
            self._last = now
            fields = {"epoch": self._epoch, "step": self._step, "steps": self._steps}
            self._notify("step", {**fields, "images_per_second": self._count / (now - self._start)})
