"""Parity: whether one spec is the same model in both frameworks, by a ladder of comparisons of workers' arrays."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

import diptych
from diptych import engines
from diptych.comparison.parity import rungs, samples, trainings
from diptych.comparison.parity.certificate import Certificate, Rung
from diptych.comparison.parity.features import FEATURES, OPTIMIZERS
from diptych.comparison.parity.rungs import BITS, Ladder, Pair
from diptych.data.batches import batch_bounds, class_weights
from diptych.data.datasets import Dataset
from diptych.engines.contract import Arrays
from diptych.engines.session import session
from diptych.errors import UsageError
from diptych.processes import num_threads
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.recipe import Rule
from diptych.training.machine import machine
from diptych.training.trainer import Job
from diptych.vocabulary import did_you_mean

PRECISIONS = tuple(BITS)
# Operations of a training in float64 that takes a few seconds.
USUAL_FLOPS = 6e10
PREDICTED = ("validation", "test")
USUAL_RECIPE = Recipe(batch_size=16, flip="none")


@contextmanager
def start(threads: int | None = None) -> Iterator[Pair]:
    """Start a pair of workers, which share the processor evenly unless each has `threads`, and stop them afterwards."""
    each = threads or max(1, num_threads() // 2)
    with session(engines.NAMES[0], each) as first, session(engines.NAMES[1], each) as second:
        yield first, second


def verify(
    spec: ModelSpec,
    *,
    recipe: Recipe | None = None,
    dataset: Dataset | None = None,
    weights: Arrays | None = None,
    optimizers: Sequence[Rule] | None = None,
    precisions: Sequence[str] | None = None,
    steps: int = 120,
    digits_epochs: int = 3,
    thorough: bool = False,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda words: None,
    pair: Pair | None = None,
) -> Certificate:
    """Compare a model's two implementations, from equal weights to equal predictions after training.

    Args:
        spec: the model.
        recipe: test what this recipe uses (default: everything that a recipe can ask for).
        dataset: what the model itself is trained on (default: digits).
        weights: those that this training starts from (default: initial ones, drawn from the seed).
        optimizers: update rules to test (default: the recipe's, or sgd, adam, adamw and rmsprop).
        precisions: float64, in which equal mathematics is equal, and float32, float16 and bfloat16 (default: all, or
            float64 and the recipe's).
        steps: updates with each rule on given gradients; at least 2.
        digits_epochs: epochs of the model's own training without a recipe; 0 skips every training.
        thorough: train the model itself for all steps on all images, also in float32, where rounding parts trainings.
        seed: seed of the weights, images, batches, their order and dropout masks.
        on_step: called with a description of each step before it starts.
        pair: running workers to use; started for this call unless given.

    Raises UsageError for an invalid argument, and DiptychError if a framework is not installed or failed.
    """
    if recipe and optimizers not in (None, (recipe.optimizer,)):
        raise UsageError(f"A recipe has its own optimizer, here {recipe.optimizer}; omit 'optimizers'.")
    optimizers = OPTIMIZERS if optimizers is None else optimizers
    if precisions is None:
        precisions = PRECISIONS
        if recipe is not None:
            used = {"auto": ("float32", "bfloat16"), "float16": ("float32", "float16")}
            precisions = tuple(dict.fromkeys(("float64", *used.get(recipe.precision, (recipe.precision,)))))
    for name, values, known in (("optimizer", optimizers, OPTIMIZERS), ("precision", precisions, PRECISIONS)):
        if unknown := [value for value in values if value not in known]:
            meant = did_you_mean(unknown[0], known)
            raise UsageError(f"Unknown {name} '{unknown[0]}'{meant}; choose {', '.join(known)}.")
    if steps < 2 or digits_epochs < 0 or seed < 0:
        got = f"{steps}, {digits_epochs} and {seed}"
        raise UsageError(f"'steps' must be at least 2, 'digits_epochs' and 'seed' at least 0, got {got}.")
    own = recipe or replace(USUAL_RECIPE, epochs=max(digits_epochs, 1))
    if own.flip == "auto":
        own = replace(own, flip="horizontal" if dataset and dataset.mirror else "none")
    most_images = None if thorough else max(64, int(USUAL_FLOPS / 2 / spec.flops))
    data = dataset or samples.digits(spec, own, seed, most_images)
    few = {name: getattr(data, name).take(np.arange(len(getattr(data, name)))[:most_images]) for name in PREDICTED}
    job = Job(spec, own, data if thorough else replace(data, **few), seed, workers=0, weights=weights)
    class_weights(own, job.dataset.train.labels, spec.num_classes)  # before minutes of work, if they do not fit
    every = own.epochs * len(batch_bounds(len(job.dataset.train), own.batch_size))
    num_steps = every if thorough else min(every, max(8, int(USUAL_FLOPS / (3 * spec.flops * own.batch_size))))
    drift, left_out = list[dict[str, float]](), list[str]()
    versions = {"diptych": diptych.__version__, "python": platform.python_version(), "numpy": np.__version__}
    on_step("starting both frameworks")
    with nullcontext(pair) if pair else start() as workers:
        ladder = Ladder(workers, spec, own if recipe else None, optimizers, precisions, seed, steps, on_step)
        found = [*rungs.model(ladder), *rungs.dropout(ladder), *rungs.updates(ladder)]
        if digits_epochs:
            found += trainings.small(ladder)
            whole, taken = trainings.whole(ladder, job, num_steps)
            found.append(whole)
            if taken == num_steps < every:
                left_out.append(f"the last {every - num_steps:,} steps of the model's own training (use --thorough)")
            if untested := len(data.test) - len(job.dataset.test):
                left_out.append(f"{untested:,} of the test images (use --thorough)")
            if thorough:
                parted, drift = trainings.drift(ladder, job, num_steps)
                found.append(parted)
        for runtime in (worker.runtime() for worker in workers):
            versions[runtime["engine"]] = runtime["version"]
            versions |= {"keras": runtime["keras"]} if "keras" in runtime else {}
    return Certificate(
        model=spec.name,
        input_shape=spec.input_shape,
        num_parameters=spec.num_parameters,
        spec_digest=digest_of(spec),
        seed=seed,
        steps=steps,
        recipe=recipe_to_json(recipe) if recipe else None,
        not_covered=(*left_out, *_not_covered(recipe, optimizers, precisions, found)),
        versions=versions,
        processor=machine()["processor"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        rungs=tuple(found),
        drift=tuple(drift),
    )


def digest_of(spec: ModelSpec) -> str:
    """Return the SHA-256 of the spec's canonical JSON."""
    return sha256(json.dumps(model_to_json(spec), sort_keys=True).encode()).hexdigest()


def _not_covered(
    recipe: Recipe | None, optimizers: Sequence[Rule], precisions: Sequence[str], found: Sequence[Rung]
) -> Iterator[str]:
    """Yield what a training can use and the rungs did not test."""
    names = {rung.name for rung in found}
    tested = {recipe.optimizer} if recipe else set(optimizers)
    if not any(rung.total for rung in found):
        yield "a training of the model itself"
    yield "GPUs"
    yield from (f"precision {precision}" for precision in PRECISIONS if precision not in precisions)
    yield from (name for name in (*FEATURES, "dropout") if f"training with {name}" not in names)
    yield from (f"optimizer {rule}" for rule in OPTIMIZERS if rule not in tested)
