"""The step at which a training diverged, taken once more from the last checkpoint before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from diptych import engines
from diptych.artifacts.run import Run
from diptych.data.batches import Batch
from diptych.engines.contract import Engine
from diptych.training import checkpoint, divergence, job
from diptych.training.checkpoint import Checkpoint
from diptych.training.divergence import text
from diptych.training.learner import Job, Learner


def replay(run: Run, threads: int, workers: int | None) -> dict[str, Any]:
    """Repeat the step at which a run diverged; writes nothing.

    Args:
        run: a run with a `diverged.json`.
        threads: processor threads; as many as it was trained with repeat it to the last bit.
        workers: threads that prepare batches; see `epoch_batches`.

    Returns:
        As JSON: whether it was `reproduced`, step, loss, learning rate, digest of the batch, the largest logit, weight
        and gradient before the step, and the first layer whose output is not finite.

    Raises:
        DiptychError: the run has not diverged, or its data or state does not fit.
    """
    wanted, record = divergence.read(run), run.read_record()
    dataset = job.load_data(record)
    engine = engines.get(record.last_engine)
    engine.configure(threads)
    asked = Job(record.spec, record.recipe, dataset, record.seed, workers)
    found = checkpoint.load(run) if checkpoint.exists(run) else None
    step = wanted["step"] if wanted["what"] == "loss" else _first_broken(engine, asked, found, wanted)
    learner = _brought_to(engine, asked, found, wanted["epoch"], step - 1)
    return _taken(learner, wanted, step)


def _brought_to(engine: Engine, asked: Job, found: Checkpoint | None, epoch: int, step: int) -> Learner:
    """A training with all steps up to one of an epoch taken, unless it diverges before."""
    learner = Learner(engine, asked, found)
    while not learner.totals.diverged and (learner.epoch < epoch or learner.totals.steps < step):
        ends = learner.epoch < epoch
        with closing(learner.batches()) as batches:
            learner.train(batches, learner.num_steps if ends else step)
        if ends and not learner.totals.diverged:
            learner.close_epoch(*learner.validate())
    return learner


def _first_broken(engine: Engine, asked: Job, found: Checkpoint | None, wanted: Mapping[str, Any]) -> int:
    """The step after which arrays are not finite, where that was noticed later: steps are taken one by one."""
    at_hand = found.position if found and len(found.epochs) + 1 == wanted["epoch"] else 0
    learner = _brought_to(engine, asked, found, wanted["epoch"], at_hand)
    with closing(learner.batches()) as batches:
        for step in range(at_hand + 1, wanted["step"] + 1):
            learner.train(batches, step)
            if _is_broken(learner):
                return step
    return int(wanted["step"])


def _is_broken(learner: Learner) -> bool:
    state = learner.state({})
    return bool(divergence.broken(state.weights, state.optimizer))


def _taken(learner: Learner, wanted: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Take the step, and say what there was before and what came of it."""
    if learner.totals.diverged:
        step = learner.totals.steps
        before, batch = {}, None
    else:
        with closing(learner.batches()) as batches:
            batch = next(batches)
        before = _looked_at(learner, batch)
        learner.train([batch], step)
    digest = batch and divergence.digest_of(batch)
    loss = text(learner.totals.loss)
    if wanted["what"] == "loss":
        same = (wanted["epoch"], wanted["step"], wanted["loss"], wanted["batch_digest"])
        reproduced = same == (learner.epoch, step, loss, digest)
    else:
        reproduced = _is_broken(learner)
    return {
        "reproduced": reproduced,
        "what": wanted["what"],
        "epoch": learner.epoch,
        "step": step,
        "loss": loss,
        "learning_rate": learner.rates[step - 1],
        "batch_digest": digest,
        "samples": divergence.samples(learner.job, learner.epoch, step),
        **before,
    }


def _looked_at(learner: Learner, batch: Batch) -> dict[str, Any]:
    """What a batch meets in the model before it is trained on."""
    engine, model = learner.engine, learner.model
    outputs = engine.layer_outputs(model, batch.images, training=True)
    _, gradients = engine.gradients(model, batch)
    names = [layer.name for layer in learner.job.spec.layers]
    return {
        "largest_logit": _largest([outputs[names[-1]]]),
        "largest_weight": _largest(engine.read_weights(model).values()),
        "largest_gradient": _largest(gradients.values()),
        "first_layer": next((name for name in names if not np.isfinite(outputs[name]).all()), None),
    }


def _largest(arrays: Iterable[np.ndarray]) -> str | float:
    """The largest absolute number; nan where there is one."""
    return text(float(np.max([np.max(np.abs(array)) for array in arrays])))
