"""The ladder: from equal weights to equal weights after 50 steps, one comparison a rung.

Arrays come out of two workers and meet here in NumPy; nothing is believed because an engine says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import cos, pi

import numpy as np

from diptych.comparison import samples
from diptych.comparison.certificate import Rung
from diptych.comparison.difference import Difference, difference
from diptych.comparison.pair import Pair
from diptych.data.batches import Batch
from diptych.engines import slots
from diptych.engines.contract import Arrays
from diptych.engines.worker import Trained, Worker
from diptych.spec import ModelSpec, Recipe
from diptych.spec.recipe import Rule

BATCH_SIZE = 7  # odd, and small enough for a running variance without n/(n − 1) to show
USUAL_BATCH_SIZE = 64

# Together the recipes use every term of an update: Nesterov's look-ahead, both decays, clipping, averages.
# ε is large, since at 1e-8 a first step is the gradient's sign, even where the gradient is nothing but rounding;
# the training on digits has the usual one.
RECIPES: dict[Rule, Recipe] = {
    "sgd": Recipe(optimizer="sgd", l2=1e-3, clip_norm=1.0, average_decay=0.9),
    "adam": Recipe(optimizer="adam", epsilon=1e-3, l2=1e-3),
    "adamw": Recipe(optimizer="adamw", epsilon=1e-3),
    "rmsprop": Recipe(optimizer="rmsprop", epsilon=1e-3),
}

# float64 is the referee: equal mathematics agrees to about 1e-12 there, different mathematics does not.
REFEREE = 1e-9

# About ten times what the zoo shows, from a perceptron to ResNet-56. A rung that is not here is reported, not
# judged: after many steps rounding has grown to anything between 1e-6 (where nothing is normalised) and 1
# (ResNet-56).
FLOAT32 = {
    "forward pass in evaluation": 1e-5,
    "forward pass in training": 1e-4,
    "loss": 1e-5,
    "gradients": 1e-3,
    "one step of sgd": 1e-3,
    "one step of adam": 1e-3,
    "one step of adamw": 1e-3,
    "one step of rmsprop": 1e-3,
    "running statistics after one step": 1e-5,
}


@dataclass(frozen=True)
class Setting:
    """What every rung of one precision needs.

    Attributes:
        pair: who computes.
        spec: the model, without dropout.
        precision: float64 or float32.
        weights: where everything starts.
        batches: one for each step.
        seed: handed to the trainings.
    """

    pair: Pair
    spec: ModelSpec
    precision: str
    weights: Arrays
    batches: Sequence[Batch]
    seed: int


def rungs(
    pair: Pair, spec: ModelSpec, precision: str, *, optimizers: Sequence[Rule], steps: int, seed: int
) -> Iterator[Rung]:
    """Every rung in one precision; the last one, a training on digits, is in `digits`.

    Args:
        pair: who computes.
        spec: a model without dropout.
        precision: float64 or float32.
        optimizers: update rules to take steps with.
        steps: how many each takes; the first is a rung of its own.
        seed: of weights, images and batches.
    """
    weights, batches = samples.weights(spec, seed), samples.batches(spec, steps, BATCH_SIZE, seed)
    setting = Setting(pair, spec, precision, weights, batches, seed)
    pair.ask(lambda worker: worker.build(spec, precision))
    pair.ask(lambda worker: worker.load_weights(weights))
    yield _round_trip(setting)
    yield _forward(setting, training=False)
    yield _forward(setting, training=True)
    yield from _gradients(setting)
    yield from _optimizers(setting, optimizers)


def _round_trip(setting: Setting) -> Rung:
    wanted = {name: array.astype(setting.precision) for name, array in setting.weights.items()}
    names = [worker.engine for worker in setting.pair.workers]
    ours, theirs = (
        {f"{name}/{array}": values for array, values in read.items()}
        for name, read in zip(names, setting.pair.ask(lambda worker: worker.read_weights()), strict=True)
    )
    expected = {f"{name}/{array}": values for name in names for array, values in wanted.items()}
    apart = difference({**ours, **theirs}, expected, expected)
    return Rung.judged("weights, there and back", setting.precision, 0.0, apart)


def _forward(setting: Setting, training: bool) -> Rung:
    images = setting.batches[0].images

    def outputs(worker: Worker) -> Arrays:
        found = worker.layer_outputs(images, training)
        return found if training else {**found, "logits": worker.predict(images)}

    ours, theirs = setting.pair.ask(outputs)
    order = [layer.name for layer in setting.spec.layers] + ([] if training else ["logits"])
    kind = "training" if training else "evaluation"
    return _judged(setting, f"forward pass in {kind}", difference(theirs, ours, order))


def _gradients(setting: Setting) -> Iterator[Rung]:
    batch = setting.batches[0]
    (loss, ours), (other_loss, theirs) = setting.pair.ask(lambda worker: worker.gradients(batch))
    apart = difference({"loss": np.array(other_loss)}, {"loss": np.array(loss)}, ["loss"])
    yield _judged(setting, "loss", apart)
    # Gradients flow back from the logits, so the last layer that departs is the first that went wrong.
    backwards = [array.name for array in reversed(setting.spec.trainable)]
    yield _judged(setting, "gradients", difference(theirs, ours, backwards))


def _optimizers(setting: Setting, optimizers: Sequence[Rule]) -> Iterator[Rung]:
    stages = ("one step", f"{len(setting.batches)} steps")
    statistics: dict[str, tuple[Arrays, Arrays]] = {stage: ({}, {}) for stage in stages}
    for rule in optimizers:
        ends = setting.pair.ask(partial(_stepped, setting, rule))
        for stage, ours, theirs in zip(stages, *ends, strict=True):
            names = _moved(setting.spec, RECIPES[rule])
            yield _judged(setting, f"{stage} of {rule}", difference(_all(theirs), _all(ours), names))
            for known, end in zip(statistics[stage], (ours, theirs), strict=True):
                arrays = _all(end)
                known.update((f"{rule}/{name}", arrays[name]) for name in _followed(setting.spec, RECIPES[rule]))
    for stage, (wanted, found) in statistics.items():
        if wanted:
            yield _judged(setting, f"running statistics after {stage}", difference(found, wanted, wanted))


def _stepped(setting: Setting, rule: Rule, worker: Worker) -> tuple[Trained, Trained]:
    """Where one step leaves a worker, and where all of them do."""
    recipe = RECIPES[rule]
    rates = _cosine(recipe.rate * BATCH_SIZE / USUAL_BATCH_SIZE, len(setting.batches))
    worker.load_weights(setting.weights)
    worker.make_optimizer(recipe)
    first = worker.train(setting.batches[:1], rates[:1], setting.seed)
    return first, worker.train(setting.batches[1:], rates[1:], setting.seed)


def _all(end: Trained) -> Arrays:
    totals = np.array([end.totals.loss, end.totals.weight, end.totals.correct])
    return {**end.weights, **end.state, "totals": totals}


def _moved(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """Names of what the update rule moves, weights and their state, and of the loss on the way."""
    followed = _followed(spec, recipe)
    state = [array.name for array in slots.arrays(spec, recipe) if array.name not in followed]
    return [*(array.name for array in spec.trainable), *state, "totals"]


def _followed(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """Names of what follows the batches: running statistics, and averages of them where the recipe asks."""
    running = [array.name for array in spec.arrays if not array.trainable]
    return running + [f"average/{name}" for name in running if recipe.average_decay]


def _cosine(peak: float, steps: int) -> list[float]:
    return [peak * 0.5 * (1.0 + cos(pi * step / steps)) for step in range(steps)]


def _judged(setting: Setting, name: str, apart: Difference) -> Rung:
    tolerance = FLOAT32.get(name) if setting.precision == "float32" else REFEREE
    return Rung.judged(name, setting.precision, tolerance, apart)
