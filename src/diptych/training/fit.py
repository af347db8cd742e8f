"""The training that both engines share: epochs, schedule, validation, early stopping, checkpoints, events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.artifacts.events import EventLog
from diptych.artifacts.run import Run
from diptych.data.batches import Batch, epoch_batches, steps_per_epoch
from diptych.data.datasets import Dataset
from diptych.engines.contract import Arrays, Engine
from diptych.errors import EngineError
from diptych.evaluation.softmax import log_softmax
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.training import checkpoint, schedule
from diptych.training.machine import computes_bfloat16

Notify = Callable[[str, dict[str, Any]], None]
SECONDS_BETWEEN_TICKS = 0.2


@dataclass(frozen=True)
class Job:
    """All that a training follows from, besides the engine."""

    spec: ModelSpec
    recipe: Recipe
    dataset: Dataset
    seed: int = 0
    workers: int = 1


def resolve(recipe: Recipe, dataset: Dataset, device: str) -> Recipe:
    """The recipe with every `auto` and every usual value settled for this data and machine."""
    flip = recipe.flip if recipe.flip != "auto" else ("horizontal" if dataset.mirror else "none")
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if device != "cpu" or computes_bfloat16() else "float32"
    return replace(recipe, flip=flip, precision=precision, learning_rate=recipe.rate, decoupled_decay=recipe.decay)


def fit(engine: Engine, job: Job, run: Run, notify: Notify, stop_after: int | None = None) -> Arrays:
    """Train until the recipe's last epoch, or until early stopping; goes on from the run's checkpoint if it has one.

    Args:
        engine: whose loop trains.
        job: what is trained, with a resolved recipe.
        run: where checkpoints and events go.
        notify: told of every `step` (a few times a second) and every `epoch`.
        stop_after: stop when this many epochs are done, to be resumed later.

    Returns:
        The weights to keep: the last, averaged or best ones, as the recipe says.
    """
    from diptych.training.tensorboard import TensorBoardWriter  # takes a fifth of a second to import

    training = _Training(engine, job, run)
    last = min(stop_after or job.recipe.epochs, job.recipe.epochs)
    with EventLog(run.events_path) as events, TensorBoardWriter(run.tensorboard_dir) as tensorboard:
        for epoch in range(len(training.epochs) + 1, last + 1):
            if schedule.should_stop(training.validation_losses, job.recipe.early_stopping):
                events.write("early_stop", {"epoch": epoch - 1})
                break
            record = training.run_epoch(epoch, notify)
            training.save()
            events.write("epoch", record)
            tensorboard.write_epoch(record)
            notify("epoch", record)
    return training.kept_weights()


class _Training:
    """A model, its optimizer and its history, from one epoch to the next."""

    def __init__(self, engine: Engine, job: Job, run: Run) -> None:
        self.engine, self.job, self.run = engine, job, run
        self.model = engine.build(job.spec, job.recipe.precision)
        self.evaluator = engine.build(job.spec, evaluation_precision(job.recipe))
        self.epochs: list[dict[str, Any]] = []
        self.best: Arrays | None = None
        self.best_epoch = 0
        if checkpoint.exists(run):
            state = checkpoint.load(run)
            engine.load_weights(self.model, state.weights)
            self.optimizer = engine.make_optimizer(self.model, job.recipe)
            engine.load_optimizer(self.optimizer, state.optimizer)
            self.epochs, self.best, self.best_epoch = state.epochs, state.best, state.best_epoch
        else:
            engine.load_weights(self.model, initial_weights(job.spec.arrays, job.seed))
            self.optimizer = engine.make_optimizer(self.model, job.recipe)

    @property
    def validation_losses(self) -> list[float]:
        return [record["validation_loss"] for record in self.epochs if record["validation_loss"] is not None]

    def run_epoch(self, epoch: int, notify: Notify) -> dict[str, Any]:
        """Train one epoch, measure it on the validation split and return its record."""
        job = self.job
        num_steps = steps_per_epoch(len(job.dataset.train), job.recipe.batch_size)
        rates = schedule.learning_rates(job.recipe, epoch, num_steps, self.validation_losses)
        settings = {
            "num_classes": job.spec.num_classes,
            "seed": job.seed,
            "epoch": epoch,
            "workers": job.workers,
        }
        batches = epoch_batches(job.dataset.train, job.recipe, **settings)
        start = time.perf_counter()
        counted = _counted(batches, num_steps, epoch, notify)
        totals = self.engine.train_epoch(self.model, self.optimizer, counted, rates, job.seed)
        seconds = time.perf_counter() - start
        if not np.isfinite(totals.loss):
            raise EngineError(
                f"The training diverged in epoch {epoch}: its loss is {totals.loss}. "
                "Lower the learning rate, clip gradients, or go on from the last checkpoint with float32."
            )
        loss, accuracy = self._validate()
        record = {
            "epoch": epoch,
            "train_loss": totals.loss / totals.weight,
            "train_accuracy": totals.correct / totals.count,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "learning_rate": rates[-1],
            "images_per_second": totals.count / seconds,
            "seconds": seconds,
        }
        self.epochs.append(record)
        return record

    def weights(self) -> Arrays:
        """The weights that count: the running averages where the recipe keeps them."""
        if not self.job.recipe.average_decay:
            return self.engine.read_weights(self.model)
        state = self.engine.read_optimizer(self.optimizer)
        return {array.name: state[f"average/{array.name}"] for array in self.job.spec.arrays}

    def save(self) -> None:
        """Write the checkpoint, and the best weights when this epoch is the best."""
        arrays = (self.engine.read_weights(self.model), self.engine.read_optimizer(self.optimizer))
        accuracies = [record["validation_accuracy"] or 0.0 for record in self.epochs]
        if self.job.recipe.keep_best and accuracies[-1] > max(accuracies[:-1], default=-1.0):
            self.best, self.best_epoch = self.weights(), len(accuracies)
        checkpoint.save(
            self.run, checkpoint.Checkpoint(*arrays, self.epochs, best=self.best, best_epoch=self.best_epoch)
        )

    def kept_weights(self) -> Arrays:
        """The best epoch's weights where the recipe keeps them, else the latest."""
        return self.best if self.best is not None else self.weights()

    def _validate(self) -> tuple[float | None, float | None]:
        split = self.job.dataset.validation
        if not len(split):
            return None, None
        self.engine.load_weights(self.evaluator, self.weights())
        logits_nk = self.engine.predict(self.evaluator, split.images)
        losses_n = -log_softmax(logits_nk)[np.arange(len(split)), split.labels]
        return float(losses_n.mean()), float(np.mean(logits_nk.argmax(1) == split.labels))


def evaluation_precision(recipe: Recipe) -> str:
    """float32, so that weights give the same numbers whatever precision trained them; float64 stays float64."""
    return "float64" if recipe.precision == "float64" else "float32"


def _counted(batches: Iterator[Batch], num_steps: int, epoch: int, notify: Notify) -> Iterator[Batch]:
    start = last = time.perf_counter()
    count = 0
    for step, batch in enumerate(batches, start=1):
        yield batch
        count += len(batch.images)
        now = time.perf_counter()
        if now - last > SECONDS_BETWEEN_TICKS:
            last = now
            notify(
                "step",
                {
                    "epoch": epoch,
                    "step": step,
                    "steps": num_steps,
                    "images_per_second": count / (now - start),
                },
            )
