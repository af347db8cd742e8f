"""Parity: whether one spec is the same model in both frameworks, by a ladder of comparisons of workers' arrays."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TypeAlias, TypeVar

import numpy as np

import diptych
from diptych import engines
from diptych.comparison.parity import samples
from diptych.comparison.parity.certificate import Certificate, Rung, differences
from diptych.data.batches import Batch, epoch_batches
from diptych.engines.contract import Arrays, optimizer_arrays
from diptych.engines.session import Session, session
from diptych.errors import UsageError
from diptych.processes import num_threads
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.init import initial_weights
from diptych.spec.layers import Dropout
from diptych.spec.recipe import Rule
from diptych.training.machine import machine
from diptych.training.schedule import learning_rates
from diptych.vocabulary import did_you_mean

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
OPTIMIZERS: tuple[Rule, ...] = tuple(RECIPES)
PRECISIONS = ("float64", "float32")

# In float64, equal mathematics agrees to about 1e-12; different mathematics does not.
FLOAT64_TOLERANCE = 1e-9

# About ten times the differences measured for the zoo, from a perceptron to ResNet-56. Other rungs are reported but
# not judged: after many steps rounding has grown to between 1e-6 (without normalization) and 1 (ResNet-56).
FLOAT32_TOLERANCES = {
    "forward pass in evaluation": 1e-5,
    "forward pass in training": 1e-4,
    "loss": 1e-5,
    "gradients": 1e-3,
    **{f"one step of {rule}": 1e-3 for rule in RECIPES},
    "running statistics after one step": 1e-5,
}

Pair: TypeAlias = tuple[Session, Session]
"""A worker process of each engine, in the order of `engines.NAMES`."""


@contextmanager
def start() -> Iterator[Pair]:
    """Start a pair of workers that share the processor evenly, and stop them afterwards."""
    threads = max(1, num_threads() // 2)
    with session(engines.NAMES[0], threads) as first, session(engines.NAMES[1], threads) as second:
        yield first, second


def ask(pair: Pair, verb: Callable[[Session], T]) -> tuple[T, T]:
    """Call `verb` with each worker at the same time and return both results."""
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(verb, pair)
    return first, second


def verify(
    spec: ModelSpec,
    *,
    optimizers: Sequence[Rule] = OPTIMIZERS,
    precisions: Sequence[str] = PRECISIONS,
    steps: int = 50,
    digits_epochs: int = 3,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda words: None,
    pair: Pair | None = None,
) -> Certificate:
    """Compare a model's two implementations, from equal weights to equal predictions after training.

    Args:
        spec: the model. Dropout rates are set to 0, because random streams cannot be equal.
        optimizers: update rules to test: sgd, adam, adamw, rmsprop.
        precisions: float64, in which equal mathematics is equal, and float32.
        steps: steps with each optimizer, at a decreasing learning rate; at least 2.
        digits_epochs: epochs of a training on the digits dataset in float64; 0 skips it.
        seed: seed of the weights, images, batches and their order.
        on_step: called with a description of each step before it starts.
        pair: running workers to use; started for this call unless given.

    Raises UsageError for an invalid argument, and DiptychError if a framework is not installed or failed.
    """
    for name, values, known in (("optimizer", optimizers, OPTIMIZERS), ("precision", precisions, PRECISIONS)):
        if unknown := [value for value in values if value not in known]:
            meant = did_you_mean(unknown[0], known)
            raise UsageError(f"Unknown {name} '{unknown[0]}'{meant}; choose {', '.join(known)}.")
    if steps < 2 or digits_epochs < 0:
        raise UsageError(f"'steps' must be at least 2 and 'digits_epochs' at least 0, got {steps} and {digits_epochs}.")
    layers = (replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer for layer in spec.layers)
    tested, rungs = replace(spec, layers=tuple(layers)), list[Rung]()
    versions = {"diptych": diptych.__version__, "python": platform.python_version(), "numpy": np.__version__}
    weights, batches = samples.weights(tested, seed), samples.batches(tested, steps, BATCH_SIZE, seed)
    on_step("starting both frameworks")
    with nullcontext(pair) if pair else start() as workers:
        for precision in precisions:
            rungs += _rungs(Setting(workers, tested, precision, weights, batches, seed, on_step), optimizers)
        if digits_epochs:
            on_step("training on digits in float64")
            rungs.append(_training_on_digits(workers, tested, digits_epochs, seed))
        for runtime in ask(workers, lambda worker: worker.runtime()):
            versions[runtime["engine"]] = runtime["version"]
            versions |= {"keras": runtime["keras"]} if "keras" in runtime else {}
    return Certificate(
        model=spec.name,
        input_shape=spec.input_shape,
        num_parameters=spec.num_parameters,
        spec_digest=digest_of(spec),
        seed=seed,
        steps=steps,
        recipes={rule: recipe_to_json(RECIPES[rule]) for rule in optimizers},
        versions=versions,
        processor=machine()["processor"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        rungs=tuple(rungs),
    )


def digest_of(spec: ModelSpec) -> str:
    """Return the SHA-256 of the spec's canonical JSON."""
    return sha256(json.dumps(model_to_json(spec), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Setting:
    """The inputs of every rung of one precision; `batches` has one for each step."""

    pair: Pair
    spec: ModelSpec
    precision: str
    weights: Arrays
    batches: Sequence[Batch]
    seed: int
    on_step: Callable[[str], None]

    def compare(self, name: str, ours: Arrays, theirs: Arrays, order: Iterable[str]) -> Rung:
        """Judge what both engines computed."""
        tolerance = FLOAT32_TOLERANCES.get(name) if self.precision == "float32" else FLOAT64_TOLERANCE
        return Rung.judged(name, self.precision, tolerance, differences(theirs, ours, order))


def _rungs(setting: Setting, optimizers: Sequence[Rule]) -> Iterator[Rung]:
    """Compare the two engines in one precision, except for the training on digits."""
    setting.on_step(f"comparing layers and gradients in {setting.precision}")
    ask(setting.pair, lambda worker: worker.build(setting.spec, setting.precision))
    ask(setting.pair, lambda worker: worker.load_weights(setting.weights))
    yield _round_trip(setting)
    yield _forward(setting, training=False)
    yield _forward(setting, training=True)
    batch = setting.batches[0]
    (loss, ours), (other_loss, theirs) = ask(setting.pair, lambda worker: worker.gradients(batch))
    yield setting.compare("loss", {"loss": np.array(loss)}, {"loss": np.array(other_loss)}, ["loss"])
    # Gradients flow back from the logits, so the last layer that differs is the first that is wrong.
    yield setting.compare("gradients", ours, theirs, [array.name for array in reversed(setting.spec.trainable)])
    yield from _optimizers(setting, optimizers)


def _round_trip(setting: Setting) -> Rung:
    initial = {name: array.astype(setting.precision) for name, array in setting.weights.items()}
    read = dict(zip(engines.NAMES, ask(setting.pair, lambda worker: worker.read_weights()), strict=True))
    ours = {f"{engine}/{name}": array for engine, arrays in read.items() for name, array in arrays.items()}
    expected = {f"{engine}/{name}": array for engine in read for name, array in initial.items()}
    return Rung.judged("weights round trip", setting.precision, 0.0, differences(ours, expected, expected))


def _forward(setting: Setting, training: bool) -> Rung:
    images = setting.batches[0].images

    def run(worker: Session) -> Arrays:
        outputs = worker.layer_outputs(images, training)
        return outputs if training else {**outputs, "logits": worker.predict(images)}

    ours, theirs = ask(setting.pair, run)
    order = [layer.name for layer in setting.spec.layers] + ([] if training else ["logits"])
    name = "forward pass in training" if training else "forward pass in evaluation"
    return setting.compare(name, ours, theirs, order)


def _optimizers(setting: Setting, optimizers: Sequence[Rule]) -> Iterator[Rung]:
    stages = ("one step", f"{len(setting.batches)} steps")
    statistics: dict[str, tuple[Arrays, Arrays]] = {stage: ({}, {}) for stage in stages}
    for rule in optimizers:
        spec, recipe = setting.spec, RECIPES[rule]
        running = [array.name for array in spec.arrays if not array.trainable]
        running += [f"average/{name}" for name in running if recipe.average_decay]
        state = [array.name for array in optimizer_arrays(spec, recipe) if array.name not in running]
        updated = [*(array.name for array in spec.trainable), *state, "totals"]
        setting.on_step(f"training {stages[-1]} of {rule} in {setting.precision}")
        ends = ask(setting.pair, partial(_take_steps, setting, rule))
        for stage, ours, theirs in zip(stages, *ends, strict=True):
            yield setting.compare(f"{stage} of {rule}", ours, theirs, updated)
            for collected, end in zip(statistics[stage], (ours, theirs), strict=True):
                collected.update((f"{rule}/{name}", end[name]) for name in running)
    for stage, (first, second) in statistics.items():
        if first:
            yield setting.compare(f"running statistics after {stage}", first, second, first)


def _take_steps(setting: Setting, rule: Rule, worker: Session) -> list[Arrays]:
    """Return weights, optimizer state and totals after one step and after all of them."""
    recipe, batches, steps = RECIPES[rule], setting.batches, len(setting.batches)
    peak = recipe.rate * BATCH_SIZE / USUAL_BATCH_SIZE
    rates = learning_rates(replace(recipe, learning_rate=peak, schedule="cosine", epochs=1), 1, steps)
    worker.load_weights(setting.weights)
    worker.make_optimizer(recipe)
    ends = []
    for part in (slice(1), slice(1, None)):
        end = worker.train(batches[part], rates[part], setting.seed)
        totals = np.array([end.totals.loss, end.totals.weight, end.totals.correct])
        ends.append({**end.weights, **end.state, "totals": totals})
    return ends


def _training_on_digits(pair: Pair, spec: ModelSpec, epochs: int, seed: int) -> Rung:
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
        return np.asarray(worker.predict(np.asarray(test.images)))

    ours, theirs = ask(pair, train_and_predict)
    classes = ours.argmax(1), theirs.argmax(1)
    equal, total = int((classes[0] == classes[1]).sum()), len(test)
    accuracies = " and ".join(f"{(predicted == test.labels).mean():.3f}" for predicted in classes)
    gap, _ = differences({"logits": theirs}, {"logits": ours}, ["logits"])["logits"]
    note = (
        f"{epochs} epochs of digits: {equal} of {total} test predictions are equal, "
        f"accuracy {accuracies}, logits differ by {gap:.0e}."
    )
    apart = differences({"predictions": classes[1]}, {"predictions": classes[0]}, ["predictions"])
    return Rung.judged("training on digits", "float64", 0.0, apart, note=note, equal=equal, total=total)
