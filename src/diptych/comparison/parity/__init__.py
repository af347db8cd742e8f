"""The parity check: comparisons (*rungs*) of what both frameworks compute, from single layers to whole trainings."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

import diptych
from diptych import engines
from diptych.comparison.parity import rungs, samples, trainings
from diptych.comparison.parity.certificate import Certificate
from diptych.comparison.parity.features import FEATURES, OPTIMIZERS, uses
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
# Floating-point operations of a float64 training that takes a few seconds.
USUAL_FLOPS = 6e10
PREDICTED = ("validation", "test")
HOW = "tested by diptych verify --thorough"
USUAL_RECIPE = Recipe(batch_size=16, flip="none", crop_padding=2)


@contextmanager
def start(threads: int | None = None) -> Iterator[Pair]:
    """Start a worker per framework, with `threads` each (default: half of all), and stop both afterwards."""
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
    """Compare a model's implementations in both frameworks, from loading weights to predictions after training.

    Args:
        spec: the model.
        recipe: test the options that this recipe uses (default: all recipe options).
        dataset: data to train the model on (default: digits).
        weights: initial weights of this training (default: drawn from the seed).
        optimizers: update rules to test (default: the recipe's, or sgd, adam, adamw and rmsprop).
        precisions: number formats: float64, float32, float16, bfloat16 (default: all, or float64 and the recipe's).
        steps: updates with each rule from given gradients; at least 2.
        digits_epochs: epochs of training the model without a recipe; 0 skips all training.
        thorough: train the model for all steps on all images; also in float32, to measure how far runs drift apart.
        seed: seed of the weights, images, batches, their order and dropout masks.
        on_step: called with a description of each step before it starts.
        pair: running workers to use (default: start a pair for this call).

    Raises UsageError for an invalid argument, and DiptychError if a framework is not installed or fails.
    """
    if recipe and optimizers not in (None, (recipe.optimizer,)):
        raise UsageError(f"The recipe already sets the optimizer ({recipe.optimizer}); omit 'optimizers'.")
    optimizers = OPTIMIZERS if optimizers is None else optimizers
    precisions = _precisions(recipe) if precisions is None else precisions
    for name, values, known in (("optimizer", optimizers, OPTIMIZERS), ("precision", precisions, PRECISIONS)):
        if unknown := [value for value in values if value not in known]:
            meant = did_you_mean(unknown[0], known)
            raise UsageError(f"Unknown {name} '{unknown[0]}'{meant}; choose {', '.join(known)}.")
    if steps < 2 or digits_epochs < 0 or seed < 0:
        got = f"{steps}, {digits_epochs} and {seed}"
        raise UsageError(f"'steps' must be at least 2, 'digits_epochs' and 'seed' at least 0, got {got}.")
    own = recipe or replace(USUAL_RECIPE, epochs=max(digits_epochs, 1))
    own = own.for_data(spec.input_shape, bool(dataset and dataset.mirror), len(dataset.train) if dataset else 0)
    most_images = None if thorough else max(64, int(USUAL_FLOPS / 2 / spec.flops))
    data = dataset or samples.digits(spec, own, seed, most_images)
    few = {name: getattr(data, name).take(np.arange(len(getattr(data, name)))[:most_images]) for name in PREDICTED}
    job = Job(spec, own, data if thorough else replace(data, **few), seed, workers=0, weights=weights)
    class_weights(own, job.dataset.train.labels, spec.num_classes)  # raises an error now, not after minutes
    every = own.epochs * len(batch_bounds(len(job.dataset.train), own.batch))
    num_steps = every if thorough else min(every, max(8, int(USUAL_FLOPS / (3 * spec.flops * own.batch))))
    drift, not_tested = list[dict[str, float]](), list[str]()
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
                not_tested.append(f"the last {every - num_steps:,} of {every:,} training steps of this model ({HOW})")
            if untested := len(data.test) - len(job.dataset.test):
                not_tested.append(f"{untested:,} of {len(data.test):,} test images ({HOW})")
            if thorough:
                in_float32, drift = trainings.drift(ladder, job, num_steps)
                found.append(in_float32)
        else:
            not_tested.append("training this model")
        for runtime in (worker.runtime() for worker in workers):
            versions[runtime["engine"]] = runtime["version"]
            versions |= {"keras": runtime["keras"]} if "keras" in runtime else {}
    used, unused = _untested_options(ladder, {rung.name for rung in found})
    return Certificate(
        model=spec.name,
        input_shape=spec.input_shape,
        num_parameters=spec.num_parameters,
        spec_digest=digest_of(spec),
        seed=seed,
        steps=steps,
        recipe=recipe_to_json(recipe) if recipe else None,
        not_tested=(*not_tested, "GPUs", *used),
        not_used=tuple(unused),
        versions=versions,
        processor=machine()["processor"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        rungs=tuple(found),
        drift=tuple(drift),
    )


def digest_of(spec: ModelSpec) -> str:
    """Return the SHA-256 of the spec's canonical JSON."""
    return sha256(json.dumps(model_to_json(spec), sort_keys=True).encode()).hexdigest()


def _precisions(recipe: Recipe | None) -> tuple[str, ...]:
    """Return the number formats that a recipe uses, and float64; all without a recipe."""
    if recipe is None:
        return PRECISIONS
    used = {"auto": ("float32", "bfloat16"), "float16": ("float32", "float16")}
    return tuple(dict.fromkeys(("float64", *used.get(recipe.precision, (recipe.precision,)))))


def _untested_options(ladder: Ladder, rungs: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the untested options: those that the recipe (without one: any) or the model uses, and the others."""
    recipe = ladder.recipe
    used = {one: recipe is None or uses(recipe, one) for one in FEATURES} | {"dropout": recipe is None or ladder.drops}
    untested = {f"precision {one}": one in _precisions(recipe) for one in PRECISIONS if one not in ladder.precisions}
    untested |= {one: is_used for one, is_used in used.items() if f"training with {one}" not in rungs}
    tested = {recipe.optimizer} if recipe else ladder.optimizers
    untested |= {f"optimizer {one}": recipe is None for one in OPTIMIZERS if one not in tested}
    return [one for one in untested if untested[one]], [one for one in untested if not untested[one]]
