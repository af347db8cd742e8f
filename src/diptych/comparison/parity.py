"""Whether one spec is one model in both frameworks: the climb up the ladder, and its certificate."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

import diptych
from diptych.comparison import digits, ladder
from diptych.comparison.certificate import Certificate, Rung
from diptych.comparison.pair import Pair, started
from diptych.errors import UsageError
from diptych.spec import ModelSpec
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.layers import Dropout
from diptych.spec.recipe import Rule
from diptych.spec.typed import did_you_mean
from diptych.training.machine import machine

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
    """Compare a model's two implementations, from equal weights up to equal predictions after a training.

    Args:
        spec: the model; its dropout rates are set to 0, since random streams cannot be equal.
        optimizers: update rules to take steps with: sgd, adam, adamw, rmsprop.
        precisions: float64, the referee, and float32.
        steps: steps that each optimizer takes, at a falling learning rate; at least 2.
        digits_epochs: epochs of the training on scikit-learn's digits; 0 leaves it out.
        seed: of weights, images, batches and their order.
        on_rung: told of every rung as it is reached.
        pair: running workers to ask; started for this climb when not given.

    Raises:
        UsageError: an argument makes no sense.
        MissingEngine: a framework is not installed.
        EngineError: a framework failed.
    """
    _check("optimizer", optimizers, OPTIMIZERS)
    _check("precision", precisions, PRECISIONS)
    if steps < 2 or digits_epochs < 0:
        raise UsageError(f"Wanted 2 steps or more and 0 digits epochs or more, got {steps} and {digits_epochs}.")
    rungs = []
    with nullcontext(pair) if pair else started() as asked:
        for rung in _climb(
            asked,
            _without_dropout(spec),
            optimizers=optimizers,
            precisions=precisions,
            steps=steps,
            digits_epochs=digits_epochs,
            seed=seed,
        ):
            rungs.append(rung)
            if on_rung:
                on_rung(rung)
        versions = _versions(asked)
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
    """SHA-256 of the spec's canonical JSON."""
    return sha256(json.dumps(model_to_json(spec), sort_keys=True).encode()).hexdigest()


def _climb(
    pair: Pair,
    spec: ModelSpec,
    *,
    optimizers: Sequence[Rule],
    precisions: Sequence[str],
    steps: int,
    digits_epochs: int,
    seed: int,
) -> Iterator[Rung]:
    for precision in precisions:
        yield from ladder.rungs(pair, spec, precision, optimizers=optimizers, steps=steps, seed=seed)
    if digits_epochs:
        yield digits.training(pair, spec, digits_epochs, seed)


def _without_dropout(spec: ModelSpec) -> ModelSpec:
    layers = (replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer for layer in spec.layers)
    return replace(spec, layers=tuple(layers))


def _versions(pair: Pair) -> dict[str, str]:
    """Of what computed, as the workers themselves say."""
    found = {"diptych": diptych.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for runtime in pair.ask(lambda worker: worker.runtime()):
        found[runtime["engine"]] = runtime["version"]
        found.update({name: runtime[name] for name in ("keras",) if name in runtime})
    return found


def _check(what: str, came: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in came if name not in known]
    if unknown:
        raise UsageError(
            f"Unknown {what} '{unknown[0]}'{did_you_mean(unknown[0], known)}; there are {', '.join(known)}."
        )
