"""Finished runs as a comparison reads them: sides of one run a seed each, all over the same test set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from diptych.artifacts import entries
from diptych.artifacts.events import read_events
from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_json
from diptych.comparison import border
from diptych.data import sources
from diptych.errors import ArtifactError, UsageError
from diptych.evaluation.metrics import evaluate_logits, log_softmax
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_to_json, recipe_to_json

TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
MOST_SIDES = 6


@dataclass(frozen=True, eq=False)
class Answered:
    """A finished run and what it said of the test set; every number follows from its predictions."""

    run: Run
    record: RunRecord
    logits_nk: np.ndarray
    labels_n: np.ndarray

    @classmethod
    def of(cls, run: Run) -> Answered:
        """Read a run's answers.

        Raises:
            UsageError: it is not finished.
            ArtifactError: one of its files is not what it should be.
        """
        record = run.read_record()
        if record.status != "finished":
            raise UsageError(
                f"'{run.directory}' is {record.status}, not finished; `diptych train --resume` goes on with it."
            )
        predictions = run.read_predictions()
        kinds = predictions.logits_nk.dtype.kind, predictions.labels_n.dtype.kind
        if kinds[0] != "f" or kinds[1] not in "iu" or predictions.logits_nk.ndim != 2:
            raise ArtifactError(
                f"Cannot read '{run.predictions_path}': wanted float logits, (N, K), and whole labels, (N,)."
            )
        return cls(run, record, predictions.logits_nk, predictions.labels_n)

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The numbers of the test set."""
        return evaluate_logits(self.logits_nk, self.labels_n, self.record.class_names)

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.record.seed

    @property
    def engine(self) -> str:
        """Who ended the training."""
        return self.record.last_engine

    @property
    def title(self) -> str:
        """Its framework, or those that had a part in it, in order."""
        return ", then ".join(dict.fromkeys(TITLES[start.engine] for start in self.record.engines))

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
        events = read_events(self.run.events_path, "epoch")
        entries.check_all(events, border.EPOCH, self.run.events_path, "epoch")
        return list({event["epoch"]: event for event in events}.values())

    @cached_property
    def cost(self) -> dict[str, Any] | None:
        """What was measured of its speed and memory, if anything was."""
        path = self.run.cost_path
        if not path.exists():
            return None
        found = read_json(path)
        entries.check(found, border.COST, path)
        for name in ("train_throughput", "predict_throughput"):
            border.numbers(found[name], path, name)
        return found

    @cached_property
    def shipped(self) -> dict[str, Any]:
        """What its export report says of each format; empty where nothing was exported."""
        path = self.run.export_dir / "export.json"
        if not path.exists():
            return {}
        report = read_json(path)
        entries.check(report, border.EXPORT, path)
        entries.check_all(list(report["formats"].values()), border.SHIPPED, path, "formats")
        formats: dict[str, Any] = report["formats"]
        return formats

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
        return self.first.record.spec

    @cached_property
    def recipe(self) -> Recipe:
        """The training."""
        return self.first.record.recipe

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
    if len({len(side.answers) for side in sides}) > 1:
        listed = ", ".join(f"{len(side.answers)} of {side.name}" for side in sides)
        raise UsageError(f"As many runs of each are wanted, one a seed; there are {listed}.")
    for side in sides:
        for one, other in pairwise(side.answers):
            if one.seed == other.seed:
                raise UsageError(
                    f"'{one.run.directory}' and '{other.run.directory}' are of one seed, {one.seed}: "
                    "the second says nothing new. Leave one of them out."
                )
    seeds = [{answer.seed for answer in side.answers} for side in sides]
    if any(one != other and one & other for one, other in combinations(seeds, 2)):
        raise UsageError(
            "The runs share some seeds and not others, so some would stand in two pairs: "
            "name runs of the same seeds on every side, or of none in common."
        )
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
    """All that makes a run what it is, apart from its seed; settings that came later have their defaults."""
    record = answer.record
    spec, recipe = model_to_json(record.spec), recipe_to_json(record.recipe)
    # The normalisation follows the training split, and so the seed.
    spec["layers"] = [layer for layer in spec["layers"] if layer["type"] != "Normalize"]
    data = [record.data.name, record.split_sizes.train]
    return json.dumps([answer.title, spec, recipe, data], sort_keys=True)


def _otherwise_tested(one: Answered, other: Answered) -> str | None:
    first, second = one.record, other.record
    if first.class_names != second.class_names:
        return "their classes are not the same"
    if len(one.labels_n) != len(other.labels_n):
        return f"{len(one.labels_n):,} and {len(other.labels_n):,} of them"
    if not np.array_equal(one.labels_n, other.labels_n):
        return "their labels are not the same"
    prints = [record.data.test_fingerprint for record in (first, second)]
    if None not in prints and prints[0] == prints[1]:
        return None
    published = first.data.name == second.data.name in {dataset.name for dataset in sources.names()}
    if published and (None in prints or first.preprocessing != second.preprocessing):
        return None  # the same published images, of an older record or of another size
    if None in prints:
        return None if first.data.fingerprint == second.data.fingerprint else "their data may not be the same"
    return "their pixels are not the same"


def _names(groups: Sequence[tuple[Answered, ...]]) -> list[str]:
    """What tells the sides apart, in words: framework, model, data, then what the recipes have otherwise."""
    firsts = [answers[0] for answers in groups]
    parts: list[list[str]] = [[] for _ in firsts]
    for values in (
        [answer.title for answer in firsts],
        [str(answer.record.spec.name) for answer in firsts],
        [f"{answer.record.split_sizes.train:,} images" for answer in firsts],
        *_differing_fields([recipe_to_json(answer.record.recipe) for answer in firsts]),
        [answer.run.directory.resolve().name for answer in firsts],
        [str(place) for place in range(1, len(firsts) + 1)],
    ):
        if len(set(values)) > 1 and len({tuple(part) for part in parts}) < len(parts):
            for part, value in zip(parts, values, strict=True):
                part.append(value)
    return [", ".join(part) for part in parts]


def _differing_fields(recipes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    fields = [name for name in recipes[0] if len({json.dumps(recipe[name]) for recipe in recipes}) > 1]
    return [[f"{name.replace('_', ' ')} {recipe[name]}" for recipe in recipes] for name in fields]
