"""Train the trials of a study, each a normal run folder, in processes that stay warm from trial to trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

import numpy as np
from optuna.trial import TrialState

from diptych import engines
from diptych.artifacts.locks import locked, remove
from diptych.artifacts.record import CheckpointOptions
from diptych.artifacts.run import Run, is_run
from diptych.artifacts.store import read_arrays
from diptych.data.datasets import Dataset
from diptych.errors import EngineError
from diptych.processes import Notify, Worker, engine_environment
from diptych.spec import ModelSpec, Recipe
from diptych.training import provenance
from diptych.training.machine import times
from diptych.training.process import Settings as TrainSettings
from diptych.training.process import train_in_process
from diptych.training.provenance import DataSource
from diptych.tuning import space as spaces
from diptych.tuning.study import Study

MAX_DEATHS = 5
# The process of a killed parent saves the state of its training before it ends.
SECONDS_TO_SAVE = 120
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_OF_LATENCY = 0.3
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


class Trainer:
    """A warm process for trainings in an engine; it is started again if it dies, or the dataset changes."""

    def __init__(self, engine: str, threads: int, stopping: Event) -> None:
        self.engine, self.threads, self.stopping = engine, threads, stopping
        self._process: Worker | None = None
        self._dataset: Dataset | None = None

    def start(self) -> Worker:
        """Return the process, which is started if there is none, and imports its framework before its first call."""
        if self.stopping.is_set():
            raise Interrupted
        if self._process is None:
            imports = [f"diptych.engines.{self.engine}", "diptych.training.tensorboard", "diptych.tuning.trials"]
            name = f"The {self.engine} training"
            self._process = Worker(name, imports=imports, env=engine_environment(self.engine))
        return self._process

    def stop(self) -> None:
        """End what the process does, after it has saved its state."""
        if process := self._process:
            process.terminate()

    def close(self) -> None:
        """Kill the process, if there is one."""
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
                self.close()
                if self.stopping.is_set():
                    raise Interrupted from None
                deaths = deaths + 1 if len(run.history) == num_epochs else 1
                num_epochs = len(run.history)
                if run.read_record().status in ("failed", "diverged") or deaths >= MAX_DEATHS:
                    raise


@dataclass
class Work:
    """What a study has to do, and how far it is."""

    study: Study
    source: DataSource
    dataset: Dataset
    notify: Notify
    may_start: Callable[[], bool]
    on_end: Callable[[int], object]
    """Called with the number of each trial that has ended."""


def latency(run: Run, engine_name: str, threads: int) -> float:
    """Measure a finished run's latency of one image in this process, in milliseconds; it keeps the run's data."""
    engine, record = engines.get(engine_name), run.read_record()
    engine.configure(threads)
    model = engine.build(record.spec, provenance.evaluation_precision(record.recipe))
    engine.load_weights(model, read_arrays(run.model_path)[0])
    image_1hwc = kept().validation.images[:1]
    return 1e3 * float(np.median(times(lambda: engine.predict(model, image_1hwc), SECONDS_OF_LATENCY)))


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


def run_trials(work: Work, trainers: Sequence[Trainer]) -> None:
    """Run trials, one at a time in each trainer, until none may start and all are finished.

    A KeyboardInterrupt saves the state of every trial; a second one does not wait. Raises the first error of a trial
    that is none of its own, such as a full disk.
    """
    errors: list[BaseException] = []
    threads = [Thread(target=_work, args=(work, trainer, errors), daemon=True) for trainer in trainers]
    for thread in threads:
        thread.start()
    try:
        _join(threads, trainers)
    except KeyboardInterrupt:
        trainers[0].stopping.set()
        _join(threads, trainers)
        raise
    if errors:
        raise errors[0]


def _join(threads: Sequence[Thread], trainers: Sequence[Trainer]) -> None:
    """Wait for the threads, and end what their processes do when the study is asked to stop."""
    for thread in threads:
        while thread.is_alive():
            thread.join(SECONDS_BETWEEN_LOOKS)
            for trainer in trainers:
                if trainer.stopping.is_set():
                    trainer.stop()


def _work(work: Work, trainer: Trainer, errors: list[BaseException]) -> None:
    has_waited = False
    try:
        while not trainer.stopping.is_set():
            with work.study.claimed(work.may_start) as number:
                if number is not None:
                    run_trial(work, trainer, number)
                    work.on_end(number)
            if number is None:
                if not (numbers := [trial.number for trial in work.study.running]):
                    return
                if not has_waited:
                    line = f"waiting for trial {', '.join(map(str, numbers))} of another thread or process"
                    work.notify("study", {"line": line})
                has_waited = True
                time.sleep(SECONDS_BETWEEN_LOOKS)  # until another thread or process has finished its trial, or died
    except Interrupted:
        pass
    except BaseException as error:  # raised again by `run_trials`
        errors.append(error)
        trainer.stopping.set()


def run_trial(work: Work, trainer: Trainer, number: int) -> None:
    """Train a trial, from the start or from its last checkpoint, and finish it in the study."""
    study, start = work.study, time.monotonic()
    trial = study.trials[number]
    base = study.settings.base
    recipe, spec = spaces.setup(base, trial.params) if number else (base.recipe, base.spec)
    before = trial.user_attrs.get("seconds", 0.0)
    run = run_of(study.directory / trial.user_attrs["run"], work.source, work.dataset, (spec, recipe, trainer.engine))
    is_pruned = False

    def follow(kind: str, fields: dict[str, Any]) -> bool:
        nonlocal is_pruned
        epochs = run.history if kind == "resume" else [fields] if kind == "epoch" else []
        for epoch in epochs:
            is_pruned = is_pruned or study.judge(number, epoch["epoch"], epoch["validation_accuracy"])
        told = {**fields, "trial": number, "name": f"trial {number}", "epochs": study.settings.epochs}
        if kind in ("step", "epoch"):
            work.notify(f"trial_{kind}", told)
        return is_pruned

    try:
        trainer.train(run, work.dataset, follow)
    except EngineError as error:
        study.note(number, seconds=before + time.monotonic() - start)
        study.note(number, failed=True)
        study.finish(number, TrialState.PRUNED, note=str(error).partition(" Resume with:")[0])
        return
    except Interrupted:
        study.note(number, seconds=before + time.monotonic() - start)
        raise
    history = run.history
    for epoch in history:  # a process was killed after the training, before all was reported
        is_pruned = study.judge(number, epoch["epoch"], epoch["validation_accuracy"]) or is_pruned
    study.note(number, seconds=before + time.monotonic() - start)
    if is_pruned:
        study.finish(number, TrialState.PRUNED)
    else:
        values = [epoch["validation_accuracy"] for epoch in history]
        study.finish(number, TrialState.COMPLETE, max(values) if recipe.keep_best else values[-1])
