"""Parity: whether one spec is the same model in both frameworks, from equal weights to equal trainings."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

import diptych
from diptych.comparison.parity import ladder
from diptych.comparison.parity.certificate import Certificate, Rung, write
from diptych.comparison.parity.ladder import Pair
from diptych.errors import UsageError
from diptych.spec import ModelSpec
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.layers import Dropout
from diptych.spec.recipe import Rule
from diptych.training.machine import machine
from diptych.vocabulary import did_you_mean

__all__ = ["Certificate", "Pair", "Rung", "digest_of", "verify", "write"]

OPTIMIZERS: tuple[Rule, ...] = tuple(ladder.RECIPES)
PRECISIONS = ("float64", "float32")


def verify(
    spec: ModelSpec,
    *,
    optimizers: Sequence[Rule] = OPTIMIZERS,
    precisions: Sequence[str] = PRECISIONS,
    steps: int = 50,
    digits_epochs: int = 3,
    seed: int = 0,
    on_rung: Callable[[Rung], None] | None = None,
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
        on_rung: called with every comparison as it finishes.
        pair: running workers to use; started for this call unless given.

    Raises:
        UsageError: an argument is invalid.
        MissingEngine: a framework is not installed.
        EngineError: a framework failed.
    """
    for name, values, known in (("optimizer", optimizers, OPTIMIZERS), ("precision", precisions, PRECISIONS)):
        if unknown := [value for value in values if value not in known]:
            meant = did_you_mean(unknown[0], known)
            raise UsageError(f"Unknown {name} '{unknown[0]}'{meant}; choose {', '.join(known)}.")
    if steps < 2 or digits_epochs < 0:
        raise UsageError(f"'steps' must be at least 2 and 'digits_epochs' at least 0, got {steps} and {digits_epochs}.")
    layers = (replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer for layer in spec.layers)
    tested = replace(spec, layers=tuple(layers))
    rungs: list[Rung] = []

    def add(rung: Rung) -> None:
        rungs.append(rung)
        if on_rung:
            on_rung(rung)

    versions = {"diptych": diptych.__version__, "python": platform.python_version(), "numpy": np.__version__}
    with nullcontext(pair) if pair else ladder.start() as workers:
        for precision in precisions:
            for rung in ladder.rungs(workers, tested, precision, optimizers=optimizers, steps=steps, seed=seed):
                add(rung)
        if digits_epochs:
            add(ladder.training_on_digits(workers, tested, digits_epochs, seed))
        for runtime in workers.ask(lambda worker: worker.runtime()):
            versions |= {runtime["engine"]: runtime["version"]}
            versions |= {name: runtime[name] for name in ("keras",) if name in runtime}
    return Certificate(
        model=spec.name,
        input_shape=spec.input_shape,
        num_parameters=spec.num_parameters,
        spec_digest=digest_of(spec),
        seed=seed,
        steps=steps,
        recipes={rule: recipe_to_json(ladder.RECIPES[rule]) for rule in optimizers},
        versions=versions,
        processor=machine()["processor"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        rungs=tuple(rungs),
    )


def digest_of(spec: ModelSpec) -> str:
    """Return the SHA-256 of the spec's canonical JSON."""
    return sha256(json.dumps(model_to_json(spec), sort_keys=True).encode()).hexdigest()
