"""A call of `tune`: the study's trials, then its finalists, as far as they are missing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Event
from typing import Any

from diptych import engines
from diptych.artifacts.locks import held
from diptych.comparison.runs import TITLES
from diptych.data.datasets import Dataset
from diptych.errors import UsageError
from diptych.options import TuneOptions
from diptych.processes import Notify, num_threads
from diptych.tuning import findings, space
from diptych.tuning.finalists import Finals, candidates, decide, measure_latencies
from diptych.tuning.study import Settings, Study
from diptych.tuning.trials import Trainer, Work, run_trials

DEFAULT_TRIALS = 40


@dataclass
class Session:
    """A study, its data and its processes."""

    options: TuneOptions
    settings: Settings
    undivided: Dataset
    """The data, which each seed of the finalists divides anew."""
    dataset: Dataset
    first: Trainer
    """The first process, which was started while the data were read."""
    notify: Notify
    start: float = field(default_factory=time.monotonic)

    @property
    def stopping(self) -> Event:
        """Set when the session is asked to stop."""
        return self.first.stopping

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
    def trainers(self) -> list[Trainer]:
        """A process for each trial at a time."""
        others = range(1, self.options.workers)
        return [self.first, *(Trainer(self.first.engine, self.first.threads, self.stopping) for _ in others)]

    @cached_property
    def finals_trainers(self) -> dict[str, Trainer]:
        """A process with all threads for each engine that finalists are trained in."""
        threads = self.options.threads or num_threads()
        names = [name for name in engines.installed() if name != self.first.engine or self.options.workers > 1]
        others = {name: Trainer(name, threads, self.stopping) for name in names}
        return {self.first.engine: self.first, **others}

    def close(self) -> None:
        """Kill all processes."""
        parts = vars(self)
        for trainer in (self.first, *parts.get("trainers", ()), *parts.get("finals_trainers", {}).values()):
            trainer.close()

    def run_trials(self) -> None:
        """Run the missing trials, with a line about each."""
        for line in self._opening():
            self.notify("study", {"line": line})
        study = self.study  # opened before threads share it
        run_trials(
            Work(study, self.settings.source, self.dataset, self.notify, self._may_start, self._ended), self.trainers
        )
        for trainer in self.trainers[1:]:
            trainer.close()
        if findings.best_trial(study) is None:
            faults = [findings.trial_row(study, trial)["note"] for trial in study.trials]
            raise UsageError(f"No trial of '{self.directory}' was trained to its end; the last one: {faults[-1]}")

    def _opening(self) -> list[str]:
        """Return what there is to do, and what is not searched."""
        known = self.study.num_started
        most = f"{self._most_trials} trials" if self._most_trials < math.inf else f"{self.options.hours:g} hours"
        so_far = f"{known} trials so far" if known else "new"
        lines = [f"study: {self.directory} ({so_far}, up to {most} of {self.settings.epochs} epochs)"]
        lines += [text] if (text := space.left_out(self.settings.space, self.settings.base)) else []
        if not self.settings.rungs:
            lines.append("Trials of one epoch are not pruned.")
        return lines

    @property
    def _most_trials(self) -> float:
        unlimited = math.inf if self.options.hours else DEFAULT_TRIALS
        return self.options.trials or unlimited

    def _may_start(self) -> bool:
        """Whether another trial may start: their number and the time are limited."""
        return self.study.num_started < self._most_trials and self._seconds_left() > 0

    def _seconds_left(self) -> float:
        """Return the time left for trials; that of the finalists is reserved."""
        if not self.options.hours:
            return math.inf
        return 3600 * self.options.hours - (time.monotonic() - self.start) - self._finals_seconds()

    def _finals_seconds(self) -> float:
        """Return an estimate of the time that the finalists take."""
        if not self.options.finalists:
            return 0.0
        num = (self.options.finalists + 1) * self.options.seeds * len(engines.installed())
        return num * self.settings.epochs * findings.seconds_per_epoch(self.study) / self.options.workers

    def _ended(self, number: int) -> None:
        """Print the line of a trial that has ended."""
        study, seconds = self.study, self._seconds_left()
        trials = [trial for trial in study.trials if "seconds" in trial.user_attrs]
        if self._most_trials < math.inf and trials:
            each = sum(trial.user_attrs["seconds"] for trial in trials) / len(trials) / self.options.workers
            seconds = min(seconds, each * (self._most_trials - study.num_started + len(study.running)))
        left = f"about {_clock(seconds + self._finals_seconds())} left" if seconds < math.inf else ""
        text = findings.line(study, number, left)
        self.notify(
            "trial", {**findings.trial_row(study, study.trials[number]), "name": f"trial {number}", "line": text}
        )

    def run_finals(self) -> dict[str, Any]:
        """Train and test the finalists, or find that it was done; return the parts of study.json and remarks."""
        study, options, remarks = self.study, self.options, list[str]()
        with held(self.directory / ".finalists.lock"):
            measure_latencies(study, self.first, self.dataset)
            names = candidates(study, options.finalists, options.max_latency_ms)
            if not options.finalists:
                return {"remarks": ["There were no finalists (--finalists 0), so the test split was not opened."]}
            if len(names) < options.finalists:
                remarks.append(f"Only {len(names)} trials besides the default recipe could be finalists.")
            if missing := [TITLES[name] for name in engines.NAMES if name not in engines.installed()]:
                remarks.append(f"{missing[0]} is not installed, so the finalists were trained in one framework.")
            seeds = range(self.settings.seed + 1, self.settings.seed + 1 + options.seeds)
            source = self.settings.source

            @lru_cache(maxsize=1)
            def data(seed: int) -> Dataset:
                return self.undivided.divide(seed, source.validation_fraction, source.test_fraction)

            entrants = ", ".join([*(f"trial {name}" for name in names), "the default recipe"])
            self.notify("study", {"line": f"finalists: {entrants}; {len(seeds)} fresh seeds each"})
            found = decide(Finals(study, source, data, seeds, self.finals_trainers, self.notify), names)
        return {**found, "remarks": [*remarks, *found["remarks"]]}

    def content(self, title: str, command: str, finals: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of study.json."""
        threads = self.first.threads
        subject = findings.subject(self.study, self.dataset, threads)
        about = {"title": title, "command": command, "subject": subject}
        remarks = [text for text in (space.left_out(self.settings.space, self.settings.base),) if text]
        return findings.summarize(self.study, about=about, finals=finals, remarks=remarks)


def _clock(seconds: float) -> str:
    minutes = round(max(seconds, 0.0) / 60)
    return f"{minutes // 60}:{minutes % 60:02} h" if minutes >= 60 else f"{max(minutes, 1)} min"
