"""The rungs of the ladder, and what rounding allows each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import prod, sqrt
from typing import TypeAlias, TypeVar

import numpy as np

from diptych import engines
from diptych.comparison.parity import samples, worker
from diptych.comparison.parity.certificate import Rung, differences
from diptych.comparison.parity.features import PLAIN, small_model, update_recipes
from diptych.data.batches import Batch
from diptych.engines import masks
from diptych.engines.contract import Arrays
from diptych.engines.session import Session
from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import Dropout
from diptych.spec.recipe import Rule

T = TypeVar("T")
Pair: TypeAlias = tuple[Session, Session]
"""A worker process of each engine, in the order of `engines.NAMES`."""

# In float64, equal mathematics agrees to about 1e-12; different mathematics does not.
FLOAT64_TOLERANCE = 1e-9
# Significant bits, and the largest relative error of rounding to them.
BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
UNITS = {precision: 2.0**-bits for precision, bits in BITS.items()}
# Rounding a sum of n terms errs by about √n units; the largest difference measured for any layer was 1.1 √n, and 31
# times the smaller of the engines' distances from their own float64 results.
OF_TERMS, OF_OWN = 4.0, 8.0
OF_NUDGE = 100.0
SCALED = "sgd with a loss scale"
MASK_STEPS = (0, 1, 2, 70_000)


@dataclass(frozen=True)
class Ladder:
    """The inputs of every rung."""

    pair: Pair
    spec: ModelSpec
    recipe: Recipe | None
    """The recipe whose features are tested; None tests all."""
    optimizers: Sequence[Rule]
    seed: int
    steps: int
    on_step: Callable[[str], None]

    def ask(self, verb: Callable[[Session], T]) -> tuple[T, T]:
        """Call `verb` with each worker at the same time and return both results."""
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(verb, self.pair)
        return first, second

    def run(self, function: Callable[..., T], *args: object) -> tuple[T, T]:
        """Run a function of `worker` with both engines."""
        return self.ask(lambda session: session.run(function, *args))


def exact(name: str, ours: Arrays, theirs: Arrays, order: Iterable[str]) -> Rung:
    """Judge what both engines computed in float64 from given inputs; each array has its own scale."""
    return Rung.judged(name, "float64", FLOAT64_TOLERANCE, differences(theirs, ours, order, small=0.0))


def conditioned(
    rung: Rung, both: tuple[Arrays, Arrays], order: Sequence[str], nudged: Callable[[], tuple[Arrays, Arrays]]
) -> Rung:
    """Judge a rung in float64 again if it failed: a model may turn rounding errors into large differences.

    `nudged` computes the arrays from weights that differ in their last bit. The tolerance of each array is then
    OF_NUDGE times what that changes in one engine: the gradient of a bias before a norm, for example, is mere rounding.
    """
    if not rung.departs_at:
        return rung
    own = [differences(again, arrays, order) for again, arrays in zip(nudged(), both, strict=True)]
    changes = {array: max(one[array][0] for one in own) for array in order}
    largest = max(changes, key=lambda array: changes[array])
    note = f"{rung.name}: a last bit of the weights changes '{largest}' by {changes[largest]:.0e} in one framework."
    more = {"note": f"{rung.note} {note}".strip(), "equal": rung.equal, "total": rung.total}
    tolerances = {array: FLOAT64_TOLERANCE + OF_NUDGE * changes[array] for array in order}
    return Rung.judged(rung.name, "float64", tolerances, differences(both[1], both[0], order), **more)


def rounded(
    name: str,
    precision: str,
    results: tuple[Arrays, Arrays],
    exact_results: tuple[Arrays, Arrays],
    terms: Callable[[str], float],
) -> Rung:
    """Judge what both engines computed in a precision, given what they compute in float64.

    The tolerance of each array follows from the number of `terms` that are rounded, and from the smaller of the
    engines' distances from their own float64 results.
    """
    ours, theirs = results
    apart = differences(theirs, ours, ours, small=0.0)
    own = [differences(low, high, ours, small=0.0) for low, high in zip(results, exact_results, strict=True)]
    tolerances = {
        array: OF_TERMS * UNITS[precision] * sqrt(terms(array)) + OF_OWN * min(distance[array][0] for distance in own)
        for array in apart
    }
    return Rung.judged(name, precision, tolerances, apart)


def forward(ladder: Ladder, weights: Arrays) -> Iterator[Rung]:
    """Compare layers, loss and gradients of one batch in float64, from equal weights."""
    ladder.on_step("comparing layers and gradients in float64")
    spec = ladder.spec
    ladder.ask(partial(_build, spec, "float64", weights))
    read = dict(zip(engines.NAMES, ladder.ask(lambda session: session.read_weights()), strict=True))
    ours = {f"{engine}/{name}": array for engine, arrays in read.items() for name, array in arrays.items()}
    expected = {f"{engine}/{name}": array for engine in read for name, array in weights.items()}
    yield Rung.judged("weights round trip", "float64", 0.0, differences(ours, expected, expected))
    (batch,) = samples.batches(spec, 1, samples.SAMPLES, ladder.seed)
    order = [layer.name for layer in spec.layers]
    # Gradients flow back from the logits, so the last layer that differs is the first that is wrong.
    slopes = [array.name for array in reversed(spec.trainable)]
    for name, compute, names in (
        ("forward pass in evaluation", _evaluation, [*order, "logits"]),
        ("forward pass in training", lambda session, batch: session.layer_outputs(batch.images, True), order),
        ("loss", lambda session, batch: {"loss": np.array(session.gradients(batch)[0])}, ["loss"]),
        ("gradients", lambda session, batch: session.gradients(batch)[1], slopes),
    ):
        both = ladder.ask(partial(compute, batch=batch))
        rung = Rung.judged(name, "float64", FLOAT64_TOLERANCE, differences(both[1], both[0], names))
        yield conditioned(rung, both, names, partial(_nudged, ladder, weights, partial(compute, batch=batch)))


def _evaluation(session: Session, batch: Batch) -> Arrays:
    return {**session.layer_outputs(batch.images, False), "logits": session.predict(batch.images)}


def _nudged(ladder: Ladder, weights: Arrays, compute: Callable[[Session], Arrays]) -> tuple[Arrays, Arrays]:
    """Return what both engines compute from nudged weights."""
    ladder.ask(lambda session: session.load_weights(samples.nudged(weights)))
    both = ladder.ask(compute)
    ladder.ask(lambda session: session.load_weights(weights))
    return both


def alone(ladder: Ladder, precisions: Sequence[str]) -> Iterator[Rung]:
    """Compare each layer by itself, given the same inputs of many sizes, forward and backward, in each precision."""
    spec = ladder.spec
    longest = {layer.name: _longest_sum(spec, layer.name) for layer in spec.layers}
    both: dict[str, tuple[Arrays, Arrays]] = {}
    exact_outputs: tuple[Arrays, Arrays] | None = None

    def terms(array: str) -> float:
        return longest[array.partition("/")[0]]

    for precision in dict.fromkeys(("float64", *precisions)):
        ladder.on_step(f"comparing each layer alone in {precision}")
        both[precision] = ladder.run(worker.layers_alone, spec, precision, ladder.seed)
        ours, theirs = both[precision]
        if precision == "float64":
            yield exact("each layer alone", ours, theirs, ours)
        else:
            exact_outputs = exact_outputs or _outputs(ladder, "float64")
            yield formats(spec, precision, _outputs(ladder, precision), exact_outputs)
            yield rounded("each layer alone", precision, both[precision], both["float64"], terms)


def _longest_sum(spec: ModelSpec, name: str) -> int:
    """Return the most terms of a sum that a layer may compute, forward or backward."""
    layer = spec.layer(name)
    shapes = [spec.shapes[one] for one in (*layer.inputs, name)]
    fans = [max(array.fan_in, array.fan_out) for array in spec.arrays if spec.owner(array) is layer]
    return max(*(samples.SAMPLES * prod(shape[:-1]) for shape in shapes), *(shape[-1] for shape in shapes), *fans)


def _outputs(ladder: Ladder, precision: str) -> tuple[Arrays, Arrays]:
    """Return both engines' outputs of every layer in training, and their losses of two batches."""
    batches = samples.batches(ladder.spec, 2, samples.SAMPLES, ladder.seed)
    ladder.ask(partial(_build, ladder.spec, precision, samples.weights(ladder.spec, ladder.seed)))
    return ladder.ask(
        lambda session: {
            **session.layer_outputs(batches[0].images, True),
            "loss": np.array([session.gradients(batch)[0] for batch in batches]),
        }
    )


def formats(spec: ModelSpec, precision: str, both: tuple[Arrays, Arrays], exact_outputs: tuple[Arrays, Arrays]) -> Rung:
    """Check that every layer and the loss are computed in the format they should: their numbers show it."""
    apart, wrong = {}, []
    ends = (spec.layers[0].name, spec.layers[-1].name, "loss")
    for name in (*(layer.name for layer in spec.layers), "loss"):
        expected = "float32" if name in ends else precision
        apart[name] = (0.0, 0.0)
        for engine, outputs, precise in zip(engines.NAMES, both, exact_outputs, strict=True):
            shorter = [one for one in ("float16", "bfloat16") if BITS[one] < BITS[expected]]
            used = _formats(outputs[name])
            informative = not any(one in _formats(precise[name]) for one in shorter)
            if expected not in used or (informative and any(one in used for one in shorter)):
                apart[name] = (np.inf, np.inf)
                got = min(used, key=lambda one: BITS[one])
                wrong.append(f"{engine}: '{name}' is computed in {got}, expected {expected}.")
    return Rung.judged("number formats", precision, 0.0, apart, note=" ".join(wrong[:3]))


def _build(spec: ModelSpec, precision: str, weights: Arrays, session: Session) -> None:
    session.build(spec, precision)
    session.load_weights(weights)


def _formats(values: np.ndarray) -> list[str]:
    """Return the formats that hold all values exactly."""
    single = values.astype(np.float32)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    fits = {
        "float16": bool(np.array_equal(half, values)),
        "bfloat16": bool(np.array_equal(single, values) and not (single.view(np.uint32) & 0xFFFF).any()),
        "float32": bool(np.array_equal(single, values)),
    }
    return [name for name, holds in fits.items() if holds] + ["float64"]


def dropout(ladder: Ladder, spec: ModelSpec) -> Rung:
    """Compare the dropout masks of both engines with the reference in NumPy, in several steps."""
    ours, expected = {}, {}
    for engine, drawn in zip(engines.NAMES, ladder.run(worker.dropped, spec, MASK_STEPS), strict=True):
        ours.update({f"{name}: {engine}": array for name, array in drawn.items()})
    for layer in (layer for layer in spec.layers if isinstance(layer, Dropout)):
        for step in MASK_STEPS:
            shape = spec.shapes[layer.name]
            kept = masks.keep(layer, shape, samples.SAMPLES, 0, step) / (1.0 - layer.rate)
            for engine in engines.NAMES:
                for what in ("", "gradient in "):
                    name = f"{layer.name}/{what}step {step + 1}: {engine}"
                    expected[name] = np.broadcast_to(kept, (samples.SAMPLES, *shape))
    return Rung.judged("dropout masks", "float64", FLOAT64_TOLERANCE, differences(ours, expected, expected))


def updates(ladder: Ladder, precisions: Iterable[str]) -> Iterator[Rung]:
    """Compare every update rule: twice on the model's own arrays, and for many steps on a small model's."""
    rules = update_recipes(ladder.optimizers, ladder.recipe)
    many = sorted({1, 2, min(30, ladder.steps), ladder.steps})
    stages = {"two updates": (ladder.spec, [1, 2])} if rules else {}
    stages |= {f"{ladder.steps} updates of a small model": (small_model(False), many)} if rules else {}
    for name, (spec, steps) in stages.items():
        ladder.on_step(f"comparing {name} with each optimizer")
        exact_results = ladder.run(worker.updated, spec, rules, "float64", ladder.seed, steps)
        for precision in precisions:
            if precision == "float64":
                yield exact(name, *exact_results, exact_results[0])
                continue
            # In float16, weights and updates are float32; only the gradients are scaled.
            recipes = {SCALED: replace(PLAIN, precision="float16")} if precision == "float16" else rules
            both = ladder.run(worker.updated, spec, recipes, "float32", ladder.seed, steps)
            high = both if precision == "float16" else exact_results
            rung = rounded(name, "float32", both, high, partial(_terms_of_update, spec, recipes))
            yield replace(rung, precision=precision)


def _terms_of_update(spec: ModelSpec, recipes: Mapping[str, Recipe], array: str) -> float:
    """Return the square of the number of roundings after some updates; `array` is `<rule>/step <n>/<array>`."""
    rule, stage, _ = array.split("/", 2)
    # TensorFlow's fused kernel computes 1 − beta2 in the weights' format; the global norm is a long sum.
    complement = 1.0 - recipes[rule].beta2 if rule.startswith("adam") else 1.0
    clipped = spec.num_parameters if recipes[rule].clip_norm else 0
    return (int(stage.removeprefix("step ")) + 1.0 / complement) ** 2 + clipped
