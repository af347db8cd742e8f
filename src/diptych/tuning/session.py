"""A call of `tune`: the trials and the finalists of a study that are missing, in one or several processes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

from optuna.trial import TrialState

from diptych import engines
from diptych.artifacts.run import Run
from diptych.comparison.wording import plural
from diptych.data.datasets import Dataset
from diptych.errors import EngineError, UsageError
from diptych.options import TuneOptions
from diptych.processes import Notify, num_threads
from diptych.tuning import findings, space
from diptych.tuning.process import Interrupted, WarmProcess, epoch_seconds, run_of
from diptych.tuning.study import Settings, Study

DEFAULT_TRIALS = 40
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_OF_TRIAL = 2.0
"""Estimate of what a trial takes besides its epochs: building the model, checkpoints, the last evaluation."""


@dataclass
class Session:
    """A study, its data and its processes."""

    options: TuneOptions
    settings: Settings
    undivided: Dataset
    """The data, which each seed of the finalists divides anew."""
    dataset: Dataset
    first: WarmProcess
    """The first process, which was started while the data were read."""
    notify: Notify
    start: float = field(default_factory=time.monotonic)
    _errors: list[BaseException] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        """The study's folder, named by everything that its trials follow from."""
        names = self.dataset.name, self.settings.base.spec.name, self.settings.engine, self.settings.digest[:10]
        return Path(self.options.out) / "-".join(["tune", *names])

    @cached_property
    def study(self) -> Study:
        """The study, created if it is new."""
        return Study(self.directory, self.settings, self.dataset.fingerprint)

    @cached_property
    def trainers(self) -> list[WarmProcess]:
        """A process for each trial at a time."""
        first, others = self.first, range(1, self.options.workers)
        return [first, *(WarmProcess(first.engine, first.threads, first.stopping, first.log) for _ in others)]

    @cached_property
    def finals_trainers(self) -> dict[str, WarmProcess]:
        """A process with all threads for each engine that finalists are trained in."""
        first, threads = self.first, self.options.threads or num_threads()
        names = [name for name in engines.installed() if name != first.engine or first.threads != threads]
        return {first.engine: first, **{name: WarmProcess(name, threads, first.stopping, first.log) for name in names}}

    def close(self) -> None:
        """Kill all processes."""
        parts = vars(self)
        for trainer in (self.first, *parts.get("trainers", ()), *parts.get("finals_trainers", {}).values()):
            trainer.close()

    def run_trials(self) -> None:
        """Run trials until none may start and all are finished, with a line about each.

        A KeyboardInterrupt saves the state of every trial; a second one does not wait. Raises what has stopped a trial
        but is not its own, such as a full disk, and UsageError if there is no complete trial.
        """
        self._announce()
        threads = [Thread(target=self._work, args=(trainer,), daemon=True) for trainer in self.trainers]
        for thread in threads:
            thread.start()
        try:
            self._join(threads)
        except KeyboardInterrupt:
            self.first.stopping.set()
            self._join(threads)
            raise
        if self._errors:
            raise self._errors[0]
        if not self.study.complete:
            notes = [findings.trial_row(self.study, trial)["note"] for trial in self.study.trials]
            raise UsageError(f"No trial of '{self.directory}' was trained to its end; the last one: {notes[-1]}")

    def _announce(self) -> None:
        known = [f"{plural(self.study.num_started, 'trial')} so far" if self.study.trials else "new"]
        if self._most_trials < math.inf:
            known.append(f"up to {plural(int(self._most_trials), 'trial')} of {plural(self.settings.epochs, 'epoch')}")
        if self.options.hours:
            known.append(f"at most {self.options.hours:g} hours")
        lines = [f"study: {self.directory} ({', '.join(known)})"]
        lines.append(space.left_out(self.settings.space, self.settings.base))
        lines.append("" if self.settings.rungs else "Trials of one epoch are not pruned.")
        for line in filter(None, lines):
            self.notify("study", {"line": line})

    def _join(self, threads: list[Thread]) -> None:
        """Wait for the threads; end what their processes do once the study is asked to stop."""
        while any(thread.is_alive() for thread in threads):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for trainer in self.trainers if self.first.stopping.is_set() else ():
                trainer.stop()

    def _work(self, trainer: WarmProcess) -> None:
        """Run trials in a thread; wait for those of other threads and processes, which may die."""
        has_waited = False
        try:
            while not trainer.stopping.is_set():
                with self.study.claimed(self._may_start) as number:
                    if number is not None:
                        self._run_trial(trainer, number)
                if number is None:
                    if not (numbers := [str(trial.number) for trial in self.study.running]):
                        return
                    if not has_waited and len(numbers) >= self.options.workers:
                        self.notify("study", {"line": f"waiting for other processes (trials {', '.join(numbers)})"})
                    has_waited = True
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except Interrupted:
            pass
        except BaseException as error:  # raised again by `run_trials`
            self._errors.append(error)
            trainer.stopping.set()

    def _run_trial(self, trainer: WarmProcess, number: int) -> None:
        """Train a trial, from the start or from its last checkpoint, and finish it in the study."""
        study, trial = self.study, self.study.trials[number]
        recipe, spec = findings.setup_of(study, number)
        folder = self.directory / trial.user_attrs["run"]
        run = run_of(folder, self.settings.source, self.dataset, (spec, recipe, trainer.engine))
        try:
            with self._timed(number):
                trainer.train(run, self.dataset, lambda kind, fields: self._follow(number, run, kind, fields))
                # Epochs that a killed process had not reported are judged now.
                is_pruned = self._is_pruned(number, run.history)
        except EngineError as error:
            study.note(number, failed=True, note=str(error).partition(" Resume with:")[0])
            study.finish(number, TrialState.PRUNED)
        else:
            values = [epoch["validation_accuracy"] for epoch in run.history]
            value = None if is_pruned else max(values) if recipe.keep_best else values[-1]
            study.finish(number, TrialState.PRUNED if is_pruned else TrialState.COMPLETE, value)
        row = findings.trial_row(study, study.trials[number])
        line = findings.line(study, row, self._time_left())
        self.notify("trial", {**row, "name": f"trial {number}", "line": line})

    @contextmanager
    def _timed(self, number: int) -> Iterator[None]:
        """Add the time of the block to a trial's."""
        start, before = time.monotonic(), self.study.trials[number].user_attrs.get("seconds", 0.0)
        try:
            yield
        finally:
            self.study.note(number, seconds=before + time.monotonic() - start)

    def _is_pruned(self, number: int, epochs: list[dict[str, Any]]) -> bool:
        """Report epochs; return whether the last one ends the trial."""
        judged = [self.study.judge(number, one["epoch"], one["validation_accuracy"]) for one in epochs]
        return any(judged)

    def _follow(self, number: int, run: Run, kind: str, fields: dict[str, Any]) -> bool:
        """Report an epoch, or all epochs of a checkpoint; return whether the trial ends there."""
        if kind in ("step", "epoch"):
            told = {**fields, "trial": number, "name": f"trial {number}", "epochs": self.settings.epochs}
            self.notify(f"trial_{kind}", told)
        epochs = {"resume": lambda: run.history, "epoch": lambda: [fields]}.get(kind, list)()
        return self._is_pruned(number, epochs)

    def plan(self) -> list[dict[str, Any]]:
        """Return trainings, epochs and seconds of the trials, and of the finalists in each engine; trains nothing."""
        options, base, found = self.options, self.settings.base, list[dict[str, Any]]()
        finalists = (options.finalists + 1) * options.seeds if options.finalists else 0
        wanted = [("trials", self.first, options.trials or DEFAULT_TRIALS, self.settings.expected_share)]
        wanted += [("finalists", one, finalists, 1.0) for one in self.finals_trainers.values() if finalists]
        seconds = {}
        for trainer in {trainer.engine: trainer for _, trainer, *_ in wanted}.values():
            made = base.recipe, base.spec, trainer.engine, trainer.threads
            seconds[trainer.engine] = trainer.keeping(self.dataset).call(epoch_seconds, *made)
        for what, trainer, num, share in wanted:
            epochs = round(num * self.settings.epochs * share)
            total = epochs * seconds[trainer.engine] + num * SECONDS_OF_TRIAL
            found.append({"what": f"{what}, {trainer.engine}", "trainings": num, "epochs": epochs, "seconds": total})
        return found

    @property
    def _most_trials(self) -> float:
        return self.options.trials or (math.inf if self.options.hours else DEFAULT_TRIALS)

    def _may_start(self) -> bool:
        """Whether another trial may start: their number and the time are limited."""
        return self.study.num_started < self._most_trials and self._seconds_for_trials() > 0

    def _seconds_for_trials(self) -> float:
        """Return the time left for trials; that of the finalists is reserved."""
        if not self.options.hours:
            return math.inf
        return 3600 * self.options.hours - (time.monotonic() - self.start) - self._finals_seconds()

    def _finals_seconds(self) -> float:
        """Return an estimate of the time that the finalists take."""
        num = (self.options.finalists + 1) * self.options.seeds * len(engines.installed())
        each = self.settings.epochs * findings.seconds_per_epoch(self.study) / self.options.workers
        return num * each if self.options.finalists else 0.0

    def _time_left(self) -> str:
        """Say how long the study will take, finalists included."""
        spent = [trial.user_attrs["seconds"] for trial in self.study.trials if "seconds" in trial.user_attrs]
        missing = self._most_trials - self.study.num_started + len(self.study.running)
        seconds = min(self._seconds_for_trials(), missing * sum(spent) / len(spent) / self.options.workers)
        minutes = max(1, round((max(0.0, seconds) + self._finals_seconds()) / 60))
        return f"about {minutes // 60} h {minutes % 60} min left" if minutes >= 60 else f"about {minutes} min left"
