"""The parity ladder: comparisons from equal initial weights to equal predictions after training, one a rung.

Two worker processes, one a framework, return arrays, which are compared here in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import cos, pi
from typing import TypeVar

import numpy as np

from diptych import engines
from diptych.comparison.parity import samples
from diptych.comparison.parity.certificate import Difference, Rung, difference
from diptych.data.batches import Batch, epoch_batches
from diptych.engines.contract import Arrays, optimizer_arrays
from diptych.engines.session import Session, session
from diptych.processes import num_threads
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.spec.recipe import Rule
from diptych.training.schedule import learning_rates

T = TypeVar("T")

BATCH_SIZE = 7  # odd, and small enough for a running variance without n/(n − 1) to show
USUAL_BATCH_SIZE = 64

# Together these recipes use every term of an update: Nesterov momentum, both decays, clipping, averages.
# Epsilon is large because at 1e-8 the first step is the sign of the gradient, even if the gradient is mere rounding.
# The training on digits uses the usual epsilon.
RECIPES: dict[Rule, Recipe] = {
    "sgd": Recipe(optimizer="sgd", l2=1e-3, clip_norm=1.0, average_decay=0.9),
    "adam": Recipe(optimizer="adam", epsilon=1e-3, l2=1e-3),
    "adamw": Recipe(optimizer="adamw", epsilon=1e-3),
    "rmsprop": Recipe(optimizer="rmsprop", epsilon=1e-3),
}

# In float64, equal mathematics agrees to about 1e-12; different mathematics does not.
FLOAT64_TOLERANCE = 1e-9

# About ten times the differences measured for the zoo, from a perceptron to ResNet-56. Other rungs are reported but
# not judged: after many steps rounding has grown to between 1e-6 (without normalization) and 1 (ResNet-56).
FLOAT32_TOLERANCES = {
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
class Pair:
    """A worker process of each engine, in the order of `engines.NAMES`."""

    workers: tuple[Session, Session]

    def ask(self, verb: Callable[[Session], T]) -> tuple[T, T]:
        """Call `verb` with each worker at the same time and return both results."""
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(verb, self.workers)
        return first, second


@contextmanager
def start() -> Iterator[Pair]:
    """Start a pair of workers that share the processor evenly, and stop them afterwards."""
    threads = max(1, num_threads() // 2)
    with ExitStack() as stack:
        first, second = (stack.enter_context(session(name, threads)) for name in engines.NAMES)
        yield Pair((first, second))


@dataclass(frozen=True)
class Setting:
    """The inputs of every rung of one precision; `batches` has one for each step."""

    pair: Pair
    spec: ModelSpec
    precision: str
    weights: Arrays
    batches: Sequence[Batch]
    seed: int


def rungs(
    pair: Pair, spec: ModelSpec, precision: str, *, optimizers: Sequence[Rule], steps: int, seed: int
) -> Iterator[Rung]:
    """Compare the two engines in one precision, except for the training on digits; arguments as of `verify`."""
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
    initial = {name: array.astype(setting.precision) for name, array in setting.weights.items()}
    ours: Arrays = {}
    expected: Arrays = {}
    for engine, read in zip(engines.NAMES, setting.pair.ask(lambda worker: worker.read_weights()), strict=True):
        ours |= {f"{engine}/{name}": array for name, array in read.items()}
        expected |= {f"{engine}/{name}": array for name, array in initial.items()}
    return Rung.judged("weights round trip", setting.precision, 0.0, difference(ours, expected, expected))


def _forward(setting: Setting, training: bool) -> Rung:
    images = setting.batches[0].images

    def run(worker: Session) -> Arrays:
        outputs = worker.layer_outputs(images, training)
        return outputs if training else {**outputs, "logits": worker.predict(images)}

    ours, theirs = setting.pair.ask(run)
    order = [layer.name for layer in setting.spec.layers] + ([] if training else ["logits"])
    name = "forward pass in training" if training else "forward pass in evaluation"
    return _judged(setting, name, difference(theirs, ours, order))


def _gradients(setting: Setting) -> Iterator[Rung]:
    batch = setting.batches[0]
    (loss, ours), (other_loss, theirs) = setting.pair.ask(lambda worker: worker.gradients(batch))
    apart = difference({"loss": np.array(other_loss)}, {"loss": np.array(loss)}, ["loss"])
    yield _judged(setting, "loss", apart)
    # Gradients flow back from the logits, so the last layer that differs is the first that is wrong.
    backwards = [array.name for array in reversed(setting.spec.trainable)]
    yield _judged(setting, "gradients", difference(theirs, ours, backwards))


def _optimizers(setting: Setting, optimizers: Sequence[Rule]) -> Iterator[Rung]:
    stages = ("one step", f"{len(setting.batches)} steps")
    statistics: dict[str, tuple[Arrays, Arrays]] = {stage: ({}, {}) for stage in stages}
    for rule in optimizers:
        spec, recipe = setting.spec, RECIPES[rule]
        running = [array.name for array in spec.arrays if not array.trainable]
        running += [f"average/{name}" for name in running if recipe.average_decay]
        state = [array.name for array in optimizer_arrays(spec, recipe) if array.name not in running]
        updated = [*(array.name for array in spec.trainable), *state, "totals"]
        ends = setting.pair.ask(partial(_take_steps, setting, rule))
        for stage, ours, theirs in zip(stages, *ends, strict=True):
            yield _judged(setting, f"{stage} of {rule}", difference(theirs, ours, updated))
            for collected, end in zip(statistics[stage], (ours, theirs), strict=True):
                collected.update((f"{rule}/{name}", end[name]) for name in running)
    for stage, (first, second) in statistics.items():
        if first:
            yield _judged(setting, f"running statistics after {stage}", difference(second, first, first))


def _take_steps(setting: Setting, rule: Rule, worker: Session) -> list[Arrays]:
    """Return weights, optimizer state and totals after one step and after all of them."""
    recipe, batches, steps = RECIPES[rule], setting.batches, len(setting.batches)
    peak = recipe.rate * BATCH_SIZE / USUAL_BATCH_SIZE
    rates = [peak * 0.5 * (1.0 + cos(pi * step / steps)) for step in range(steps)]
    worker.load_weights(setting.weights)
    worker.make_optimizer(recipe)
    ends = []
    for part in (slice(1), slice(1, None)):
        end = worker.train(batches[part], rates[part], setting.seed)
        totals = np.array([end.totals.loss, end.totals.weight, end.totals.correct])
        ends.append({**end.weights, **end.state, "totals": totals})
    return ends


def _judged(setting: Setting, name: str, apart: Difference) -> Rung:
    tolerance = FLOAT32_TOLERANCES.get(name) if setting.precision == "float32" else FLOAT64_TOLERANCE
    return Rung.judged(name, setting.precision, tolerance, apart)


def training_on_digits(pair: Pair, spec: ModelSpec, epochs: int, seed: int) -> Rung:
    """Train on resized digits in float64 with the default recipe and compare the predictions of the test images."""
    train, test = samples.digits(spec)
    recipe = Recipe(epochs=epochs, flip="none", crop_padding=0)

    def train_and_predict(worker: Session) -> np.ndarray:
        worker.build(spec, "float64")
        worker.load_weights(initial_weights(spec.arrays, seed))
        worker.make_optimizer(recipe)
        for epoch in range(1, epochs + 1):
            batches = list(epoch_batches(train, recipe, num_classes=spec.num_classes, seed=seed, epoch=epoch))
            worker.train(batches, learning_rates(recipe, epoch, len(batches)), seed)
        logits_nk: np.ndarray = worker.predict(np.asarray(test.images))
        return logits_nk

    ours, theirs = pair.ask(train_and_predict)
    classes = ours.argmax(1), theirs.argmax(1)
    equal, total = int((classes[0] == classes[1]).sum()), len(test)
    accuracies = " and ".join(f"{(predicted == test.labels).mean():.3f}" for predicted in classes)
    gap = difference({"logits": theirs}, {"logits": ours}, ["logits"]).relative
    note = (
        f"{epochs} epochs of digits: {equal} of {total} test predictions are equal, "
        f"accuracy {accuracies}, logits differ by {gap:.0e}."
    )
    apart = difference({"predictions": classes[1]}, {"predictions": classes[0]}, ["predictions"])
    return Rung.judged("training on digits", "float64", 0.0, apart, note=note, equal=equal, total=total)
