"""Train the runs of a study in processes that stay warm from run to run, and keep the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np

from diptych import engines
from diptych.artifacts.locks import locked, remove
from diptych.artifacts.record import CheckpointOptions
from diptych.artifacts.run import Run, is_run
from diptych.artifacts.store import read_arrays
from diptych.comparison.costs import MAX_IMAGES, STEPS, full_batches
from diptych.data.batches import batch_bounds
from diptych.data.datasets import Dataset
from diptych.errors import EngineError
from diptych.processes import Notify, Worker, engine_environment
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.training import provenance
from diptych.training.machine import times
from diptych.training.process import Settings as TrainSettings
from diptych.training.process import reported, train_in_process
from diptych.training.provenance import DataSource
from diptych.training.tracking import Tracker

MAX_DEATHS = 5
# The process of a killed parent saves the state of its training before it ends.
SECONDS_TO_SAVE = 120
SECONDS_OF_MEASUREMENT = 0.3
_KEPT: list[Dataset] = []


class _Kept:
    """Pickles as the dataset that a process keeps, so that no training sends the images again."""

    def __reduce__(self) -> tuple[Callable[[], Dataset], tuple[()]]:
        return kept, ()


def kept() -> Dataset:
    """Return the dataset that this process keeps."""
    return _KEPT[0]


def keep(dataset: Dataset) -> None:
    """Keep a dataset in this process."""
    _KEPT[:] = [dataset]


class Interrupted(Exception):  # noqa: N818  (what happened)
    """The study was asked to stop; the training's state is saved."""


class WarmProcess:
    """A warm process for trainings in an engine; it is started again if it dies, or the dataset changes."""

    def __init__(self, engine: str, threads: int, stopping: Event, log: Sequence[str] = ()) -> None:
        self.engine, self.threads, self.stopping, self.log = engine, threads, stopping, log
        self._trackers = [Tracker(name) for name in log]
        self._process: Worker | None = None
        self._dataset: Dataset | None = None

    def start(self) -> Worker:
        """Return the process, which is started if there is none, and imports its framework before its first call."""
        if self.stopping.is_set():
            raise Interrupted
        if self._process is None:
            imports = [f"diptych.engines.{self.engine}", "diptych.training.tensorboard", "diptych.tuning.process"]
            name = f"The {self.engine} training"
            self._process = Worker(name, imports=imports, env=engine_environment(self.engine))
        return self._process

    def stop(self) -> None:
        """End what the process does, after it has saved its state."""
        if process := self._process:
            process.terminate()

    def close(self) -> None:
        """Kill the process, if there is one, and those of the trackers."""
        self._close()
        for tracker in self._trackers:
            tracker.close()

    def _close(self) -> None:
        if self._process:
            self._process.close()
        self._process = self._dataset = None

    def keeping(self, dataset: Dataset) -> Worker:
        """Return the process, which keeps a dataset."""
        process = self.start()
        if self._dataset is not dataset:
            process.call(keep, dataset)
            self._dataset = dataset
        return process

    def train(self, run: Run, dataset: Dataset, notify: Notify) -> None:
        """Train a new or unfinished run to its end; raises EngineError if it fails, or its process dies too often."""

        def tell(kind: str, fields: dict[str, Any]) -> bool:
            for tracker in self._trackers:
                tracker(kind, fields)
            return notify(kind, fields) is True

        epochs, study = run.read_record().recipe.epochs, run.directory.parents[1].name
        with reported(run, tell, engine=self.engine, epochs=epochs, group=study):
            self._train(run, dataset, tell)

    def _train(self, run: Run, dataset: Dataset, notify: Notify) -> None:
        deaths, num_epochs = 0, -1
        while True:
            try:
                with locked(run.directory, "training", SECONDS_TO_SAVE) as lock:
                    record = run.read_record()
                    if record.status != "finished":
                        settings = TrainSettings(self.engine, record.last_threads or self.threads)
                        stand_in = cast(Dataset, _Kept())
                        train_in_process(self.keeping(dataset), run, settings, stand_in, notify, [lock])
                    if not run.manifest_path.exists():
                        run.seal()
                break
            except EngineError:
                status = run.read_record().status
                if status == "diverged":  # the process is well
                    raise
                self._close()
                if self.stopping.is_set():
                    raise Interrupted from None
                deaths = deaths + 1 if len(run.history) == num_epochs else 1
                num_epochs = len(run.history)
                if status == "failed" or deaths >= MAX_DEATHS:
                    raise


def latency(run: Run, engine_name: str, threads: int) -> float:
    """Measure a finished run's latency of one image in this process, in milliseconds; it keeps the run's data."""
    engine, record = engines.get(engine_name), run.read_record()
    engine.configure(threads)
    model = engine.build(record.spec, provenance.evaluation_precision(record.recipe))
    engine.load_weights(model, read_arrays(run.model_path)[0])
    image_1hwc = kept().validation.images[:1]
    return 1e3 * float(np.median(times(lambda: engine.predict(model, image_1hwc), SECONDS_OF_MEASUREMENT)))


def epoch_seconds(recipe: Recipe, spec: ModelSpec, engine_name: str, threads: int) -> float:
    """Measure a few steps and a prediction in this process, on the data it keeps; return the time of an epoch."""
    engine, dataset = engines.get(engine_name), kept()
    engine.configure(threads)
    recipe = provenance.resolve(recipe, dataset, engine.runtime()["device"])
    model = engine.build(spec, recipe.precision)
    engine.load_weights(model, initial_weights(spec.arrays, 0))
    optimizer, batches = engine.make_optimizer(model, recipe), full_batches(dataset, recipe, 0)
    seconds = []
    for _ in range(3):  # the first one compiles
        start = time.perf_counter()
        engine.train_epoch(model, optimizer, islice(batches, STEPS), [1e-9] * STEPS, 0)
        seconds.append((time.perf_counter() - start) / STEPS)
    images = dataset.validation.images[:MAX_IMAGES]
    predicting = float(np.median(times(lambda: engine.predict(model, images), SECONDS_OF_MEASUREMENT))) / len(images)
    num_steps = len(batch_bounds(len(dataset.train), recipe.batch))
    return min(seconds[1:]) * num_steps + predicting * len(dataset.validation)


def accuracy(run: Run, engine_name: str, threads: int) -> float:
    """Return a finished run's accuracy on the test split of the data that this process keeps."""
    engine, record, test = engines.get(engine_name), run.read_record(), kept().test
    engine.configure(threads)
    weights, precision = read_arrays(run.model_path)[0], provenance.evaluation_precision(record.recipe)
    logits_nk = provenance.predict_logits(engine, record.spec, weights, test.images, precision)
    return float(np.mean(logits_nk.argmax(axis=1) == test.labels))


def run_of(folder: Path, source: DataSource, dataset: Dataset, made: tuple[ModelSpec, Recipe, str]) -> Run:
    """Return the run in a folder, created if it is missing; it is evaluated on its validation split."""
    if is_run(folder):
        return Run.open(folder)
    remove(folder)  # a process was killed before it had written the record
    options: dict[str, Any] = {"checkpoints": CheckpointOptions(keep=1), "evaluates": "validation"}
    return provenance.create(folder.parent, folder.name, source, dataset, *made, **options)
