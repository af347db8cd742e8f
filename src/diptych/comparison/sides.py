"""Finished runs as a comparison reads them: sides of one run a seed each, all over the same test set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_json
from diptych.errors import UsageError
from diptych.evaluation.softmax import log_softmax
from diptych.spec import ModelSpec, Recipe
from diptych.training import job

TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
MOST_SIDES = 6


@dataclass(frozen=True, eq=False)
class Answered:
    """A finished run and what it said of the test set."""

    run: Run
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    logits_nk: np.ndarray
    labels_n: np.ndarray

    @classmethod
    def of(cls, run: Run) -> Answered:
        """Read a run's answers.

        Raises:
            UsageError: it is not finished.
        """
        record = run.read_record()
        if record["status"] != "finished":
            raise UsageError(
                f"'{run.directory}' is {record['status']}, not finished; `diptych train --resume` goes on with it."
            )
        predictions = run.read_predictions()
        return cls(run, record, run.read_metrics(), predictions.logits_nk, predictions.labels_n)

    @property
    def seed(self) -> int:
        """Of the training."""
        seed: int = self.record["seed"]
        return seed

    @property
    def engine(self) -> str:
        """Who ended the training."""
        name: str = self.record["engines"][-1]["engine"]
        return name

    @cached_property
    def log_probabilities_nk(self) -> np.ndarray:
        """float64, (N, K)."""
        return log_softmax(self.logits_nk)

    @cached_property
    def probabilities_nk(self) -> np.ndarray:
        """float64, (N, K)."""
        found: np.ndarray = np.exp(self.log_probabilities_nk)
        return found

    @cached_property
    def predicted_n(self) -> np.ndarray:
        """The class of each test image, (N,)."""
        found: np.ndarray = self.logits_nk.argmax(axis=1)
        return found

    @cached_property
    def correct_n(self) -> np.ndarray:
        """Whether it is the true one, (N,)."""
        found: np.ndarray = self.predicted_n == self.labels_n
        return found

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """One record an epoch; of an epoch that was repeated after a crash, the later one."""
        return list({event["epoch"]: event for event in read_events(self.run.events_path, "epoch")}.values())

    @cached_property
    def cost(self) -> dict[str, Any] | None:
        """What was measured of its speed and memory, if anything was."""
        return read_json(self.run.cost_path) if self.run.cost_path.exists() else None

    def value(self, measure: str) -> float:
        """Accuracy, macro_f1, loss or calibration_error on the test set."""
        places = {"macro_f1": ("macro", "f1"), "calibration_error": ("expected_calibration_error",)}
        value: Any = self.metrics
        for key in places.get(measure, (measure,)):
            value = value[key]
        return float(value)


@dataclass(frozen=True, eq=False)
class Side:
    """One of the things compared: runs that differ in their seed alone, in the order of their seeds."""

    name: str
    answers: tuple[Answered, ...]

    @property
    def first(self) -> Answered:
        """Whose settings stand for all."""
        return self.answers[0]

    @cached_property
    def spec(self) -> ModelSpec:
        """The model."""
        return job.spec_of(self.first.record)

    @cached_property
    def recipe(self) -> Recipe:
        """The training."""
        return job.recipe_of(self.first.record)

    @property
    def correct_sn(self) -> np.ndarray:
        """Whether each run is right on each image, (S, N)."""
        return np.stack([answer.correct_n for answer in self.answers])


def grouped(runs: Sequence[Run]) -> list[Side]:
    """Finished runs as sides: those that differ in their seed alone stand together.

    Raises:
        UsageError: there are not at least two sides of as many runs, or their test sets are not the same.
    """
    groups: dict[str, list[Answered]] = {}
    for run in {run.directory.resolve(): run for run in runs}.values():
        answer = Answered.of(run)
        groups.setdefault(_settings(answer), []).append(answer)
    if not 2 <= len(groups) <= MOST_SIDES:
        raise UsageError(
            f"A comparison wants runs of 2 to {MOST_SIDES} different kinds (engine, model or recipe); "
            f"these {len(runs)} are of {len(groups)}."
        )
    ordered = [tuple(sorted(answers, key=lambda answer: answer.seed)) for answers in groups.values()]
    sides = [Side(name, answers) for name, answers in zip(_names(ordered), ordered, strict=True)]
    check(sides)
    return sides


def check(sides: Sequence[Side]) -> None:
    """Refuse sides that cannot be compared.

    Raises:
        UsageError: says why.
    """
    counts = {side.name: len(side.answers) for side in sides}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise UsageError(f"As many runs of each are wanted, one a seed; there are {listed}.")
    reference = sides[0].first
    for answer in (answer for side in sides for answer in side.answers):
        reason = _otherwise_tested(reference, answer)
        if reason:
            raise UsageError(
                f"'{answer.run.directory}' and '{reference.run.directory}' were not tested on the same images: "
                f"{reason}. `diptych evaluate RUN DATA` measures a run on other data."
            )


def paired(sides: Sequence[Side]) -> tuple[int, ...] | None:
    """The seeds, where every side has the same; else None."""
    seeds = {tuple(answer.seed for answer in side.answers) for side in sides}
    return seeds.pop() if len(seeds) == 1 else None


def _settings(answer: Answered) -> str:
    """All that makes a run what it is, apart from its seed."""
    record = answer.record
    return json.dumps([answer.engine, record["spec"]["name"], _shape(record), record["recipe"]], sort_keys=True)


def _shape(record: Mapping[str, Any]) -> Any:
    """The model without its normalisation, which follows the training split and so the seed."""
    layers = [layer for layer in record["spec"]["layers"] if layer["type"] != "Normalize"]
    return [record["spec"]["input_shape"], layers]


def _otherwise_tested(one: Answered, other: Answered) -> str | None:
    first, second = one.record, other.record
    if first["class_names"] != second["class_names"]:
        return "their classes are not the same"
    if len(one.labels_n) != len(other.labels_n):
        return f"{len(one.labels_n):,} and {len(other.labels_n):,} of them"
    if not np.array_equal(one.labels_n, other.labels_n):
        return "their labels are not the same"
    prints = [record["data"].get("test_fingerprint") for record in (first, second)]
    resized = first["preprocessing"] != second["preprocessing"] and first["data"]["data"] == second["data"]["data"]
    if None in prints:
        return None if first["data"]["name"] == second["data"]["name"] else "their data have other names"
    return None if prints[0] == prints[1] or resized else "their pixels are not the same"


def _names(groups: Sequence[tuple[Answered, ...]]) -> list[str]:
    """What tells the sides apart, in words: framework, model, then what the recipes have otherwise."""
    firsts = [answers[0] for answers in groups]
    parts: list[list[str]] = [[] for _ in firsts]
    for values in (
        [TITLES[answer.engine] for answer in firsts],
        [str(answer.record["spec"]["name"]) for answer in firsts],
        *_differing_fields([answer.record["recipe"] for answer in firsts]),
    ):
        if len(set(values)) > 1 and len({tuple(part) for part in parts}) < len(parts):
            for part, value in zip(parts, values, strict=True):
                part.append(value)
    names = [", ".join(part) or answer.run.directory.name for part, answer in zip(parts, firsts, strict=True)]
    unique = len(set(names)) == len(names)
    return names if unique else [answer.run.directory.name for answer in firsts]


def _differing_fields(recipes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    fields = [name for name in recipes[0] if len({json.dumps(recipe.get(name)) for recipe in recipes}) > 1]
    return [[f"{name.replace('_', ' ')} {recipe.get(name)}" for recipe in recipes] for name in fields]
