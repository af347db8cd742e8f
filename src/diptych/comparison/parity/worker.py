"""What an engine computes for the parity check: functions for `Session.run`, which run in the engine's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diptych.comparison.parity import samples
from diptych.engines.contract import FIRST_LOSS_SCALE, Arrays, Engine, optimizer_arrays
from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import BatchNorm, Dropout
from diptych.training.trainer import Job, Trainer

TRAINING = "forward pass in training"
COMPUTED = ("forward pass in evaluation", TRAINING, "loss", "gradients")
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def whole_model(
    engine: Engine, spec: ModelSpec, precision: str, weights: Arrays, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return, by name, the weights of a model and what it computes for a batch; in evaluation only in float64."""
    model, batches = engine.build(spec, precision), samples.batches(spec, 2, samples.SAMPLES, seed)
    engine.load_weights(model, weights)
    images = batches[0].images
    losses, slopes = zip(*(engine.gradients(model, batch) for batch in batches), strict=True)
    found = {"weights": engine.read_weights(model), "loss": {"loss": np.array(losses)}}
    # Gradients flow back from the logits, so the last layer that differs is the first that is wrong.
    found["gradients"] = {array.name: slopes[0][array.name] for array in reversed(spec.trainable)}
    found[TRAINING] = engine.layer_outputs(model, images, True)
    if precision == "float64":
        outputs = engine.layer_outputs(model, images, False)
        found["forward pass in evaluation"] = {**outputs, "logits": engine.predict(model, images)}
        head = {array.name: 100.0 for array in spec.arrays if spec.owner(array) in spec.head}
        engine.load_weights(model, {name: array * head.get(name, 1.0) for name, array in weights.items()})
        found["loss"]["loss of large logits"] = np.array(engine.gradients(model, batches[0])[0])
    return found


def layers_alone(engine: Engine, spec: ModelSpec, precision: str, seed: int) -> Arrays:
    """Return the results of `layer_alone` for every layer, as `<layer>/<array>` or `<layer>/<mode>/<array>`."""
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

    The gradients are random, so only the update rule matters. After the first update, a new optimizer loads the state.
    In float16, the gradients are those of a scaled loss, one of them overflows, and the loss scale is about to grow.
    """
    model, found = engine.build(spec, precision), Arrays()
    for label, recipe in recipes.items():
        engine.load_weights(model, samples.weights(spec, seed))
        optimizer = engine.make_optimizer(model, recipe)
        if recipe.precision == "float16":
            state = {one.name: np.zeros(one.shape) for one in optimizer_arrays(spec, recipe)}
            engine.load_optimizer(optimizer, {**state, "loss_scale": np.array([FIRST_LOSS_SCALE, 1997.0])})
        for step in range(1, max(stages) + 1):
            gradients = samples.gradients(spec, seed, step, recipe)
            engine.apply_gradients(optimizer, gradients, recipe.rate / (1.0 + 0.01 * step))
            if step == 1:  # as when training resumes
                state = engine.read_optimizer(optimizer)
                optimizer = engine.make_optimizer(model, recipe)
                engine.load_optimizer(optimizer, state)
            if step in stages:
                arrays = {**engine.read_weights(model), **engine.read_optimizer(optimizer)}
                found |= _labeled(f"{label}/step {step}", arrays)
    return found


def trained(engine: Engine, job: Job, most_steps: int, stages: Sequence[int] = ()) -> Arrays:
    """Train as `diptych train` does, without a run folder, for up to `most_steps` steps.

    Returns, in this order, the weights after some steps, counted from 1 over the whole training, as `step <n>/<array>`,
    and its history, as `epoch <n>/<field>`; then the best epoch, the final weights, as `saved/<array>`, and the logits
    of the test images.
    """
    trainer, found, taken = Trainer(engine, job), Arrays(), 0
    while trainer.epoch <= job.recipe.epochs and not trainer.should_stop and taken < most_steps:
        first, batches = (trainer.epoch - 1) * trainer.num_steps, trainer.batches()
        last = min(trainer.num_steps, most_steps - first)
        for stop in sorted({last, *(stage - first for stage in stages)}):
            if trainer.totals.steps < stop <= last:
                trainer.train(batches, stop)
                taken = first + stop
                found |= _labeled(f"step {taken}", engine.read_weights(trainer.model))
        batches.close()
        record = trainer.close_epoch(*trainer.validate())
        values = {name: np.array(record[name]) for name in HISTORY if record[name] is not None}
        found |= _labeled(f"epoch {record['epoch']}", values)
    saved = trainer.best if trainer.best is not None else trainer.weights()
    engine.load_weights(trainer.evaluator, saved)
    logits_nk = engine.predict(trainer.evaluator, job.dataset.test.images)
    return found | {"best epoch": np.array(trainer.best_epoch), **_labeled("saved", saved), "logits": logits_nk}


def _labeled(label: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {f"{label}/{name}": np.asarray(array) for name, array in arrays.items()}
