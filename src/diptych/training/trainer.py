"""The training that both engines share: epochs, validation, early stopping, checkpoints and events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych.artifacts.run import Run
from diptych.artifacts.store import write_json
from diptych.data.augment import Draws, partners
from diptych.data.batches import Batch, batch_bounds, epoch_batches, order
from diptych.data.datasets import Dataset
from diptych.engines.contract import NO_STEPS, Arrays, Engine
from diptych.errors import EngineError
from diptych.evaluation import log_softmax
from diptych.processes import Notify
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.training import schedule
from diptych.training.checkpoint import Checkpoint
from diptych.training.provenance import evaluation_precision
from diptych.training.schedule import Saver, Stopped, Stopping

SECONDS_BETWEEN_STEPS = 0.2
OPTIMIZER = "optimizer/"


class Diverged(EngineError):  # noqa: N818  (what happened, as the run's status says)
    """The loss, the weights or the optimizer's state of a training are no longer finite."""


@dataclass(frozen=True)
class Job:
    """Everything that a training depends on besides the engine; the number of workers changes no result."""

    spec: ModelSpec
    recipe: Recipe
    dataset: Dataset
    seed: int = 0
    workers: int | None = None
    weights: Arrays | None = None
    """Those that it starts from (default: initial ones, drawn from the seed)."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """What checkpoints record of it; see `provenance`."""


class Trainer:
    """A model, its optimizer and its history, trained step by step; attributes as in `Checkpoint`."""

    def __init__(self, engine: Engine, job: Job, last: Checkpoint | None = None) -> None:
        """Build the model and load a checkpoint or the initial weights."""
        self.engine, self.job = engine, job
        self.model = engine.build(job.spec, job.recipe.precision)
        self.evaluator = engine.build(job.spec, evaluation_precision(job.recipe))
        start = last or Checkpoint(job.weights or initial_weights(job.spec.arrays, job.seed), {})
        engine.load_weights(self.model, start.weights)
        self.optimizer = engine.make_optimizer(self.model, job.recipe)
        if last:
            engine.load_optimizer(self.optimizer, last.optimizer)
        self.epochs, self.totals, self.seconds = list(start.epochs), start.totals, start.seconds
        self.best, self.best_epoch = start.best, start.best_epoch
        self.is_ended = False
        """Whether a callback ended the training: after this step, or its epoch if it is over."""

    def fit(
        self, run: Run, saver: Saver, notify: Notify, *, stopping: Stopping, stop_after: int | None = None
    ) -> Arrays:
        """Train to the recipe's last epoch or early stop; return the last, averaged or best weights, as it says.

        `notify` is called with every `epoch`, an `early_stop`, and `step` a few times a second; True from `epoch` or
        `step` ends the training. After `stop_after` epochs it pauses, to be resumed later. Raises Diverged if the loss,
        the weights or the optimizer's state are not finite, and Stopped, after saving, if `stopping` was requested.
        """
        from diptych.training.tensorboard import tensorboard  # slow to import

        last = min(stop_after or self.job.recipe.epochs, self.job.recipe.epochs)
        with tensorboard(run.tensorboard_dir, self.epoch) as write_epoch:
            try:
                while self.epoch <= last and not self.should_stop:
                    self._train_epoch(run, saver, notify, stopping)
                    validation = self.validate()
                    with stopping.held():
                        record = self.close_epoch(*validation)
                        self.is_ended |= notify("epoch", record) is True
                        write_epoch(record)
                with stopping.held():
                    if self.epoch <= last or self.is_ended:
                        reason = "callback" if self.is_ended else "early_stopping"
                        notify("early_stop", {"epoch": self.epoch - 1, "reason": reason})
                    saver.save(self.state())
            except Stopped:
                saver.save(self.state())
                raise
        return self.best if self.best is not None else self.weights()

    def _train_epoch(self, run: Run, saver: Saver, notify: Notify, stopping: Stopping) -> None:
        """Train the rest of the current epoch; check and save the state when that is due."""
        with closing(self._reported(self.batches(), notify)) as batches:
            while self.totals.steps < self.num_steps and not self.is_ended:
                with stopping.held():
                    until = min(saver.next_stop(self.totals.steps), self.num_steps)
                    drawn = _until(batches, lambda: stopping.requested or self.is_ended or saver.is_overdue())
                    self.train(drawn, until, lambda: stopping.requested)
                    state = self.state()
                    arrays = state.weights | {f"{OPTIMIZER}{name}": array for name, array in state.optimizer.items()}
                    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
                    if self.totals.diverged or broken:
                        raise _diverged(self, run, broken)
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
                    speed = count / (now - start)
                    self.is_ended |= notify("step", {**fields, "step": step, "images_per_second": speed}) is True

    @property
    def epoch(self) -> int:
        """The current epoch, from 1."""
        return len(self.epochs) + 1

    @property
    def num_steps(self) -> int:
        """Steps in an epoch."""
        return len(batch_bounds(len(self.job.dataset.train), self.job.recipe.batch))

    @property
    def rates(self) -> list[float]:
        """Learning rate of each step of the current epoch."""
        return schedule.learning_rates(self.job.recipe, self.epoch, self.num_steps, self._validation_losses)

    @property
    def should_stop(self) -> bool:
        """Whether the recipe or a callback stops the training early."""
        return self.is_ended or schedule.should_stop(self._validation_losses, self.job.recipe.early_stopping)

    @property
    def _validation_losses(self) -> list[float]:
        return [record["validation_loss"] for record in self.epochs if record["validation_loss"] is not None]

    def batches(self) -> Generator[Batch, None, None]:
        """Yield the batches of the current epoch that it has not trained on; close it."""
        job, data = self.job, self.job.dataset
        place = {"epoch": self.epoch, "first_step": self.totals.steps}
        return epoch_batches(
            data.train, job.recipe, num_classes=data.num_classes, seed=job.seed, workers=job.workers, **place
        )

    def train(self, batches: Iterable[Batch], until: int, stops: Callable[[], bool] = lambda: False) -> None:
        """Take the steps of the current epoch up to number `until`, or fewer if batches end or `stops` says so."""
        start, rates, seed = time.perf_counter(), self.rates[self.totals.steps : until], self.job.seed
        self.totals = self.engine.train_epoch(self.model, self.optimizer, batches, rates, seed, self.totals, stops)
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
            "learning_rate": self.rates[totals.steps - 1],
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

    def state(self) -> Checkpoint:
        """Return everything that the training resumes from."""
        history = (list(self.epochs), self.totals, self.best, self.best_epoch, self.job.origin, self.seconds)
        return Checkpoint(self.engine.read_weights(self.model), self.engine.read_optimizer(self.optimizer), *history)


def _until(batches: Iterator[Batch], is_time: Callable[[], bool]) -> Iterator[Batch]:
    """Yield batches until it is time; draw none that is not yielded."""
    while not is_time() and (batch := next(batches, None)) is not None:
        yield batch


def _diverged(trainer: Trainer, run: Run, arrays: Sequence[str]) -> Diverged:
    """Write `diverged.json` and return the error to raise for a loss, or for `arrays`, that are not finite."""
    epoch, step, steps = trainer.epoch, trainer.totals.steps, trainer.num_steps
    details: dict[str, Any]
    if trainer.totals.diverged:  # checked at every step, the arrays only at checkpoints
        loss = str(float(trainer.totals.loss))
        place, fault = "at", f"its loss is {loss}"
        details = {"loss": loss, "samples": _samples(trainer.job, epoch, step)}
    else:
        whose = "optimizer state is" if arrays[0].startswith(OPTIMIZER) else "weights are"
        place, fault = "by", f"its {whose} not finite ({arrays[0]})"
        details = {"arrays": arrays}
    where = {"epoch": epoch, "step": step, "global_step": (epoch - 1) * steps + step}
    write_json(run.divergence_path, {**where, "learning_rate": trainer.rates[step - 1], **details})
    return Diverged(
        f"The training diverged in epoch {epoch} {place} step {step} of {steps}: {fault}. "
        "Train again with a lower learning rate, gradient clipping or float32. "
        f"'{run.divergence_path}' lists the samples or arrays."
    )


def _samples(job: Job, epoch: int, step: int) -> list[dict[str, Any]]:
    """Return ids and classes of a batch's samples, and of those mixed into them; `step` from 1."""
    split, names = job.dataset.train, job.dataset.class_names
    chosen = order(len(split), job.seed, epoch)[batch_bounds(len(split), job.recipe.batch)[step - 1]]
    samples = [{"id": split.ids[index], "class": names[split.labels[index]]} for index in chosen]
    if job.recipe.mixup or job.recipe.cutmix:
        others = partners(Draws(job.seed, epoch, chosen), len(split)).indices
        for sample, other in zip(samples, others, strict=True):
            sample.update(partner=split.ids[other], partner_class=names[split.labels[other]])
    return samples
