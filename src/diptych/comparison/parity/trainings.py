"""Trainings on the ladder: of a small model for each feature of a recipe, and of the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from diptych.comparison.parity import samples, worker
from diptych.comparison.parity.certificate import Rung, differences
from diptych.comparison.parity.features import FEATURES, NUM_IMAGES, PLAIN, recipe_with, small_model, uses
from diptych.comparison.parity.rungs import Both, Ladder, exact, rounded
from diptych.engines.contract import Arrays
from diptych.spec.init import initial_weights
from diptych.spec.layers import Dropout
from diptych.spec.recipe import Precision
from diptych.training.trainer import Job

# Relative difference of weights from which trainings count as parted.
PARTED = 1e-3
STAGES = (1, 2, 16)
NUM_STEPS = 6


def features(ladder: Ladder) -> Iterator[Rung]:
    """Compare trainings of the small model, one for each feature of a recipe."""
    own, dropout = ladder.recipe, any(isinstance(layer, Dropout) and layer.rate for layer in ladder.spec.layers)
    recipes = {"plain SGD": PLAIN}
    recipes |= {name: recipe_with(name, own) for name in FEATURES if own is None or uses(own, name)}
    recipes |= {"dropout": replace(PLAIN, epochs=8)} if own is None or dropout else {}
    for name, recipe in recipes.items():
        ladder.on_step(f"training a small model with {name}")
        spec = small_model(name == "dropout")
        job = Job(spec, recipe, samples.digits(spec, recipe, ladder.seed, NUM_IMAGES), ladder.seed + 1, workers=0)
        yield exact(f"training with {name}", ladder.run(worker.trained, job, 1000, (1, 2)))


def reduced(ladder: Ladder) -> Iterator[Rung]:
    """Compare how far a training of the small model moves its weights, in other precisions than float64."""
    spec, moved = small_model(False), dict[str, Both]()
    start = initial_weights(spec.arrays, ladder.seed)
    for precision in dict.fromkeys(("float64", *ladder.precisions)):
        ladder.on_step(f"training a small model in {precision}")
        recipe = replace(PLAIN, precision=cast(Precision, precision))
        job = Job(spec, recipe, samples.digits(spec, recipe, ladder.seed, NUM_IMAGES), ladder.seed, workers=0)
        both = ladder.run(worker.trained, job, NUM_STEPS)
        ours, theirs = ({name: one[f"saved/{name}"] - start[name] for name in start} for one in both)
        moved[precision] = ours, theirs
        if precision != "float64":
            terms = dict.fromkeys(start, (2.0 * NUM_STEPS) ** 2)
            yield rounded("training", precision, moved[precision], moved["float64"], terms)


def whole(ladder: Ladder, job: Job, num_steps: int) -> Rung:
    """Train the model itself in float64 with a whole recipe, and compare everything that it returns."""
    data = job.dataset
    ladder.on_step(f"training {num_steps} steps on {data.name} in float64")

    def train(weights: Arrays) -> Both:
        exact_job = replace(job, recipe=replace(job.recipe, precision="float64"), weights=weights)
        return ladder.run(worker.trained, exact_job, num_steps, STAGES)

    start = initial_weights(job.spec.arrays, job.seed) if job.weights is None else job.weights
    both = train(start)
    equal, total = _equal(both), len(data.test)
    accuracies = " and ".join(f"{(one['logits'].argmax(1) == data.test.labels).mean():.3f}" for one in both)
    note = f"float64: {equal} of {total} test predictions are equal after {num_steps} steps; accuracy {accuracies}."
    more: dict[str, Any] = {"note": note, "equal": equal, "total": total}
    return exact(f"training on {data.name}", both, lambda: train(samples.nudged(start)), **more)


def drift(ladder: Ladder, job: Job, num_steps: int) -> tuple[Rung, list[dict[str, float]]]:
    """Train the model itself in float32, where rounding alone parts trainings; PyTorch twice, with other threads."""
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
    taken = sorted({int(name.split("/")[0].removeprefix("step ")) for name in both[0] if name.startswith("step ")})
    gaps = [[_distance(step, *arrays) for step in taken] for arrays in pairs]
    rows = [{"step": step, "engines": one, "threads": other} for step, one, other in zip(taken, *gaps, strict=True)]
    parted = [f", and by more than {PARTED:.0e} from step {row['step']}" for row in rows if row["engines"] > PARTED]
    note = (
        f"float32: {_equal(pairs[0])} of {len(job.dataset.test)} test predictions are equal; weights differ by "
        f"{gaps[0][0]:.0e} after step 1, {gaps[0][-1]:.0e} after {taken[-1]}{''.join(parted[:1])}. PyTorch with "
        f"{threads} and {others} threads: {_equal(pairs[1])} are equal; weights differ by {gaps[1][0]:.0e} and "
        f"{gaps[1][-1]:.0e}."
    )
    apart = {"weights": (gaps[0][-1], 0.0)}
    return Rung.judged(f"training on {job.dataset.name}", "float32", None, apart, note=note), rows


def _equal(both: Both) -> int:
    """Return the number of equal predictions."""
    return int((both[0]["logits"].argmax(1) == both[1]["logits"].argmax(1)).sum())


def _distance(step: int, ours: Arrays, theirs: Arrays) -> float:
    """Return the relative difference of all weights together after a step."""
    names = [name for name in ours if name.startswith(f"step {step}/")]
    first, second = (np.concatenate([arrays[name].ravel() for name in names]) for arrays in (ours, theirs))
    return differences({"": second}, {"": first})[""][0]
