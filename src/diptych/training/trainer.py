"""The training that both engines share: epochs, validation, early stopping, checkpoints and events."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.artifacts.events import EventLog
from diptych.artifacts.run import Run
from diptych.data.batches import Batch, epoch_batches, steps_per_epoch
from diptych.data.datasets import Dataset
from diptych.engines.contract import NO_STEPS, Arrays, Engine
from diptych.evaluation import log_softmax
from diptych.processes import Notify
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.training import divergence, schedule
from diptych.training.checkpoint import Checkpoint
from diptych.training.provenance import evaluation_precision
from diptych.training.schedule import Saver

SECONDS_BETWEEN_STEPS = 0.2


class Stopped(BaseException):
    """The training was told to stop; like KeyboardInterrupt, `except Exception` does not catch it."""


class Stopping:
    """SIGTERM: a step and the checkpoint after it finish, everything else ends at once."""

    def __init__(self) -> None:
        self.requested = False
        self._holds = False

    def listen(self) -> None:
        """Handle SIGTERM from now on."""
        signal.signal(signal.SIGTERM, lambda number, frame: self.request())

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


@dataclass(frozen=True)
class Job:
    """Everything that a training depends on besides the engine; the number of workers changes no result."""

    spec: ModelSpec
    recipe: Recipe
    dataset: Dataset
    seed: int = 0
    workers: int | None = None


class Trainer:
    """A model, its optimizer and its history, trained step by step; attributes as in `Checkpoint`."""

    def __init__(self, engine: Engine, job: Job, last: Checkpoint | None = None) -> None:
        """Build the model and load a checkpoint or the initial weights."""
        self.engine, self.job = engine, job
        self.model = engine.build(job.spec, job.recipe.precision)
        self.evaluator = engine.build(job.spec, evaluation_precision(job.recipe))
        engine.load_weights(self.model, last.weights if last else initial_weights(job.spec.arrays, job.seed))
        self.optimizer = engine.make_optimizer(self.model, job.recipe)
        if last:
            engine.load_optimizer(self.optimizer, last.optimizer)
        self.epochs = list(last.epochs) if last else []
        self.totals = last.totals if last else NO_STEPS
        self.seconds = last.seconds if last else 0.0
        self.best = last.best if last else None
        self.best_epoch = last.best_epoch if last else 0

    def fit(
        self,
        run: Run,
        saver: Saver,
        events: EventLog,
        notify: Notify,
        *,
        origin: Mapping[str, Any],
        stopping: Stopping,
        stop_after: int | None = None,
    ) -> Arrays:
        """Train to the recipe's last epoch or early stop; return the last, averaged or best weights, as it says.

        Args:
            run: the run, for TensorBoard and `diverged.json`.
            saver: saves the state.
            events: gets every finished epoch, and an early stop.
            notify: called with every `epoch`, and with `step` a few times a second.
            origin: what the training depends on; saved in each checkpoint.
            stopping: when it is requested, the training saves its state and ends.
            stop_after: stop after this many epochs, to be resumed later.

        Raises:
            Diverged: loss, weights or the optimizer's state are not finite; the last checkpoint is from before.
            Stopped: it was requested; the state is saved.
        """
        from diptych.training.tensorboard import TensorBoardWriter  # slow to import

        last = min(stop_after or self.job.recipe.epochs, self.job.recipe.epochs)
        with TensorBoardWriter(run.tensorboard_dir, self.epoch) as tensorboard:
            try:
                while self.epoch <= last and not self.should_stop:
                    self._train_epoch(run, saver, notify, origin, stopping)
                    validation = self.validate()
                    with stopping.held():
                        record = self.close_epoch(*validation)
                        events.write("epoch", record)
                        tensorboard.write_epoch(record)
                        notify("epoch", record)
                with stopping.held():
                    if self.epoch <= last:
                        events.write("early_stop", {"epoch": self.epoch - 1})
                    saver.save(self.state(origin))
            except Stopped:
                saver.save(self.state(origin))
                raise
        return self.kept_weights()

    def _train_epoch(
        self, run: Run, saver: Saver, notify: Notify, origin: Mapping[str, Any], stopping: Stopping
    ) -> None:
        """Train the rest of the current epoch; check and save the state when that is due."""
        with closing(self._reported(self.batches(), notify)) as batches:
            while self.totals.steps < self.num_steps:
                with stopping.held():
                    until = min(saver.next_stop(self.totals.steps), self.num_steps)
                    self.train(
                        _until(batches, lambda: stopping.requested or saver.is_overdue()),
                        until,
                        lambda: stopping.requested,
                    )
                    state = self.state(origin)
                    broken = divergence.not_finite(state.weights, state.optimizer)
                    if self.totals.diverged or broken:
                        raise divergence.diverged(self, run, broken)
                    if stopping.requested or saver.is_due():
                        saver.save(state)

    def _reported(self, batches: Generator[Batch, None, None], notify: Notify) -> Generator[Batch, None, None]:
        """Yield batches; report a `step` for those that were trained on, a few times a second."""
        start = last = time.perf_counter()
        step, count = self.totals.steps, 0
        fields = {"epoch": self.epoch, "steps": self.num_steps}
        with closing(batches):
            for batch in batches:
                yield batch
                step, count, now = step + 1, count + len(batch.images), time.perf_counter()
                if now - last > SECONDS_BETWEEN_STEPS:
                    last = now
                    notify("step", {**fields, "step": step, "images_per_second": count / (now - start)})

    @property
    def epoch(self) -> int:
        """The current epoch, from 1."""
        return len(self.epochs) + 1

    @property
    def num_steps(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.job.dataset.train), self.job.recipe.batch_size)

    @property
    def rates(self) -> list[float]:
        """Learning rate of each step of the current epoch."""
        return schedule.learning_rates(self.job.recipe, self.epoch, self.num_steps, self._validation_losses)

    @property
    def should_stop(self) -> bool:
        """Whether the recipe stops the training early."""
        return schedule.should_stop(self._validation_losses, self.job.recipe.early_stopping)

    @property
    def _validation_losses(self) -> list[float]:
        return [record["validation_loss"] for record in self.epochs if record["validation_loss"] is not None]

    def batches(self) -> Generator[Batch, None, None]:
        """Yield the batches of the current epoch that it has not trained on; close it."""
        job = self.job
        return epoch_batches(
            job.dataset.train,
            job.recipe,
            num_classes=job.spec.num_classes,
            seed=job.seed,
            epoch=self.epoch,
            first_step=self.totals.steps,
            workers=job.workers,
        )

    def train(self, batches: Iterable[Batch], until: int, stops: Callable[[], bool] = lambda: False) -> None:
        """Take the steps of the current epoch up to number `until`, or fewer if batches end or `stops` says so."""
        start = time.perf_counter()
        rates = self.rates[self.totals.steps : until]
        self.totals = self.engine.train_epoch(
            self.model, self.optimizer, batches, rates, self.job.seed, self.totals, stops
        )
        self.seconds += time.perf_counter() - start

    def validate(self) -> tuple[float | None, float | None]:
        """Return loss and accuracy on the validation split, or None if it is empty; changes nothing."""
        split = self.job.dataset.validation
        if not len(split):
            return None, None
        self.engine.load_weights(self.evaluator, self.weights())
        logits_nk = self.engine.predict(self.evaluator, split.images)
        losses_n = -log_softmax(logits_nk)[np.arange(len(split)), split.labels]
        return float(losses_n.mean()), float(np.mean(logits_nk.argmax(1) == split.labels))

    def close_epoch(self, loss: float | None, accuracy: float | None) -> dict[str, Any]:
        """Add the current epoch, trained and validated, to the history; return its record."""
        totals = self.totals
        record = {
            "epoch": self.epoch,
            "train_loss": totals.loss / totals.weight,
            "train_accuracy": totals.correct / totals.count,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "learning_rate": self.rates[-1],
            "images_per_second": totals.count / self.seconds,
            "seconds": self.seconds,
        }
        highest = (self.epochs[self.best_epoch - 1]["validation_accuracy"] or 0.0) if self.best_epoch else -1.0
        if self.job.recipe.keep_best and (accuracy or 0.0) > highest:
            self.best, self.best_epoch = self.weights(), self.epoch
        self.epochs.append(record)
        self.totals, self.seconds = NO_STEPS, 0.0
        return record

    def weights(self) -> Arrays:
        """Return the weights, or their running averages if the recipe keeps them."""
        if not self.job.recipe.average_decay:
            return self.engine.read_weights(self.model)
        state = self.engine.read_optimizer(self.optimizer)
        return {array.name: state[f"average/{array.name}"] for array in self.job.spec.arrays}

    def kept_weights(self) -> Arrays:
        """Return the best epoch's weights if the recipe keeps them, else the latest."""
        return self.best if self.best is not None else self.weights()

    def state(self, origin: Mapping[str, Any]) -> Checkpoint:
        """Return everything that the training resumes from."""
        return Checkpoint(
            self.engine.read_weights(self.model),
            self.engine.read_optimizer(self.optimizer),
            list(self.epochs),
            self.totals.steps,
            self.totals,
            self.best,
            self.best_epoch,
            origin,
            self.seconds,
        )


def _until(batches: Iterator[Batch], is_time: Callable[[], bool]) -> Iterator[Batch]:
    """Yield batches until it is time; draw none that is not yielded."""
    while not is_time() and (batch := next(batches, None)) is not None:
        yield batch
