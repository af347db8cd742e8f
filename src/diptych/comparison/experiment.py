"""The runs of a comparison: which ones it needs, in which order, and which exist already."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from glob import escape
from hashlib import sha256
from itertools import product
from pathlib import Path
from statistics import median
from timeit import repeat
from typing import Any

import msgspec
import numpy as np

from diptych import engines
from diptych.artifacts.run import Run
from diptych.comparison import defaults
from diptych.comparison.defaults import ALIGNED, NATIVE
from diptych.comparison.runs import FinishedRun
from diptych.data.datasets import TEST_FRACTION, Dataset
from diptych.data.preprocess import channel_statistics
from diptych.errors import ArtifactError, UsageError
from diptych.options import CompareOptions
from diptych.processes import num_threads
from diptych.spec import ModelSpec, Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.recipe import Precision
from diptych.training import provenance
from diptych.training.machine import machine, versions
from diptych.training.provenance import DataSource

# Share of the processor's speed in matrix products that a training usually reaches; an estimate for `--plan`.
USUAL_SHARE = 0.5
SECONDS_TO_START = 10.0

FINER: dict[str, Precision] = {"bfloat16": "float32", "float16": "float32", "auto": "float32", "float32": "float64"}
"""The number format that shows how much of a result is the rounding of another."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    arm: str
    """aligned, native, the key of the one switched default, or what differs in a yardstick: threads or precision."""
    seed: int
    engine: str
    spec: ModelSpec
    recipe: Recipe
    threads: int


@dataclass(frozen=True)
class Experiment:
    """Everything that the runs of a comparison follow from."""

    source: DataSource
    """The data; each run replaces its seed."""
    recipe: Recipe
    """Recipe of the aligned arm."""
    options: CompareOptions
    """The model, the seeds and the arms."""

    def __post_init__(self) -> None:
        """Raise UsageError for recipes that choose among epochs or end early."""
        if self.recipe.wants_validation:
            raise UsageError(
                "A comparison trains every run for the same number of steps and keeps the last weights; "
                "it does not support early_stopping, keep_best or the plateau schedule."
            )

    @property
    def seeds(self) -> range:
        """One per pair."""
        return range(self.options.seed, self.options.seed + self.options.seeds)

    @property
    def threads(self) -> int:
        """Threads of each run."""
        return self.options.threads or num_threads()

    @cached_property
    def spec(self) -> ModelSpec:
        """The model of the aligned arm, normalized with the training split of the first seed."""
        if spec := self.options.spec:
            return spec
        data = self.data(self.seeds[0])
        mean, std = channel_statistics(data.train.images)
        return zoo.model(str(self.options.model), data.image_shape, data.num_classes, mean, std)

    @cached_property
    def _read(self) -> Dataset:
        return self.source.read()

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        return {seed: self.data(seed).fingerprint for seed in self.seeds}

    def data(self, seed: int) -> Dataset:
        """Return the data of one pair: read once, split for each seed."""
        return self._read.divide(seed, self.source.validation_fraction, self.source.test_fraction)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The reported arm, then those that explain it."""
        arms: list[str] = [self.options.arms]
        if self.options.explain:
            arms += [ALIGNED, NATIVE, *(default.key for default in defaults.of((self.spec, self.recipe)))]
        return tuple(dict.fromkeys(arms))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every run in order, AB, BA, AB, …, without duplicates."""
        cells: dict[str, Cell] = {}
        for arm, (place, seed) in product(self.arms, enumerate(self.seeds)):
            for engine in engines.NAMES if place % 2 == 0 else reversed(engines.NAMES):
                cell = self.cell(arm, seed, engine)
                cells.setdefault(self.digest(cell), cell)
        return tuple(cells.values())

    def cell(self, arm: str, seed: int, engine: str) -> Cell:
        """Return the run of one arm, seed and engine."""
        aligned = setup = self.spec, self.recipe
        for default in defaults.of(aligned):
            if arm in (NATIVE, default.key):
                setup = default.switch(setup, engine)
        return Cell(arm, seed, engine, *setup, self.threads)

    def yardsticks(self) -> tuple[Cell, ...]:
        """Return runs that show how far PyTorch's runs drift apart: with other threads, and in a finer number format.

        They repeat the first seed whose two runs disagree on the class of a test image or are not finished; there are
        none if all runs are finished and agree.
        """
        for seed in self.seeds:
            cells = [self.cell(self.arms[0], seed, engine) for engine in engines.NAMES]
            pair = [FinishedRun.of(run) for run in map(self.find, cells) if run and is_complete(run)]
            if len(pair) == len(cells) and np.array_equal(pair[0].predicted_n, pair[1].predicted_n):
                continue
            first = cells[0]
            others = [replace(first, arm="threads", threads=1 if self.threads > 1 else 2)]
            if finer := FINER.get((pair[0].record if pair else first).recipe.precision):
                others.append(replace(first, arm="precision", recipe=replace(first.recipe, precision=finer)))
            return tuple(others)
        return ()

    def digest(self, cell: Cell) -> str:
        """Return the digest of everything a run follows from, except the content of its data."""
        data = msgspec.structs.asdict(self.source) | {"seed": cell.seed}
        del data["cache"]  # changes no number
        if data["test_fraction"] == TEST_FRACTION:  # runs of earlier versions have no other
            del data["test_fraction"]
        content = {
            "data": data,
            "spec": model_to_json(cell.spec),
            "recipe": recipe_to_json(
                replace(cell.recipe, learning_rate=cell.recipe.rate, decoupled_decay=cell.recipe.decay)
            ),
            "seed": cell.seed,
            "engine": cell.engine,
            "threads": cell.threads,
            "world": self._world,
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _world(self) -> dict[str, Any]:
        accelerator = (os.environ.get("CUDA_VISIBLE_DEVICES"), Path("/dev/nvidia0").exists())
        return {"processor": machine()["processor"], "accelerator": accelerator, **versions()}

    def find(self, cell: Cell) -> Run | None:
        """Return the run of a cell, if it was started; raises ArtifactError if its data or finished files changed."""
        for path in sorted(Path(self.options.out).glob(f"{escape(self._name(cell))}*/run.json")):
            run = Run.open(path.parent)
            record = run.read_record()
            # `diptych train --resume` can change the engine and the threads.
            starts = {(start.engine, start.threads) for start in record.engines} - {(cell.engine, cell.threads)}
            if record.key != self.digest(cell) or starts:
                continue
            if record.data.fingerprint != self._fingerprints[cell.seed]:
                raise ArtifactError(
                    f"The data at '{self.source.data}' has changed since '{run.directory}' was created. "
                    "Move that run, or choose another --out."
                )
            if is_complete(run):
                run.verify()
            return run
        return None

    def create(self, cell: Cell) -> Run:
        """Create the run of a cell."""
        source = msgspec.structs.replace(self.source, seed=cell.seed)
        made = Path(self.options.out), self._name(cell), source, self.data(cell.seed), cell.spec, cell.recipe
        return provenance.create(*made, cell.engine, key=self.digest(cell))

    def _name(self, cell: Cell) -> str:
        return f"{self._read.name}-{cell.spec.name}-{cell.engine}-s{cell.seed}-{self.digest(cell)[:10]}"

    @cached_property
    def name(self) -> str:
        """The name of the comparison's folder; it depends on the settings but not on the seeds."""
        first = self.digest(self.cell(ALIGNED, 0, engines.NAMES[0]))
        arms = sha256(" ".join((first, *self.arms)).encode()).hexdigest()[:6]
        return f"compare-{self._read.name}-{self.spec.name}-{self.arms[0]}-{arms}"

    def plan(self, thorough: bool = True) -> list[dict[str, Any]]:
        """Return the arm, seed, engine and status of every run, and an estimate of the seconds left."""
        runs = {cell: self.find(cell) for cell in (*self.cells, *(self.yardsticks() if thorough else ()))}
        epochs = {cell: run.history if run else [] for cell, run in runs.items()}
        planned = []
        for cell, run in runs.items():
            status, left = "finished", 0.0
            if not run or not is_complete(run):
                seconds = [event["seconds"] for c in runs if c.engine == cell.engine for event in epochs[c][1:]]
                each = median(seconds) if seconds else self._guessed_seconds
                status = "begun" if run else "new"
                left = SECONDS_TO_START + each * (cell.recipe.epochs - len(epochs[cell]))
            shown = {"arm": cell.arm, "seed": cell.seed, "engine": cell.engine}
            planned.append({**shown, "status": status, "seconds": left})
        return planned

    @cached_property
    def _guessed_seconds(self) -> float:
        """An estimate of an epoch's seconds from the model's FLOPs and the speed of a matrix product."""
        matrix = np.ones((1024, 1024), np.float32)
        flops_a_second = 2 * 1024**3 / min(repeat(lambda: matrix @ matrix, number=1, repeat=4))
        return 3 * self.spec.flops * len(self.data(self.seeds[0]).train) / (USUAL_SHARE * flops_a_second)


def is_complete(run: Run) -> bool:
    """Whether a run is finished and has a manifest."""
    return run.read_record().status == "finished" and run.manifest_path.exists()
