"""The protocol of a comparison: which runs it wants, in which order, and which of them are there already.

Pairs share a seed, and with it initial weights, order and augmentation. A run is known by a key of all that its
numbers follow from, so comparisons share runs, and an interrupted one goes on where it was.
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
from diptych.comparison.defaults import Default, Setup
from diptych.data.datasets import Dataset, Splits
from diptych.data.preprocess import channel_statistics
from diptych.errors import ArtifactError, UsageError
from diptych.spec import ModelSpec, Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.training import job
from diptych.training.job import Source
from diptych.training.machine import machine, versions

ALIGNED, NATIVE = "aligned", "native"
Arm = Literal["aligned", "native"]
# What a training reaches of the processor's speed in large matrix products, by experience; a guess for `--plan`.
USUAL_SHARE = 0.5
SECONDS_TO_START = 10.0


@dataclass(frozen=True)
class Cell:
    """One run that a comparison wants."""

    arm: str
    """aligned, native, or the key of the one default that is switched."""
    seed: int
    engine: str
    spec: ModelSpec
    recipe: Recipe


@dataclass(frozen=True)
class Planned:
    """What stands before a run: `status` is finished, begun or new; about how many seconds are left."""

    cell: Cell
    status: Literal["finished", "begun", "new"]
    seconds: float


@dataclass(frozen=True)
class Experiment:
    """All that a comparison's runs follow from.

    Attributes:
        source: the data; its seed is each run's own.
        model: a spec, or the name of one in the zoo.
        recipe: of the aligned arm.
        seeds: one a pair.
        arm: what is reported: aligned or native.
        explains: whether the other one, and each default switched alone, are run too.
        threads: processor threads.
        pool: folder of all runs.
    """

    source: Source
    model: str | ModelSpec
    recipe: Recipe
    seeds: tuple[int, ...]
    arm: Arm
    explains: bool
    threads: int
    pool: Path

    def __post_init__(self) -> None:
        """Refuse what would not be the same number of steps for all, or would choose among epochs."""
        if self.recipe.early_stopping or self.recipe.keep_best or self.recipe.schedule == "plateau":
            raise UsageError(
                "A comparison trains every run for the same steps and takes its last weights: "
                "early_stopping, keep_best and the plateau schedule are not for it."
            )

    @cached_property
    def setup(self) -> Setup:
        """The aligned arm's spec and recipe."""
        return self.spec, self.recipe

    @cached_property
    def spec(self) -> ModelSpec:
        """The aligned arm's model; its normalisation is the first seed's."""
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
        """The data of one pair: read once, divided for every seed."""
        return self.source_of(seed).divide(self._read)

    def _fingerprint(self, seed: int) -> str:
        if seed not in self._prints:
            self._prints[seed] = self.data(seed).fingerprint
        return self._prints[seed]

    def source_of(self, seed: int) -> Source:
        """The source with a pair's own validation split."""
        return replace(self.source, seed=seed)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The arm that is reported first, then those that explain it."""
        if not self.explains:
            return (self.arm,)
        keys = tuple(default.key for default in defaults.of(self.setup))
        return tuple(dict.fromkeys((self.arm, ALIGNED, NATIVE, *keys)))

    def is_reported(self, cell: Cell) -> bool:
        """Whether a run is one of the arm that is reported."""
        return cell == self.cell(self.arm, cell.seed, cell.engine)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every run that is wanted, in the order in which they run: AB, BA, AB, …; equal ones once."""
        wanted: dict[str, Cell] = {}
        for cell in self._all():
            wanted.setdefault(self.digest(cell), cell)
        return tuple(wanted.values())

    def _all(self) -> Iterator[Cell]:
        for arm in self.arms:
            for place, seed in enumerate(self.seeds):
                for engine in engines.NAMES if place % 2 == 0 else reversed(engines.NAMES):
                    yield self.cell(arm, seed, engine)

    def cell(self, arm: str, seed: int, engine: str) -> Cell:
        """The run of one arm, seed and engine."""
        return Cell(arm, seed, engine, *defaults.switched(self.setup, self.switches(arm), engine))

    def switches(self, arm: str) -> tuple[Default, ...]:
        """The defaults that an arm has as the framework does."""
        known = defaults.of(self.setup)
        if arm == ALIGNED:
            return ()
        return known if arm == NATIVE else tuple(default for default in known if default.key == arm)

    def digest(self, cell: Cell) -> str:
        """Of all that a run follows from but its data's content, which the run's own record holds."""
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
        """The run of a cell, where it has been begun."""
        wanted = self.digest(cell)
        for path in sorted(self.pool.glob(f"{escape(self._name(cell))}*/run.json")):
            run = Run.open(path.parent)
            record = run.read_record()
            if record.key == wanted and all(self._is_own(start, cell) for start in record.engines):
                return run
        return None

    def _is_own(self, start: EngineStart, cell: Cell) -> bool:
        """Whether a run was gone on with as it was begun; `diptych train --resume` may take another engine."""
        return start.engine == cell.engine and start.threads == self.threads

    def check(self, run: Run, cell: Cell) -> None:
        """Refuse a run that cannot be gone on with.

        Raises:
            ArtifactError: it is finished and no longer as it was written, or its data has changed.
        """
        if run.read_record().data.fingerprint != self._fingerprint(cell.seed):
            raise ArtifactError(
                f"The data at '{self.source.data}' has changed since '{run.directory}' was made. "
                "Move that run away, or name another --out, and compare again."
            )
        if is_whole(run):
            run.verify()

    def create(self, cell: Cell) -> Run:
        """A new run for a cell."""
        data, source = self.data(cell.seed), self.source_of(cell.seed)
        return job.create(
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
        """Of the comparison's own folder: the same for more seeds, another for other settings."""
        first = self.digest(self.cell(ALIGNED, 0, engines.NAMES[0]))
        arms = sha256(" ".join((first, *self.arms)).encode()).hexdigest()[:6]
        return f"compare-{self._read.name}-{self.spec.name}-{self.arms[0]}-{arms}"

    def plan(self) -> list[Planned]:
        """What is there and what is to be done, and about how long it takes."""
        measured = {engine: self._measured_seconds(engine) for engine in engines.NAMES}
        return [self._planned(cell, measured[cell.engine]) for cell in self.cells]

    def _planned(self, cell: Cell, measured: float | None) -> Planned:
        run = self.find(cell)
        if run:
            self.check(run, cell)
        if run and is_whole(run):
            return Planned(cell, "finished", 0.0)
        done = len(read_events(run.events_path, "epoch")) if run and run.events_path.exists() else 0
        each = measured if measured is not None else self._guessed_seconds
        left = SECONDS_TO_START + each * (cell.recipe.epochs - done)
        return Planned(cell, "begun" if run else "new", left)

    def _measured_seconds(self, engine: str) -> float | None:
        """Of an epoch, by the runs of this comparison that are finished."""
        seconds = [
            epoch["seconds"]
            for cell in self.cells
            if cell.engine == engine and (run := self.find(cell)) and run.events_path.exists()
            for epoch in read_events(run.events_path, "epoch")[1:]
        ]
        return median(seconds) if seconds else None

    @cached_property
    def _guessed_seconds(self) -> float:
        """Of an epoch, by arithmetic and what this processor reaches in a matrix product."""
        matrix = np.ones((1024, 1024), np.float32)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - start)
        flops_a_second = 2 * 1024**3 / min(times)
        return 3 * self.spec.flops * len(self.data(self.seeds[0]).train) / (USUAL_SHARE * flops_a_second)


def is_whole(run: Run) -> bool:
    """Whether a run is finished and sealed."""
    return run.read_record().status == "finished" and run.manifest_path.exists()
