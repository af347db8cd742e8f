"""What an engine computes for the ladder: functions for `Session.run`, which run in the engine's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.comparison.parity import samples
from diptych.engines.contract import FIRST_LOSS_SCALE, Arrays, Engine, optimizer_arrays
from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import BatchNorm, Dropout
from diptych.training.trainer import Job, Trainer


def layers_alone(engine: Engine, spec: ModelSpec, precision: str, seed: int) -> Arrays:
    """Return what `layer_alone` does for every layer, as `<layer>/<array>` or `<layer>/<mode>/<array>`."""
    model = engine.build(spec, precision)
    engine.load_weights(model, samples.layer_weights(spec, seed))
    found = {}
    for layer in spec.layers:
        inputs, slopes = samples.layer_inputs(spec, layer, seed)
        modes = {"evaluation/": False, "training/": True} if isinstance(layer, BatchNorm | Dropout) else {"": True}
        for mode, training in modes.items():
            alone = engine.layer_alone(model, layer.name, inputs, slopes, training)
            found.update({f"{layer.name}/{mode}{name.removeprefix(layer.name + '.')}": alone[name] for name in alone})
    return found


def dropped(engine: Engine, spec: ModelSpec, steps: Sequence[int]) -> Arrays:
    """Return the factor by which each dropout layer multiplies its input in some steps, as `<layer>/step <n>`."""
    model, found = engine.build(spec, "float64"), {}
    for layer in spec.layers:
        if isinstance(layer, Dropout):
            ones = np.ones((samples.SAMPLES, *spec.shapes[layer.name]))
            for step in steps:
                alone = engine.layer_alone(model, layer.name, {layer.inputs[0]: ones}, ones, training=True, step=step)
                found[f"{layer.name}/step {step + 1}"] = alone["output"]
                found[f"{layer.name}/gradient in step {step + 1}"] = alone[f"input/{layer.inputs[0]}"]
    return found


def updated(
    engine: Engine, spec: ModelSpec, recipes: Mapping[str, Recipe], precision: str, seed: int, stages: Sequence[int]
) -> Arrays:
    """Return weights and optimizer state after some numbers of updates, as `<recipe>/step <n>/<array>`.

    The gradients are drawn, so that nothing but the update rule matters; after the first update, a new optimizer loads
    the state. In float16 the gradients belong to a scaled loss, one overflows, and the loss scale is about to grow.
    """
    model, found = engine.build(spec, precision), {}
    for label, recipe in recipes.items():
        engine.load_weights(model, samples.weights(spec, seed))
        optimizer = engine.make_optimizer(model, recipe)
        if recipe.precision == "float16":
            state = {one.name: np.zeros(one.shape) for one in optimizer_arrays(spec, recipe)}
            engine.load_optimizer(optimizer, {**state, "loss_scale": np.array([FIRST_LOSS_SCALE, 1997.0])})
        for step in range(1, max(stages) + 1):
            gradients = samples.gradients(spec, seed, step, recipe)
            engine.apply_gradients(optimizer, gradients, recipe.rate / (1.0 + 0.01 * step))
            if step == 1:  # as a training that resumes
                state = engine.read_optimizer(optimizer)
                optimizer = engine.make_optimizer(model, recipe)
                engine.load_optimizer(optimizer, state)
            if step in stages:
                arrays = {**engine.read_weights(model), **engine.read_optimizer(optimizer)}
                found.update({f"{label}/step {step}/{name}": np.asarray(array) for name, array in arrays.items()})
    return found


@dataclass(frozen=True)
class Training:
    """A training: its epochs, its weights after some steps and at its end, and its predictions."""

    epochs: list[dict[str, Any]]
    best_epoch: int
    weights: dict[int, Arrays]
    """By step, counted from 1 over the whole training; 0 holds the saved weights, which may be averages."""
    logits_nk: np.ndarray
    """Of the test images."""


def trained(
    engine: Engine, job: Job, most_steps: int, stages: Sequence[int] = (), threads: int | None = None
) -> Training:
    """Train as `diptych train` does, without a run folder, for up to `most_steps` steps.

    `threads` changes PyTorch's number of threads.
    """
    if threads:
        engine.configure(threads)
    trainer, recipe, weights = Trainer(engine, job), job.recipe, dict[int, Arrays]()
    while trainer.epoch <= recipe.epochs and not trainer.should_stop and max(weights, default=0) < most_steps:
        first, batches = (trainer.epoch - 1) * trainer.num_steps, trainer.batches()
        last = min(trainer.num_steps, most_steps - first)
        for stop in sorted({last, *(stage - first for stage in stages)}):
            if trainer.totals.steps < stop <= last:
                trainer.train(batches, stop)
                weights[first + stop] = engine.read_weights(trainer.model)
        batches.close()
        trainer.close_epoch(*trainer.validate())
    weights[0] = trainer.best if trainer.best is not None else trainer.weights()
    engine.load_weights(trainer.evaluator, weights[0])
    logits_nk = engine.predict(trainer.evaluator, job.dataset.test.images)
    return Training(trainer.epochs, trainer.best_epoch, weights, logits_nk)
