"""A model, its optimizer and its history, from one step to the next; it touches no file."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.data.batches import Batch, epoch_batches, steps_per_epoch
from diptych.data.datasets import Dataset
from diptych.engines.contract import NO_STEPS, Arrays, Engine
from diptych.errors import SpecError
from diptych.evaluation.metrics import log_softmax
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.training import schedule
from diptych.training.checkpoint import Checkpoint
from diptych.training.machine import computes_bfloat16


@dataclass(frozen=True)
class Job:
    """All that a training follows from, besides the engine; the number of workers changes no bit."""

    spec: ModelSpec
    recipe: Recipe
    dataset: Dataset
    seed: int = 0
    workers: int | None = None


def check_fit(spec: ModelSpec, dataset: Dataset) -> None:
    """Refuse a model whose images or classes are not the data's.

    Raises:
        SpecError: says what the model takes and what the data has.
    """
    if spec.input_shape != dataset.image_shape:
        raise SpecError(
            f"Model '{spec.name}' takes images of {spec.input_shape} (height, width, channels); "
            f"those of '{dataset.name}' are {dataset.image_shape}. Change the spec's input_shape."
        )
    if spec.num_classes != dataset.num_classes:
        raise SpecError(
            f"Model '{spec.name}' gives {spec.num_classes} logits; '{dataset.name}' has {dataset.num_classes} classes. "
            "Change the last layer's units."
        )


def resolve(recipe: Recipe, dataset: Dataset, device: str) -> Recipe:
    """The recipe with every `auto` and every usual value settled for this data and machine."""
    flip = recipe.flip if recipe.flip != "auto" else ("horizontal" if dataset.mirror else "none")
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if device != "cpu" or computes_bfloat16() else "float32"
    return replace(recipe, flip=flip, precision=precision, learning_rate=recipe.rate, decoupled_decay=recipe.decay)


def evaluation_precision(recipe: Recipe) -> str:
    """float32, so that weights give the same numbers whatever precision trained them; float64 stays float64."""
    return "float64" if recipe.precision == "float64" else "float32"


class Learner:
    """A training as far as it has come.

    Attributes:
        epochs: a record for each finished epoch.
        totals: sums over the steps of the epoch under way.
        seconds: what those steps took.
        best: weights of the best epoch so far, where the recipe keeps them.
        best_epoch: which epoch that was, from 1.
    """

    def __init__(self, engine: Engine, job: Job, found: Checkpoint | None = None) -> None:
        """Begin a training, or go on with it from a checkpoint."""
        self.engine, self.job = engine, job
        self.model = engine.build(job.spec, job.recipe.precision)
        self.evaluator = engine.build(job.spec, evaluation_precision(job.recipe))
        weights = found.weights if found else initial_weights(job.spec.arrays, job.seed)
        engine.load_weights(self.model, weights)
        self.optimizer = engine.make_optimizer(self.model, job.recipe)
        if found:
            engine.load_optimizer(self.optimizer, found.optimizer)
        self.epochs: list[dict[str, Any]] = list(found.epochs) if found else []
        self.totals = found.totals if found else NO_STEPS
        self.seconds = found.seconds if found else 0.0
        self.best = found.best if found else None
        self.best_epoch = found.best_epoch if found else 0

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.epochs) + 1

    @property
    def num_steps(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.job.dataset.train), self.job.recipe.batch_size)

    @property
    def rates(self) -> list[float]:
        """Learning rate of each step of the epoch under way."""
        return schedule.learning_rates(self.job.recipe, self.epoch, self.num_steps, self._validation_losses)

    @property
    def should_stop(self) -> bool:
        """Whether the recipe wants the training stopped early."""
        return schedule.should_stop(self._validation_losses, self.job.recipe.early_stopping)

    @property
    def _validation_losses(self) -> list[float]:
        return [record["validation_loss"] for record in self.epochs if record["validation_loss"] is not None]

    def batches(self, first_step: int | None = None) -> Generator[Batch, None, None]:
        """The batches of the epoch under way that are not trained on yet, or those from `first_step`; to be closed."""
        job = self.job
        return epoch_batches(
            job.dataset.train,
            job.recipe,
            num_classes=job.spec.num_classes,
            seed=job.seed,
            epoch=self.epoch,
            first_step=self.totals.steps if first_step is None else first_step,
            workers=job.workers,
        )

    def train(self, batches: Iterable[Batch], until: int, stops: Callable[[], bool] = lambda: False) -> None:
        """Take the steps of the epoch under way up to the `until`th, or fewer where batches end or it stops."""
        start = time.perf_counter()
        rates = self.rates[self.totals.steps : until]
        self.totals = self.engine.train_epoch(
            self.model, self.optimizer, batches, rates, self.job.seed, self.totals, stops
        )
        self.seconds += time.perf_counter() - start

    def validate(self) -> tuple[float | None, float | None]:
        """Loss and accuracy on the validation split, where there is one; changes nothing."""
        split = self.job.dataset.validation
        if not len(split):
            return None, None
        self.engine.load_weights(self.evaluator, self.weights())
        logits_nk = self.engine.predict(self.evaluator, split.images)
        losses_n = -log_softmax(logits_nk)[np.arange(len(split)), split.labels]
        return float(losses_n.mean()), float(np.mean(logits_nk.argmax(1) == split.labels))

    def close_epoch(self, loss: float | None, accuracy: float | None) -> dict[str, Any]:
        """Add the epoch under way, all its steps taken and validated, to the history; returns its record."""
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
        """The weights that count: the running averages where the recipe keeps them."""
        if not self.job.recipe.average_decay:
            return self.engine.read_weights(self.model)
        state = self.engine.read_optimizer(self.optimizer)
        return {array.name: state[f"average/{array.name}"] for array in self.job.spec.arrays}

    def kept_weights(self) -> Arrays:
        """The best epoch's weights where the recipe keeps them, else the latest."""
        return self.best if self.best is not None else self.weights()

    def state(self, origin: Mapping[str, Any]) -> Checkpoint:
        """All that the training goes on from."""
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
