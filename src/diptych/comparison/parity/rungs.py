"""The comparisons of layers, gradients and updates, and the tolerances that rounding requires."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from math import prod, sqrt
from typing import Any, TypeAlias, TypeVar

import numpy as np

from diptych import engines
from diptych.comparison.parity import samples, worker
from diptych.comparison.parity.certificate import SMALL, Rung, differences
from diptych.comparison.parity.features import small_model, update_recipes
from diptych.engines import masks
from diptych.engines.contract import Arrays
from diptych.engines.session import Session
from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import BatchNorm, Dropout, GlobalAvgPool
from diptych.spec.recipe import Rule

T = TypeVar("T")
Pair: TypeAlias = tuple[Session, Session]
"""A worker process of each engine, in the order of `engines.NAMES`."""
Both: TypeAlias = tuple[Arrays, Arrays]
"""What both engines computed."""
Computed: TypeAlias = tuple[Mapping[str, Arrays], Mapping[str, Arrays]]

# In float64, correct implementations differ by 1e-15 to 1e-11, and incorrect ones by far more.
FLOAT64_TOLERANCE = 1e-9
# Significant bits, and the largest relative error of rounding to them.
BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
UNITS = {precision: 2.0**-bits for precision, bits in BITS.items()}
# The rounding error of a sum of n terms is about √n units. The largest differences measured for a layer of the zoo were
# 1.1 √n in float32 and 0.24 √n in the others, and 31 times the smaller of the engines' distances from float64.
OF_TERMS, OF_OWN = {"float32": 8.0}, 16.0
OF_NUDGE = 100.0
CERTAIN_BITS = 24
MASK_STEPS = (0, 1, 2, 70_000)


@dataclass(frozen=True)
class Ladder:
    """The inputs of every rung."""

    pair: Pair
    spec: ModelSpec
    recipe: Recipe | None
    """The recipe whose features are tested; None to test all."""
    optimizers: Sequence[Rule]
    precisions: Sequence[str]
    seed: int
    steps: int
    on_step: Callable[[str], None]

    @property
    def drops(self) -> bool:
        """Whether the model has dropout."""
        return any(isinstance(layer, Dropout) and layer.rate > 0 for layer in self.spec.layers)

    def run(self, function: Callable[..., T], *args: object) -> tuple[T, T]:
        """Return the results of a function of `worker` with both engines, which compute at the same time."""
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(lambda session: session.run(function, *args), self.pair)
        return first, second


def exact(
    name: str, both: Both, repeated: Callable[[bool], Both] | None = None, small: float = SMALL, **more: Any
) -> Rung:
    """Judge what both engines computed in float64.

    A model can amplify rounding errors. If the comparison fails, `repeated` therefore computes the arrays twice more:
    from the same weights, which must give the same arrays, and from weights that differ in their last bit. The
    tolerance of each array is then OF_NUDGE times the change that this bit causes in one engine. (The gradient of a
    bias before a norm, for example, consists of rounding errors.)
    """
    apart = differences(both[1], both[0], small)
    rung = Rung.judged(name, "float64", FLOAT64_TOLERANCE, apart, **more)
    if repeated is None or not rung.departs_at:
        return rung
    again = [differences(repeat, arrays) for repeat, arrays in zip(repeated(False), both, strict=True)]
    if any(gap for changes in again for gap, _ in changes.values()):
        return replace(rung, note=f"{rung.note} {name}: a framework returned different arrays when repeated.".strip())
    own = [differences(again, arrays) for again, arrays in zip(repeated(True), both, strict=True)]
    changes = {array: max(one[array][0] for one in own) for array in apart}
    # A NaN can come from a fault in one engine, so it does not raise the tolerance.
    changes = {array: change if np.isfinite(change) else 0.0 for array, change in changes.items()}
    largest = max(changes, key=lambda array: changes[array])
    note = (
        f"{name}: changing the last bit of the weights changes '{largest}' by {changes[largest]:.0e} in one framework."
    )
    tolerances = {array: FLOAT64_TOLERANCE + OF_NUDGE * change for array, change in changes.items()}
    return Rung.judged(name, "float64", tolerances, apart, **more | {"note": f"{rung.note} {note}".strip()})


def rounded(name: str, precision: str, results: Both, exact_results: Both, terms: Mapping[str, float]) -> Rung:
    """Judge what both engines computed in a number format, given what they compute in float64.

    The tolerance of each array follows from the number of `terms` that are rounded, and from the smaller of the
    engines' distances from their own float64 results.
    """
    apart = differences(results[1], results[0], small=0.0)
    own = [differences(high, low, small=0.0) for low, high in zip(results, exact_results, strict=True)]
    smaller = {array: min(distance[array][0] for distance in own) for array in apart}
    unit = OF_TERMS.get(precision, 1.0) * UNITS[precision]
    tolerances = {array: unit * sqrt(terms[array] + 16) + OF_OWN * smaller[array] for array in apart}
    return Rung.judged(name, precision, tolerances, apart)


def reference(name: str, both: Both, expected: Arrays, label: str, tolerance: float) -> Rung:
    """Compare each engine's arrays with the expected ones; `label` names an {array} of an {engine}."""
    apart = {
        label.format(engine=engine, array=array): gap
        for engine, arrays in zip(engines.NAMES, both, strict=True)
        for array, gap in differences(arrays, expected).items()
    }
    return Rung.judged(name, "float64", tolerance, apart)


def model(ladder: Ladder) -> Iterator[Rung]:
    """Compare the whole model on one batch in float64, and each layer alone in every number format."""
    spec, weights = ladder.spec, samples.weights(ladder.spec, ladder.seed)

    def whole(precision: str, weights: Arrays) -> Computed:
        return ladder.run(worker.whole_model, spec, precision, weights, ladder.seed)

    ladder.on_step("comparing layers and gradients in float64")
    computed = whole("float64", weights)
    if "float64" in ladder.precisions:
        yield reference("weights round trip", _of(computed, "weights"), weights, "{engine}/{array}", 0.0)
        repeated = cache(lambda nudged: whole("float64", samples.nudged(weights) if nudged else weights))
        for name in worker.COMPUTED:
            yield exact(name, _of(computed, name), partial(lambda name, nudged: _of(repeated(nudged), name), name))
    exact_results = ladder.run(worker.layers_alone, spec, "float64", ladder.seed)
    if "float64" in ladder.precisions:
        yield exact("each layer alone", exact_results, small=0.0)
    for precision in ladder.precisions:
        if precision != "float64":
            ladder.on_step(f"comparing each layer alone in {precision}")
            results = ladder.run(worker.layers_alone, spec, precision, ladder.seed)
            yield formats(spec, precision, whole(precision, weights), computed, (results, exact_results))
            terms = {array: _length(spec, array, precision) for array in results[0]}
            yield rounded("each layer alone", precision, results, exact_results, terms)


def _of(computed: Computed, name: str) -> Both:
    return computed[0][name], computed[1][name]


def _length(spec: ModelSpec, array: str, precision: str) -> float:
    """Return the number of terms in the sums of an array of `layers_alone` that are rounded to a number format."""
    name, _, what = array.partition("/")
    layer = spec.layer(name)
    areas = [samples.SAMPLES * prod(spec.shapes[one][:-1]) for one in (*layer.inputs, name)]
    owned = [one for one in spec.arrays if spec.owner(one) is layer]
    if isinstance(layer, BatchNorm) and what.endswith("weight"):
        return 16.0 * max(areas)  # the sum of a slope times a normalized value often cancels
    if isinstance(layer, BatchNorm) or what in ("weight", "bias"):
        return max(areas)
    if not owned:
        return max(areas) if isinstance(layer, GlobalAvgPool) else prod(getattr(layer, "kernel", (1,)))
    # In reduced precision, convolutions and products are summed in float32.
    fan = owned[0].fan_in if what == "output" else owned[0].fan_out
    return fan if precision == "float32" else 1.0


def formats(
    spec: ModelSpec, precision: str, computed: Computed, exact_computed: Computed, alone: tuple[Both, Both]
) -> Rung:
    """Check from their values that layers, running statistics and the loss are computed in the right format."""
    both, precise_both = (
        [found[worker.TRAINING] | {"loss": found["loss"]["loss"]} | _statistics(arrays) for found, arrays in pairs]
        for pairs in (zip(computed, alone[0], strict=True), zip(exact_computed, alone[1], strict=True))
    )
    apart, wrong, reduced = {}, [], {layer.name for layer in spec.layers[1:-1]}
    for name in both[0]:
        expected = precision if name in reduced else "float32"
        shorter = {one for one in ("float16", "bfloat16") if BITS[one] < BITS[expected]}
        if name == spec.layers[-1].name and name not in {spec.owner(array).name for array in spec.arrays}:
            shorter = set()  # it may return its inputs
        apart[name] = (0.0, 0.0)
        for engine, outputs, precise in zip(engines.NAMES, both, precise_both, strict=True):
            used = _formats(outputs[name])
            # A number fits a format with n fewer bits by chance with probability 2⁻ⁿ.
            spare = BITS[expected] - max(map(BITS.__getitem__, shorter), default=0)
            by_chance = np.unique(precise[name]).size * spare < CERTAIN_BITS
            informative = not by_chance and not shorter & _formats(precise[name])
            if expected not in used or (informative and shorter & used):
                apart[name] = (np.inf, np.inf)
                got = min(used, key=lambda one: BITS[one])
                wrong.append(f"{engine}: '{name}' is computed in {got}, expected {expected}.")
    return Rung.judged("number formats", precision, 0.0, apart, note=" ".join(wrong[:3]))


def _statistics(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if "/training/running_" in name}


def _formats(values: np.ndarray) -> set[str]:
    """Return the formats that hold all values exactly."""
    single = values.astype(np.float32)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    fits = {
        "float16": bool(np.array_equal(half, values)),
        "bfloat16": bool(np.array_equal(single, values) and not (single.view(np.uint32) & 0xFFFF).any()),
        "float32": bool(np.array_equal(single, values)),
    }
    return {"float64"} | {name for name, holds in fits.items() if holds}


def dropout(ladder: Ladder) -> Iterator[Rung]:
    """Compare the dropout masks of both engines with the reference in NumPy, in several steps."""
    if "float64" not in ladder.precisions or (ladder.recipe and not ladder.drops):
        return
    spec, expected = ladder.spec if ladder.drops else small_model(True), {}
    for layer in (layer for layer in spec.layers if isinstance(layer, Dropout)):
        shape = spec.shapes[layer.name]
        for step in MASK_STEPS:
            kept = masks.keep(layer, shape, samples.SAMPLES, 0, step) / (1.0 - layer.rate)
            for what in ("", "gradient in "):
                expected[f"{layer.name}/{what}step {step + 1}"] = np.broadcast_to(kept, (samples.SAMPLES, *shape))
    both = ladder.run(worker.dropped, spec, MASK_STEPS)
    yield reference("dropout masks", both, expected, "{array}: {engine}", FLOAT64_TOLERANCE)


def updates(ladder: Ladder) -> Iterator[Rung]:
    """Compare every update rule: two updates of the model, and many updates of a small model."""
    rules = update_recipes(ladder.optimizers, ladder.recipe)
    many = sorted({1, 2, min(30, ladder.steps), ladder.steps})
    stages = {"two updates": (ladder.spec, [1, 2])} if rules else {}
    stages |= {f"{ladder.steps} updates of a small model": (small_model(False), many)} if rules else {}
    # In bfloat16, the weights that an optimizer updates are float32.
    formats = dict.fromkeys("float32" if precision == "bfloat16" else precision for precision in ladder.precisions)
    for name, (spec, steps) in stages.items():
        ladder.on_step(f"comparing {name} with each optimizer")
        exact_results = ladder.run(worker.updated, spec, rules, "float64", ladder.seed, steps)
        for precision in formats:
            if precision == "float64":
                yield exact(name, exact_results, small=0.0)
                continue
            # In float16, weights and updates are float32; only the gradients are scaled.
            is_scaled = precision == "float16"
            scaled = {f"{rule} with a loss scale": replace(one, precision="float16") for rule, one in rules.items()}
            recipes = scaled if is_scaled else rules
            both = ladder.run(worker.updated, spec, recipes, "float32", ladder.seed, steps)
            high = both if is_scaled else exact_results
            terms = {array: _terms_of_update(spec, recipes, array) for array in both[0]}
            yield replace(rounded(name, "float32", both, high, terms), precision=precision)


def _terms_of_update(spec: ModelSpec, recipes: Mapping[str, Recipe], array: str) -> float:
    """Return the square of the number of roundings after some updates; `array` is `<rule>/step <n>/<array>`."""
    rule, stage, _ = array.split("/", 2)
    # TensorFlow's fused kernel computes 1 − beta2 in the weights' format; the global norm is a long sum.
    complement = 1.0 - recipes[rule].beta2 if rule.startswith("adam") else 1.0
    clipped = spec.num_parameters if recipes[rule].clip_norm else 0
    return (int(stage.removeprefix("step ")) + 1.0 / complement) ** 2 + clipped
