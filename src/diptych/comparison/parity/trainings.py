"""Trainings on the ladder: of a small model for each feature of a recipe, and of the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from diptych.comparison.parity import samples, worker
from diptych.comparison.parity.certificate import Drift, Rung, differences
from diptych.comparison.parity.features import FEATURES, NUM_IMAGES, PLAIN, recipe_with, small_model, uses
from diptych.comparison.parity.rungs import FLOAT64_TOLERANCE, Ladder, conditioned, rounded
from diptych.comparison.parity.worker import Training
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
        yield _same_training(f"training with {name}", ladder.run(worker.trained, job, 1000, (1, 2)))


def reduced(ladder: Ladder, precisions: Sequence[str]) -> Iterator[Rung]:
    """Compare how far a training of the small model moves its weights, in other precisions than float64."""
    found: dict[str, tuple[Arrays, Arrays]] = {}
    spec, start = small_model(False), initial_weights(small_model(False).arrays, ladder.seed)
    for precision in dict.fromkeys(("float64", *precisions)):
        ladder.on_step(f"training a small model in {precision}")
        recipe = replace(PLAIN, precision=cast(Precision, precision))
        job = Job(spec, recipe, samples.digits(spec, recipe, ladder.seed, NUM_IMAGES), ladder.seed, workers=0)
        both = ladder.run(worker.trained, job, NUM_STEPS)
        ours, theirs = ({name: one.weights[0][name] - start[name] for name in start} for one in both)
        found[precision] = ours, theirs
        if precision != "float64":
            yield rounded("training", precision, found[precision], found["float64"], lambda array: (2 * NUM_STEPS) ** 2)


def _same_training(name: str, both: tuple[Training, Training], **more: object) -> Rung:
    """Judge two trainings in float64: weights by step, history and predictions."""
    ours, theirs = map(_arrays, both)
    return Rung.judged(name, "float64", FLOAT64_TOLERANCE, differences(theirs, ours, ours), **more)


def _arrays(training: Training) -> Arrays:
    found = {"best epoch": np.array(training.best_epoch), "logits": training.logits_nk}
    for step, arrays in training.weights.items():
        found |= {f"{f'step {step}' if step else 'saved'}/{name}": array for name, array in arrays.items()}
    for record in training.epochs:
        for field in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            if record[field] is not None:
                found[f"epoch {record['epoch']}/{field}"] = np.array(record[field])
    return found


def whole(ladder: Ladder, job: Job, num_steps: int) -> Rung:
    """Train the model itself in float64 with a whole recipe, and compare everything that it returns."""
    data = job.dataset
    ladder.on_step(f"training {num_steps} steps on {data.name} in float64")
    exact_job = replace(job, recipe=replace(job.recipe, precision="float64"))
    both = ladder.run(worker.trained, exact_job, num_steps, STAGES)
    equal, labels = _equal(both), data.test.labels
    accuracies = " and ".join(f"{(one.logits_nk.argmax(1) == labels).mean():.3f}" for one in both)
    total = len(labels)
    note = f"float64: {equal} of {total} test predictions are equal after {num_steps} steps; accuracy {accuracies}."
    rung = _same_training(f"training on {data.name}", both, note=note, equal=equal, total=total)

    def nudged() -> tuple[Arrays, Arrays]:
        start = initial_weights(job.spec.arrays, job.seed) if job.weights is None else job.weights
        again = replace(exact_job, weights=samples.nudged(start))
        ours, theirs = map(_arrays, ladder.run(worker.trained, again, num_steps, STAGES))
        return ours, theirs

    ours, theirs = map(_arrays, both)
    return conditioned(rung, (ours, theirs), [*ours], nudged)


def drift(ladder: Ladder, job: Job, num_steps: int) -> tuple[Rung, tuple[Drift, ...]]:
    """Train the model itself in float32, where rounding alone parts trainings; PyTorch twice, with other threads."""
    ladder.on_step(f"training {num_steps} steps on {job.dataset.name} in float32, PyTorch twice")
    job = replace(job, recipe=replace(job.recipe, precision="float32"))
    stages = (*(2**power for power in range(num_steps.bit_length())), num_steps)
    both = ladder.run(worker.trained, job, num_steps, stages)
    torch = ladder.pair[0]
    threads = torch.runtime()["threads"]
    others = 1 if threads > 1 else 2
    pairs = both, (both[0], torch.run(worker.trained, job, num_steps, stages, others))
    torch.configure(threads)
    taken = sorted(step for step in both[0].weights if step)
    gaps = [[_distance(ours.weights[step], theirs.weights[step]) for step in taken] for ours, theirs in pairs]
    rows = tuple(Drift(*row) for row in zip(taken, *gaps, strict=True))
    parted = next((f", and by more than {PARTED:.0e} from step {row.step}" for row in rows if row.engines > PARTED), "")
    note = (
        f"float32: {_equal(pairs[0])} of {len(job.dataset.test)} test predictions are equal; weights differ by "
        f"{gaps[0][0]:.0e} after step 1, {gaps[0][-1]:.0e} after {taken[-1]}{parted}. PyTorch with {threads} and "
        f"{others} threads: {_equal(pairs[1])} are equal; weights differ by {gaps[1][0]:.0e} and {gaps[1][-1]:.0e}."
    )
    apart = {"weights": (gaps[0][-1], 0.0)}
    return Rung.judged(f"training on {job.dataset.name}", "float32", None, apart, note=note), rows


def _equal(both: tuple[Training, Training]) -> int:
    """Return the number of equal predictions."""
    return int((both[0].logits_nk.argmax(1) == both[1].logits_nk.argmax(1)).sum())


def _distance(ours: Arrays, theirs: Arrays) -> float:
    """Return the relative difference of all weights together."""
    first, second = (np.concatenate([arrays[name].ravel() for name in ours]) for arrays in (ours, theirs))
    return differences({"": second}, {"": first}, [""])[""][0]
