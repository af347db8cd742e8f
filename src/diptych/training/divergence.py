"""A training whose numbers are no longer finite: where, and on which samples; written to `diverged.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from diptych.artifacts.record import write_record
from diptych.artifacts.run import Run
from diptych.data.augment import is_mixed, partners
from diptych.data.batches import batch_bounds, order
from diptych.data.randomness import Draws
from diptych.engines.contract import Arrays
from diptych.errors import EngineError

if TYPE_CHECKING:
    from diptych.training.trainer import Job, Trainer

OPTIMIZER = "optimizer/"


class Diverged(EngineError):  # noqa: N818  (what happened, as the run's status says)
    """The loss, the weights or the optimizer's state of a training are no longer finite."""


class Divergence(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag="diptych-divergence"
):
    """`diverged.json`: the step after which numbers were not finite, and either its batch or the arrays."""

    version: int
    what: Literal["loss", "weights", "optimizer"]
    epoch: int
    step: int
    global_step: int
    learning_rate: float
    loss: str | float | None = None
    samples: tuple[dict[str, Any], ...] = ()
    arrays: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.what == "loss":
            return f"its loss is {self.loss}"
        first, *others = self.arrays
        whose = "weights" if self.what == "weights" else "optimizer's numbers"
        return f"its {whose} are not finite ({first}{f' and {len(others)} more arrays' if others else ''})"


def path_of(run: Run) -> Path:
    """Return the path of a run's `diverged.json`."""
    return run.directory / "diverged.json"


def not_finite(weights: Arrays, optimizer: Arrays) -> list[str]:
    """Return the names of arrays that hold numbers that are not finite; the optimizer's as `optimizer/<array>`."""
    arrays = {**weights, **{f"{OPTIMIZER}{name}": array for name, array in optimizer.items()}}
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def diverged(trainer: Trainer, run: Run, arrays: Sequence[str]) -> Diverged:
    """Write `diverged.json` and return the error to raise for a loss, or for `arrays`, that are not finite."""
    step, steps = trainer.totals.steps, trainer.num_steps
    divergence = Divergence(
        version=2,
        epoch=trainer.epoch,
        step=step,
        global_step=(trainer.epoch - 1) * steps + step,
        learning_rate=trainer.rates[step - 1],
        **(_loss(trainer) if trainer.totals.diverged else _arrays(arrays)),
    )
    write_record(path_of(run), divergence)
    # The loss is checked at every step, the arrays only at checkpoints.
    place = f"{'at' if trainer.totals.diverged else 'by'} step {step} of {steps}"
    return Diverged(
        f"The training diverged in epoch {trainer.epoch} {place}: {divergence}. "
        "Train again with a lower learning rate, gradient clipping or float32. "
        f"'{path_of(run)}' lists the samples or arrays."
    )


def _arrays(names: Sequence[str]) -> dict[str, Any]:
    return {"what": "optimizer" if names[0].startswith(OPTIMIZER) else "weights", "arrays": tuple(names)}


def _loss(trainer: Trainer) -> dict[str, Any]:
    samples = _samples(trainer.job, trainer.epoch, trainer.totals.steps)
    return {"what": "loss", "loss": str(float(trainer.totals.loss)), "samples": tuple(samples)}


def _samples(job: Job, epoch: int, step: int) -> list[dict[str, Any]]:
    """Return ids and classes of a batch's samples, and of those mixed into them; `step` from 1."""
    split, names = job.dataset.train, job.dataset.class_names
    bounds = batch_bounds(len(split), job.recipe.batch_size)[step - 1]
    chosen = order(len(split), job.seed, epoch)[bounds]
    samples = [{"id": _plain(split.ids[index]), "class": names[split.labels[index]]} for index in chosen]
    if is_mixed(job.recipe):
        others = partners(Draws(job.seed, epoch, chosen), len(split)).indices
        for sample, other in zip(samples, others, strict=True):
            sample.update(partner=_plain(split.ids[other]), partner_class=names[split.labels[other]])
    return samples


def _plain(sample_id: Any) -> Any:
    """Return a NumPy number as a Python number."""
    return sample_id.item() if isinstance(sample_id, np.generic) else sample_id
