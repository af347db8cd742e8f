"""The runs of a comparison: which ones it needs, in which order, and which exist already.

Pairs share a seed, and so initial weights, order and augmentation. A run is identified by a digest of everything its
numbers follow from, so comparisons share runs and an interrupted one resumes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from glob import escape
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from diptych import engines
from diptych.artifacts.events import read_events
from diptych.artifacts.record import EngineStart
from diptych.artifacts.run import Run
from diptych.comparison import defaults
from diptych.comparison.defaults import ALIGNED, NATIVE, Default, Setup
from diptych.data.datasets import Dataset, Splits
from diptych.data.preprocess import channel_statistics
from diptych.errors import ArtifactError, UsageError
from diptych.spec import ModelSpec, Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.training import provenance
from diptych.training.machine import machine, versions
from diptych.training.provenance import Source

# Share of the processor's speed in matrix products that a training usually reaches; an estimate for `--plan`.
USUAL_SHARE = 0.5
SECONDS_TO_START = 10.0


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    arm: str
    """aligned, native, or the key of the one switched default."""
    seed: int
    engine: str
    spec: ModelSpec
    recipe: Recipe


@dataclass(frozen=True)
class Planned:
    """The status of a run and an estimate of the seconds left."""

    cell: Cell
    status: Literal["finished", "begun", "new"]
    seconds: float


@dataclass(frozen=True)
class Experiment:
    """Everything that the runs of a comparison follow from.

    Attributes:
        source: the data; each run replaces its seed.
        model: a spec, or the name of a model in the zoo.
        recipe: recipe of the aligned arm.
        seeds: one per pair.
        arm: the reported arm.
        explains: also run the other arm, and each default switched alone.
        threads: number of processor threads.
        pool: folder of all runs.
    """

    source: Source
    model: str | ModelSpec
    recipe: Recipe
    seeds: tuple[int, ...]
    arm: Literal["aligned", "native"]
    explains: bool
    threads: int
    pool: Path

    def __post_init__(self) -> None:
        """Raise UsageError for recipes that choose among epochs or end early."""
        if self.recipe.early_stopping or self.recipe.keep_best or self.recipe.schedule == "plateau":
            raise UsageError(
                "A comparison trains every run for the same number of steps and keeps the last weights; "
                "it does not support early_stopping, keep_best or the plateau schedule."
            )

    @cached_property
    def setup(self) -> Setup:
        """The spec and recipe of the aligned arm."""
        return self.spec, self.recipe

    @cached_property
    def spec(self) -> ModelSpec:
        """The model of the aligned arm, normalized with the training split of the first seed."""
        if isinstance(self.model, ModelSpec):
            return self.model
        data = self.data(self.seeds[0])
        mean, std = channel_statistics(data.train.images)
        return zoo.model(self.model, data.image_shape, data.num_classes, mean, std)

    @cached_property
    def _read(self) -> Splits:
        return self.source.read()

    @cached_property
    def _prints(self) -> dict[int, str]:
        return {}

    def data(self, seed: int) -> Dataset:
        """Return the data of one pair: read once, split for each seed."""
        return self.source_of(seed).divide(self._read)

    def _fingerprint(self, seed: int) -> str:
        if seed not in self._prints:
            self._prints[seed] = self.data(seed).fingerprint
        return self._prints[seed]

    def source_of(self, seed: int) -> Source:
        """Return the source with the validation split of a pair."""
        return replace(self.source, seed=seed)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The reported arm, then those that explain it."""
        if not self.explains:
            return (self.arm,)
        keys = tuple(default.key for default in defaults.of(self.setup))
        return tuple(dict.fromkeys((self.arm, ALIGNED, NATIVE, *keys)))

    def is_reported(self, cell: Cell) -> bool:
        """Whether a run belongs to the reported arm."""
        return cell == self.cell(self.arm, cell.seed, cell.engine)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every run in order, AB, BA, AB, …, without duplicates."""
        cells: dict[str, Cell] = {}
        for cell in self._all():
            cells.setdefault(self.digest(cell), cell)
        return tuple(cells.values())

    def _all(self) -> Iterator[Cell]:
        for arm in self.arms:
            for place, seed in enumerate(self.seeds):
                for engine in engines.NAMES if place % 2 == 0 else reversed(engines.NAMES):
                    yield self.cell(arm, seed, engine)

    def cell(self, arm: str, seed: int, engine: str) -> Cell:
        """Return the run of one arm, seed and engine."""
        return Cell(arm, seed, engine, *defaults.switched(self.setup, self.switches(arm), engine))

    def switches(self, arm: str) -> tuple[Default, ...]:
        """Return the defaults that an arm takes from the framework."""
        known = defaults.of(self.setup)
        if arm == ALIGNED:
            return ()
        return known if arm == NATIVE else tuple(default for default in known if default.key == arm)

    def digest(self, cell: Cell) -> str:
        """Return the digest of everything a run follows from, except the content of its data."""
        data = {name: value for name, value in vars(self.source_of(cell.seed)).items() if name != "cache"}
        content = {
            "data": data,
            "spec": model_to_json(cell.spec),
            "recipe": recipe_to_json(cell.recipe),
            "seed": cell.seed,
            "engine": cell.engine,
            "threads": self.threads,
            "world": self._world,
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _world(self) -> dict[str, Any]:
        accelerator = (os.environ.get("CUDA_VISIBLE_DEVICES"), Path("/dev/nvidia0").exists())
        return {"processor": machine()["processor"], "accelerator": accelerator, **versions()}

    def find(self, cell: Cell) -> Run | None:
        """Return the run of a cell; None if it has not been started."""
        key = self.digest(cell)
        for path in sorted(self.pool.glob(f"{escape(self._name(cell))}*/run.json")):
            run = Run.open(path.parent)
            record = run.read_record()
            if record.key == key and all(self._is_unchanged(start, cell) for start in record.engines):
                return run
        return None

    def _is_unchanged(self, start: EngineStart, cell: Cell) -> bool:
        """Whether a run was resumed as it was started; `diptych train --resume` can change the engine."""
        return start.engine == cell.engine and start.threads == self.threads

    def check(self, run: Run, cell: Cell) -> None:
        """Raise ArtifactError if a finished run's files or a run's data have changed."""
        if run.read_record().data.fingerprint != self._fingerprint(cell.seed):
            raise ArtifactError(
                f"The data at '{self.source.data}' has changed since '{run.directory}' was created. "
                "Move that run away or choose another --out."
            )
        if is_complete(run):
            run.verify()

    def create(self, cell: Cell) -> Run:
        """Create the run of a cell."""
        data, source = self.data(cell.seed), self.source_of(cell.seed)
        return provenance.create(
            self.pool,
            self._name(cell),
            source,
            data,
            cell.spec,
            cell.recipe,
            cell.seed,
            cell.engine,
            key=self.digest(cell),
        )

    def _name(self, cell: Cell) -> str:
        name = f"{self._read.name}-{cell.spec.name}-{cell.engine}"
        return f"{name}-s{cell.seed}-{self.digest(cell)[:10]}"

    @cached_property
    def name(self) -> str:
        """The name of the comparison's folder; it depends on the settings but not on the seeds."""
        first = self.digest(self.cell(ALIGNED, 0, engines.NAMES[0]))
        arms = sha256(" ".join((first, *self.arms)).encode()).hexdigest()[:6]
        return f"compare-{self._read.name}-{self.spec.name}-{self.arms[0]}-{arms}"

    def plan(self) -> list[Planned]:
        """Return the status of every run and an estimate of the time left."""
        measured = {engine: self._measured_seconds(engine) for engine in engines.NAMES}
        return [self._planned(cell, measured[cell.engine]) for cell in self.cells]

    def _planned(self, cell: Cell, measured: float | None) -> Planned:
        run = self.find(cell)
        if run:
            self.check(run, cell)
        if run and is_complete(run):
            return Planned(cell, "finished", 0.0)
        done = len(read_events(run.events_path, "epoch")) if run and run.events_path.exists() else 0
        each = measured if measured is not None else self._guessed_seconds
        left = SECONDS_TO_START + each * (cell.recipe.epochs - done)
        return Planned(cell, "begun" if run else "new", left)

    def _measured_seconds(self, engine: str) -> float | None:
        """Return the median seconds of an epoch of this comparison's runs."""
        seconds = [
            epoch["seconds"]
            for cell in self.cells
            if cell.engine == engine and (run := self.find(cell)) and run.events_path.exists()
            for epoch in read_events(run.events_path, "epoch")[1:]
        ]
        return median(seconds) if seconds else None

    @cached_property
    def _guessed_seconds(self) -> float:
        """An estimate of an epoch's seconds from the model's FLOPs and the speed of a matrix product."""
        matrix = np.ones((1024, 1024), np.float32)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - start)
        flops_a_second = 2 * 1024**3 / min(times)
        return 3 * self.spec.flops * len(self.data(self.seeds[0]).train) / (USUAL_SHARE * flops_a_second)


def is_complete(run: Run) -> bool:
    """Whether a run is finished and has a manifest."""
    return run.read_record().status == "finished" and run.manifest_path.exists()
