"""Finished runs as a comparison reads them, grouped into arms: runs that differ only in their seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Annotated, Any

import msgspec
import numpy as np

from diptych.artifacts.events import read_events
from diptych.artifacts.record import ADVICE, RunRecord, read_record
from diptych.artifacts.run import Run
from diptych.data import sources
from diptych.errors import ArtifactError, UsageError
from diptych.evaluation import evaluate_logits, log_softmax
from diptych.spec.codec import model_to_json, recipe_to_json

TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
MAX_ARMS = 6


class Epoch(msgspec.Struct, frozen=True):
    """An `epoch` event of a run."""

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    images_per_second: float
    seconds: float


class Shipped(msgspec.Struct, frozen=True):
    """The result of one format's export."""

    status: str
    num_bytes: int | None = None
    reason: str | None = None


class _ExportReport(msgspec.Struct, frozen=True):
    formats: dict[str, Shipped]


Rounds = Annotated[list[float], msgspec.Meta(min_length=1)]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """`cost.json`: the speed and memory of a run's model, and the machine they were measured on."""

    import_seconds: float
    first_step_seconds: float
    train_throughput: Rounds
    """Images per second, by round."""
    predict_throughput: Rounds
    latency_p50: float
    """Seconds of a prediction of one image."""
    latency_p95: float
    peak_memory: int
    threads: int | None = None
    runtime: dict[str, Any] = {}
    # Files written before 0.2 lack the following.
    processor: str = ""
    cores: int | None = None
    load_average: tuple[float, ...] = ()
    """Before the measurement, over 1, 5 and 15 minutes."""
    other_load: float | None = None
    """Number of cores that other processes used during the measurement, on average."""
    disturbed: bool = False
    """Whether other processes competed for cores, or rounds differ by more than a factor of 2."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run and its predictions of the test set, from which every number is computed."""

    run: Run
    record: RunRecord
    logits_nk: np.ndarray
    labels_n: np.ndarray

    @classmethod
    def of(cls, run: Run, verify_files: bool = False) -> FinishedRun:
        """Read a run; raises UsageError if it is not finished or not tested, and ArtifactError if a file is invalid."""
        record, predictions = run.finished(verify_files=verify_files), run.read_predictions()
        if record.evaluates != "test":
            raise UsageError(
                f"'{run.directory}' was evaluated on its {record.evaluates} split; only runs that were evaluated on "
                "the test split can be compared. Train its recipe and model anew with `diptych train` or `compare`."
            )
        kinds = predictions.logits_nk.dtype.kind, predictions.labels_n.dtype.kind
        if kinds[0] != "f" or kinds[1] not in "iu" or predictions.logits_nk.ndim != 2:
            raise ArtifactError(
                f"Cannot read '{run.predictions_path}': logits must be floats, (N, K), and labels integers, (N,)."
            )
        return cls(run, record, predictions.logits_nk, predictions.labels_n)

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics of the test set."""
        return evaluate_logits(self.logits_nk, self.labels_n, self.record.class_names)

    @property
    def title(self) -> str:
        """The framework, or all frameworks that trained, in order."""
        return ", then ".join(dict.fromkeys(TITLES[start.engine] for start in self.record.engines))

    @cached_property
    def log_probabilities_nk(self) -> np.ndarray:
        """float64, (N, K)."""
        return log_softmax(self.logits_nk)

    @cached_property
    def probabilities_nk(self) -> np.ndarray:
        """float64, (N, K)."""
        return np.asarray(np.exp(self.log_probabilities_nk))

    @cached_property
    def predicted_n(self) -> np.ndarray:
        """The predicted class of each test image, (N,)."""
        return np.asarray(self.logits_nk.argmax(axis=1))

    @cached_property
    def correct_n(self) -> np.ndarray:
        """Whether each prediction is correct, (N,)."""
        return np.asarray(self.predicted_n == self.labels_n)

    @cached_property
    def epochs(self) -> list[Epoch]:
        """One record per epoch; for an epoch that was repeated after a crash, the last one."""
        path = self.run.events_path
        try:
            epochs = [msgspec.convert(event, Epoch) for event in read_events(path, "epoch")]
        except msgspec.ValidationError as error:
            raise ArtifactError(f"Cannot read '{path}': invalid epoch ({error}). {ADVICE}") from error
        return list({epoch.epoch: epoch for epoch in epochs}.values())

    @property
    def epoch_spread(self) -> float:
        """The longest epoch as a multiple of the shortest, without the first."""
        seconds = [epoch.seconds for epoch in self.epochs[1:]]
        return max(seconds) / max(min(seconds), 1e-9) if seconds else 1.0

    @cached_property
    def cost(self) -> Cost | None:
        """The measured speed and memory; None if not measured."""
        return read_record(self.run.cost_path, Cost) if self.run.cost_path.exists() else None

    @cached_property
    def shipped(self) -> dict[str, Shipped]:
        """The result of each export, by format; empty if nothing was exported."""
        path = self.run.export_dir / "export.json"
        return read_record(path, _ExportReport).formats if path.exists() else {}

    def value(self, measure: str) -> float:
        """Return accuracy, macro_f1, loss or calibration_error on the test set."""
        if measure == "macro_f1":
            return float(self.metrics["macro"]["f1"])
        return float(self.metrics["expected_calibration_error" if measure == "calibration_error" else measure])


@dataclass(frozen=True, eq=False)
class Arm:
    """Runs that differ only in their seed, in the order of their seeds."""

    name: str
    runs: tuple[FinishedRun, ...]

    @property
    def first(self) -> FinishedRun:
        """The first run; its settings are those of all."""
        return self.runs[0]

    @property
    def record(self) -> RunRecord:
        """The record of the first run."""
        return self.first.record


def group(runs: Sequence[Run], verify_files: bool = False) -> list[Arm]:
    """Group finished runs into arms; raises UsageError, with the reason, for arms that cannot be compared."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in {run.directory.resolve(): run for run in runs}.values():
        finished = FinishedRun.of(run, verify_files)
        groups.setdefault(_settings(finished), []).append(finished)
    if not 2 <= len(groups) <= MAX_ARMS:
        raise UsageError(
            f"A comparison needs runs with 2 to {MAX_ARMS} different settings (engine, model or recipe); "
            f"these {len(runs)} runs have {len(groups)}."
        )
    ordered = [tuple(sorted(members, key=lambda run: run.record.seed)) for members in groups.values()]
    arms = [Arm(name, members) for name, members in zip(_names(ordered), ordered, strict=True)]
    _check(arms)
    return arms


def _check(arms: Sequence[Arm]) -> None:
    if len({len(arm.runs) for arm in arms}) > 1:
        listed = ", ".join(f"{len(arm.runs)} of {arm.name}" for arm in arms)
        raise UsageError(f"Every arm needs the same number of runs, one per seed; got {listed}.")
    for one, other in (pair for arm in arms for pair in pairwise(arm.runs)):
        if one.record.seed == other.record.seed:
            raise UsageError(
                f"'{one.run.directory}' and '{other.run.directory}' have the same settings and the same seed, "
                f"{one.record.seed}. Omit one of them."
            )
    seeds = [{run.record.seed for run in arm.runs} for arm in arms]
    if any(one != other and one & other for one, other in combinations(seeds, 2)):
        raise UsageError(
            "The arms share some seeds but not all, so some runs would belong to two pairs. "
            "Use the same seeds in every arm, or no seed in common."
        )
    reference = arms[0].first
    for run in (run for arm in arms for run in arm.runs):
        if reason := _test_difference(reference, run):
            raise UsageError(
                f"'{run.run.directory}' and '{reference.run.directory}' were not tested on the same images: "
                f"{reason}. `diptych evaluate RUN DATA` evaluates a run on other data."
            )


def shared_seeds(arms: Sequence[Arm]) -> tuple[int, ...] | None:
    """Return the seeds if all arms have the same, else None."""
    seeds = {tuple(run.record.seed for run in arm.runs) for arm in arms}
    return seeds.pop() if len(seeds) == 1 else None


def _settings(run: FinishedRun) -> str:
    """Return all settings of a run except its seed."""
    record = run.record
    spec, recipe = model_to_json(record.spec), recipe_to_json(record.recipe)
    # The normalization follows from the training split, and so from the seed.
    spec["layers"] = [layer for layer in spec["layers"] if layer["type"] != "Normalize"]
    data = [record.data.name, record.split_sizes.train, record.start.sha256 if record.start else None]
    return json.dumps([run.title, spec, recipe, data], sort_keys=True)


def _test_difference(one: FinishedRun, other: FinishedRun) -> str:
    """Return how the test sets of two runs differ; empty if they do not."""
    first, second = one.record, other.record
    if first.class_names != second.class_names:
        return "their classes are not the same"
    if len(one.labels_n) != len(other.labels_n):
        return f"{len(one.labels_n):,} and {len(other.labels_n):,} of them"
    if not np.array_equal(one.labels_n, other.labels_n):
        return "their labels are not the same"
    published = first.data.name == second.data.name in sources.NAMED
    prints = {record.data.test_fingerprint for record in (first, second)}
    if None in prints:
        same = published or first.data.fingerprint == second.data.fingerprint
        return "" if same else "their data may not be the same"
    # Published images may have been resized.
    same = len(prints) == 1 or (published and first.preprocessing != second.preprocessing)
    return "" if same else "their pixels are not the same"


def _names(groups: Sequence[tuple[FinishedRun, ...]]) -> list[str]:
    """Name each group by what distinguishes it: framework, model, data, then fields of the recipe."""
    firsts = [runs[0] for runs in groups]
    parts: list[list[str]] = [[] for _ in firsts]
    recipes = [recipe_to_json(run.record.recipe) for run in firsts]
    fields = [name for name in recipes[0] if len({json.dumps(recipe[name]) for recipe in recipes}) > 1]
    for values in (
        [run.title for run in firsts],
        [str(run.record.spec.name) for run in firsts],
        [f"{run.record.split_sizes.train:,} images" for run in firsts],
        *([f"{field.replace('_', ' ')} {recipe[field]}" for recipe in recipes] for field in fields),
        [run.run.directory.resolve().name for run in firsts],
        [str(place) for place in range(1, len(firsts) + 1)],
    ):
        if len(set(values)) > 1 and len({tuple(part) for part in parts}) < len(parts):
            for part, value in zip(parts, values, strict=True):
                part.append(value)
    return [", ".join(part) for part in parts]
