"""A training whose numbers have broken: at which step and over which samples, written down so that it can be repeated.

`diverged.json` in the run says it; `diptych train --replay RUN` repeats the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diptych.artifacts.run import Run
from diptych.artifacts.store import read_json, write_json
from diptych.data.augment import is_mixed, partners
from diptych.data.batches import Batch, batch_bounds, order
from diptych.data.randomness import Draws
from diptych.engines.contract import Arrays
from diptych.errors import ArtifactError, EngineError, UsageError
from diptych.training.learner import Job, Learner

VERSION = 1
OPTIMIZER = "optimizer/"


class Diverged(EngineError):  # noqa: N818  (what happened, as the run's status has it)
    """The loss, the weights or the optimizer's state of a training are not finite any more."""


def path_of(run: Run) -> Path:
    """Where a run says how it diverged."""
    return run.directory / "diverged.json"


def read(run: Run) -> dict[str, Any]:
    """How a run diverged.

    Raises:
        UsageError: it did not.
    """
    if not path_of(run).is_file():
        raise UsageError(f"'{run.directory}' has not diverged: there is no diverged.json to replay.")
    content = read_json(path_of(run))
    if missing := sorted({"what", "epoch", "step", "replays_from"} - content.keys()):
        raise ArtifactError(f"Cannot read '{path_of(run)}': it does not say '{missing[0]}'; write it back, or resume.")
    return content


def broken(weights: Arrays, optimizer: Arrays) -> list[str]:
    """Names of the arrays that hold numbers that are not finite; those of the optimizer as `optimizer/<array>`."""
    arrays = {**weights, **{f"{OPTIMIZER}{name}": array for name, array in optimizer.items()}}
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def told(learner: Learner, run: Run, saved: tuple[int, int], arrays: Sequence[str]) -> Diverged:
    """The error that says what broke at the step taken last; writes `diverged.json` first.

    Args:
        learner: a training whose loss, weights or optimizer's state are not finite.
        run: where it is written.
        saved: finished epochs, and steps of the next one, in the last checkpoint.
        arrays: which arrays are broken, where the loss is not. After which step is then for the replay to find.
    """
    step = learner.totals.steps
    content = {
        "format": "diptych-divergence",
        "version": VERSION,
        "epoch": learner.epoch,
        "step": step,
        "global_step": (learner.epoch - 1) * learner.num_steps + step,
        "learning_rate": learner.rates[step - 1],
        "replays_from": {"epochs": saved[0], "steps": saved[1]},
        **(_loss(learner) if learner.totals.diverged else _arrays(arrays)),
    }
    write_json(path_of(run), content)
    # Weights are looked at from time to time, a loss at every step.
    place = f"{'at' if learner.totals.diverged else 'by'} step {step} of {learner.num_steps}"
    return Diverged(
        f"The training diverged in epoch {learner.epoch} {place}: {in_words(content)}. "
        "Train anew with a lower learning rate, clipped gradients or float32. "
        f"'{path_of(run)}' says more; `diptych train --replay {run.directory}` repeats the step."
    )


def _arrays(names: Sequence[str]) -> dict[str, Any]:
    """What is said of weights that are not finite, or of the optimizer's state where the weights still are."""
    return {"what": "optimizer" if names[0].startswith(OPTIMIZER) else "weights", "arrays": list(names)}


def _loss(learner: Learner) -> dict[str, Any]:
    """What is said of a loss that is not finite, and of the batch that gave it."""
    step = learner.totals.steps
    with closing(learner.batches(step - 1)) as batches:
        digest = digest_of(next(batches))
    return {
        "what": "loss",
        "loss": text(learner.totals.loss),
        "batch_digest": digest,
        "samples": samples(learner.job, learner.epoch, step),
    }


def in_words(content: Mapping[str, Any]) -> str:
    """What broke."""
    if content["what"] == "loss":
        return f"its loss is {content['loss']}"
    first, *others = content["arrays"]
    whose = "weights" if content["what"] == "weights" else "optimizer's numbers"
    return f"its {whose} are not finite ({first}{f' and {len(others)} more arrays' if others else ''})"


def text(number: float) -> str | float:
    """A number as JSON can hold it: one that is not finite as nan, inf or -inf."""
    return float(number) if np.isfinite(number) else str(float(number))


def digest_of(batch: Batch) -> str:
    """SHA-256 of a batch's images, targets and weights, in hexadecimal."""
    digest = sha256()
    for array in (batch.images, batch.targets, batch.weights):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def samples(job: Job, epoch: int, step: int) -> list[dict[str, Any]]:
    """Names and classes of a batch's samples, and of those that are mixed into them; `step` from 1."""
    split, names = job.dataset.train, job.dataset.class_names
    bounds = batch_bounds(len(split), job.recipe.batch_size)[step - 1]
    chosen = order(len(split), job.seed, epoch)[bounds]
    found = [{"id": split.ids[index], "class": names[split.labels[index]]} for index in chosen]
    if is_mixed(job.recipe):
        others = partners(Draws(job.seed, epoch, chosen), len(split)).indices
        for sample, other in zip(found, others, strict=True):
            sample.update(partner=split.ids[other], partner_class=names[split.labels[other]])
    return found
