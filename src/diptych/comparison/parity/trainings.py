"""Comparisons of trainings: of a small model for each feature of a recipe, and of the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from diptych.comparison.parity import samples, worker
from diptych.comparison.parity.certificate import Rung
from diptych.comparison.parity.features import FEATURES, NUM_IMAGES, PLAIN, recipe_with, small_model, uses
from diptych.comparison.parity.rungs import Both, Ladder, exact, rounded
from diptych.engines.contract import Arrays
from diptych.errors import EngineError
from diptych.spec.init import initial_weights
from diptych.spec.recipe import Precision
from diptych.training.trainer import Job

# Relative difference of weights beyond which trainings have drifted apart.
DRIFTED = 1e-3
STAGES = (1, 2, 16)
MOST_STEPS = 1000
# Those of `PLAIN`.
NUM_STEPS = 6


def small(ladder: Ladder) -> Iterator[Rung]:
    """Compare trainings of a small model: with each feature of a recipe, and changes of weights in other formats."""
    own = ladder.recipe
    used = [name for name in FEATURES if own is None or uses(own, name)]
    recipes = {"with plain SGD": PLAIN, **{f"with {name}": recipe_with(name, own) for name in used}}
    recipes |= {"with dropout": replace(PLAIN, epochs=8)} if own is None or ladder.drops else {}
    others = [cast(Precision, precision) for precision in ladder.precisions if precision != "float64"]
    recipes |= {f"in {precision}": replace(PLAIN, precision=precision) for precision in others}
    start, moved = initial_weights(small_model(False).arrays, ladder.seed + 1), dict[str, Both]()
    del start["conv.bias"]  # before a norm: its gradient consists of rounding errors
    for name, recipe in recipes.items():
        ladder.on_step(f"training a small model {name}")
        spec = small_model(name == "with dropout")
        job = Job(spec, recipe, samples.digits(spec, recipe, ladder.seed, NUM_IMAGES), ladder.seed + 1, workers=0)
        both = ladder.run(worker.trained, job, MOST_STEPS, (1, 2))
        ours, theirs = ({array: one[f"saved/{array}"] - start[array] for array in start} for one in both)
        moved[name] = ours, theirs
        if recipe.precision == "float64":
            yield exact(f"training {name}", both)
        else:
            terms = dict.fromkeys(start, (8.0 * NUM_STEPS) ** 2)
            yield rounded("training", recipe.precision, moved[name], moved["with plain SGD"], terms)


def whole(ladder: Ladder, job: Job, num_steps: int) -> tuple[Rung, int]:
    """Train the model in float64 with a whole recipe, and compare everything that this returns.

    Also returns the number of steps, which early stopping can reduce. Raises EngineError if both trainings diverge.
    """
    data = job.dataset
    ladder.on_step(f"training {num_steps} steps on {data.name} in float64")
    start = initial_weights(job.spec.arrays, job.seed) if job.weights is None else job.weights

    def train(nudged: bool) -> Both:
        weights = samples.nudged(start) if nudged else start
        exact_job = replace(job, recipe=replace(job.recipe, precision="float64"), weights=weights)
        return ladder.run(worker.trained, exact_job, num_steps, STAGES)

    both = train(False)
    if not any(np.isfinite(one["logits"]).all() for one in both):
        raise EngineError("Training diverges in both frameworks; lower the learning rate or clip gradients.")
    equal, total, taken = _equal(both), len(data.test), _steps(both[0])[-1]
    accuracies = " and ".join(f"{(one['logits'].argmax(1) == data.test.labels).mean():.3f}" for one in both)
    note = f"float64: {equal} of {total} test predictions are equal after {taken} steps; accuracy {accuracies}."
    more: dict[str, Any] = {"note": note, "equal": equal, "total": total}
    return exact(f"training on {data.name}", both, train, **more), taken


def drift(ladder: Ladder, job: Job, num_steps: int) -> tuple[Rung, list[dict[str, float]]]:
    """Measure how far float32 trainings drift apart: between frameworks, and in PyTorch between numbers of threads."""
    ladder.on_step(f"training {num_steps} steps on {job.dataset.name} in float32, PyTorch twice")
    job = replace(job, recipe=replace(job.recipe, precision="float32"))
    stages = (*(2**power for power in range(num_steps.bit_length())), num_steps)
    both = ladder.run(worker.trained, job, num_steps, stages)
    torch = ladder.pair[0]
    threads = torch.runtime()["threads"]
    others = 1 if threads > 1 else 2
    torch.configure(others)
    pairs = both, (both[0], torch.run(worker.trained, job, num_steps, stages))
    torch.configure(threads)
    taken = _steps(both[0])
    gaps = [[_distance(step, *arrays) for step in taken] for arrays in pairs]
    rows = [{"step": step, "engines": one, "threads": other} for step, one, other in zip(taken, *gaps, strict=True)]
    since = [f", and by more than {DRIFTED:.0e} from step {row['step']}" for row in rows if row["engines"] > DRIFTED]
    note = (
        f"float32: {_equal(pairs[0])} of {len(job.dataset.test)} test predictions are equal; weights differ by "
        f"{gaps[0][0]:.0e} after step 1, {gaps[0][-1]:.0e} after {taken[-1]}{''.join(since[:1])}. PyTorch with "
        f"{threads} and {others} threads: {_equal(pairs[1])} are equal; weights differ by {gaps[1][0]:.0e} and "
        f"{gaps[1][-1]:.0e}."
    )
    apart = {"weights": (gaps[0][-1], 0.0)}
    return Rung.judged(f"training on {job.dataset.name}", "float32", None, apart, note=note), rows


def _steps(arrays: Arrays) -> list[int]:
    """Return the steps after which weights were recorded."""
    return sorted({int(name.split("/")[0].removeprefix("step ")) for name in arrays if name.startswith("step ")})


def _equal(both: Both) -> int:
    """Return the number of equal predictions."""
    return int((both[0]["logits"].argmax(1) == both[1]["logits"].argmax(1)).sum())


def _distance(step: int, ours: Arrays, theirs: Arrays) -> float:
    """Return the relative difference of all weights together after a step."""
    names = [name for name in ours if name.startswith(f"step {step}/")]
    first, second = (np.concatenate([arrays[name].ravel() for name in names]) for arrays in (ours, theirs))
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))
