"""A study: trials in Optuna's journal, each sampled and judged as a function of its seed, its number and those before.

A kill at any moment loses nothing: a trial enters the journal in one entry, with all its parameters; a process holds a
lock for each trial that it works on, and takes over those that nobody holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from diptych.artifacts.locks import held
from diptych.errors import ArtifactError, SpecError, UsageError
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.training.machine import check_memory
from diptych.training.provenance import DataSource
from diptych.tuning import space as spaces
from diptych.tuning.space import Base, Space, Value

JOURNAL = "journal.log"
REDUCTION = 3
MAX_REJECTED = 100
NUM_STARTUP = 10
"""Finished or pruned trials before TPE takes over. The first is the recipe in force; the others keep half of it."""
_RUNG = "completed_rung_"


@dataclass(frozen=True)
class Settings:
    """Everything that the trials of a study follow from."""

    source: DataSource
    base: Base
    space: Space
    engine: str
    seed: int
    max_params: int | None = None
    max_flops: int | None = None

    @property
    def epochs(self) -> int:
        """Epochs of a whole trial."""
        return self.base.recipe.epochs

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a trial may be pruned: a quarter of them, and three times as many."""
        first = max(1, round(self.epochs / 4))
        return tuple(one for one in (first, REDUCTION * first) if one < self.epochs)

    @property
    def expected_share(self) -> float:
        """The share of all epochs that are trained if each rung stops as many trials as the pruner means to."""
        ends, left = (*self.rungs, self.epochs), [1 / REDUCTION**rung for rung in range(len(self.rungs) + 1)]
        stopped = [before - after for before, after in pairwise([*left, 0.0])]
        epochs: float = sum(share * end for share, end in zip(stopped, ends, strict=True))
        return epochs / self.epochs

    @property
    def digest(self) -> str:
        """The digest of all settings but where decoded data are cached."""
        content = {
            "data": {**msgspec.structs.asdict(self.source), "cache": None},
            "recipe": recipe_to_json(self.base.recipe),
            "spec": model_to_json(self.base.spec),
            "space": msgspec.to_builtins(self.space),
            "others": [self.base.is_cnn, self.engine, self.seed, self.max_params, self.max_flops],
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def excess(self, params: dict[str, Value]) -> tuple[dict[str, Any], str]:
        """Return the size of a trial's model, and why it is not trained; empty if it is."""
        try:
            recipe, spec = spaces.setup(self.base, params)
            check_memory(spec, min(recipe.batch, self.base.num_train))
        except SpecError as error:
            return {}, str(error)
        limits = ("parameters", spec.num_parameters, self.max_params), ("FLOPs", spec.flops, self.max_flops)
        over = [f"{size:,} {name}" for name, size, most in limits if most and size > most]
        return {"num_parameters": spec.num_parameters, "flops": spec.flops}, ", ".join(over)


class Study:
    """A study in a folder, shared by all processes and threads that work on it."""

    def __init__(self, directory: Path, settings: Settings, fingerprint: str) -> None:
        """Open or create it; raises ArtifactError if its data have changed."""
        self.directory, self.settings = directory, settings
        path = directory / JOURNAL
        with held(directory / ".lock"):
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path)))
            self.optuna: optuna.Study = optuna.create_study(
                storage=storage,
                study_name=directory.name,
                direction="maximize",
                load_if_exists=True,
                sampler=self._sampler(0),
                pruner=self._pruner(),
            )
            if self.optuna.user_attrs.get("fingerprint", fingerprint) != fingerprint:
                raise ArtifactError(
                    f"The data at '{settings.source.data}' has changed since the study '{directory}' began. "
                    "Move the study, or choose another --out."
                )
            self.optuna.set_user_attr("fingerprint", fingerprint)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, in the order of their numbers."""
        return list(self.optuna.get_trials(deepcopy=False))

    @property
    def num_started(self) -> int:
        """The number of trials that count: all but those rejected before training."""
        return sum("rejected" not in trial.user_attrs for trial in self.trials)

    @property
    def running(self) -> list[FrozenTrial]:
        """Trials that are not finished."""
        return [trial for trial in self.trials if trial.state == TrialState.RUNNING]

    @property
    def complete(self) -> list[FrozenTrial]:
        """Trials that were trained to their end."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE]

    @property
    def latencies_ms(self) -> dict[int, float]:
        """The latency of one image in milliseconds, by trial, as far as it was measured."""
        return {int(number): value for number, value in self.optuna.user_attrs.get("latencies_ms", {}).items()}

    @contextmanager
    def claimed(self, may_start: Callable[[], bool]) -> Iterator[int | None]:
        """Hold a trial that nobody works on, an unfinished one or else a new one; yield its number, or None."""
        with ExitStack() as stack:
            with held(self.directory / ".lock"):
                numbers = [trial.number for trial in self.running]
                number = next((one for one in numbers if self._claim(one, stack)), None)
                while number is None and may_start():
                    added = self._add()
                    if added is not None and self._claim(added, stack):
                        number = added
            yield number

    def _claim(self, number: int, stack: ExitStack) -> bool:
        """Whether this call got the lock of an unfinished trial, which `stack` then holds."""
        with ExitStack() as attempt:
            is_ours = attempt.enter_context(held(self.directory / ".locks" / f"{number:04}", 0.0))
            is_ours = is_ours and self.trials[number].state == TrialState.RUNNING
            if is_ours:
                stack.enter_context(attempt.pop_all())
        return is_ours

    def _add(self) -> int | None:
        """Add a trial to the journal, the recipe in force first; return None if it was rejected."""
        trials = self.trials
        number = len(trials)
        params, distributions = self._sampled(trials)
        sizes, why = self.settings.excess(params)
        attributes = {"run": f"trials/{number:04}", "note": "" if number else "default recipe", **sizes}
        if why:
            rejected = [*(trial.user_attrs.get("rejected") for trial in trials[1 - MAX_REJECTED :]), why]
            if len(rejected) >= MAX_REJECTED and all(rejected):
                raise UsageError(
                    f"{MAX_REJECTED} candidates in a row exceed the limits, the last with {why}: raise them."
                )
            attributes["rejected"] = why
        state = TrialState.FAIL if why else TrialState.RUNNING
        self.optuna.add_trial(
            create_trial(state=state, params=params, distributions=distributions, user_attrs=attributes)
        )
        return None if why else number

    def _sampled(self, trials: Sequence[FrozenTrial]) -> tuple[dict[str, Value], dict[str, BaseDistribution]]:
        """Return the parameters of the next trial, sampled in a copy of the study."""
        past = optuna.create_study(direction="maximize", sampler=self._sampler(len(trials)))
        in_force = spaces.defaults(self.settings.space, self.settings.base)
        if sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) < NUM_STARTUP:
            random = Random(self._sampler_seed(len(trials)))
            past.enqueue_trial({name: one for name, one in in_force.items() if not trials or random.random() < 0.5})
        past.add_trials(trials)
        trial = past.ask()
        params = spaces.sample(self.settings.space, trial)
        if not trials:  # what the space lacks of the recipe in force has no value
            params = in_force
        return params, {name: trial.distributions[name] for name in params}

    def judge(self, number: int, epoch: int, accuracy: float) -> bool:
        """Report the validation accuracy of an epoch, once; return whether the trial ends there."""
        trial = self.trials[number]
        if any(step > epoch for step in trial.intermediate_values):  # judged before
            return False
        if epoch not in trial.intermediate_values:
            optuna.trial.Trial(self.optuna, trial._trial_id).report(accuracy, epoch)
        if epoch not in self.settings.rungs:
            return False
        past = optuna.create_study(direction="maximize", pruner=self._pruner())
        past.add_trials([self._before(one, epoch) if one.number == number else one for one in self.trials])
        is_pruned = bool(past.pruner.prune(past, past.get_trials(deepcopy=False)[number]))
        for key, value in past.trials[number].system_attrs.items():
            if key not in trial.system_attrs:
                self.optuna._storage.set_trial_system_attr(trial._trial_id, key, value)
        return is_pruned

    def _before(self, trial: FrozenTrial, epoch: int) -> FrozenTrial:
        """Return a trial as it was before it was judged after an epoch."""
        before, rungs = copy(trial), self.settings.rungs
        before.system_attrs = {
            key: value
            for key, value in trial.system_attrs.items()
            if not key.startswith(_RUNG) or rungs[int(key.removeprefix(_RUNG))] < epoch
        }
        return before

    def note(self, number: int, **attributes: Any) -> None:
        """Record facts about a trial."""
        for name, value in attributes.items():
            trial = self.trials[number]
            if trial.user_attrs.get(name) != value:
                optuna.trial.Trial(self.optuna, trial._trial_id).set_user_attr(name, value)

    def finish(self, number: int, state: TrialState, accuracy: float | None = None) -> None:
        """End a trial; one that failed is stored as pruned, so that the sampler avoids its neighbors."""
        self.optuna.tell(number, accuracy, state)

    def _sampler_seed(self, number: int) -> int:
        return int.from_bytes(sha256(f"{self.settings.seed}/{number}".encode()).digest()[:4])

    def _sampler(self, number: int) -> TPESampler:
        seed = self._sampler_seed(number)
        # Spelled out because Optuna's defaults differ between versions.
        return TPESampler(seed=seed, n_startup_trials=NUM_STARTUP, multivariate=True, group=True, constant_liar=True)

    def _pruner(self) -> SuccessiveHalvingPruner:
        return SuccessiveHalvingPruner(min_resource=(*self.settings.rungs, 1)[0], reduction_factor=REDUCTION)


class _Lock:
    """A lock of the journal that the kernel releases when its holder is killed; Optuna's own would block for 30 s."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._stack = ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock, and remove an entry at the journal's end that a killed process has not written whole."""
        stack = ExitStack()
        stack.enter_context(held(self._journal.with_name(f".{self._journal.name}.lock")))
        self._stack = stack
        content = self._journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self._journal, content.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release it."""
        self._stack.close()
