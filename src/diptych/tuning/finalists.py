"""The end of a study: the best trials and the default recipe, trained again with fresh seeds in every framework.

They are judged on validation; only then is the test split opened, once, for the chosen one and the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from diptych import engines
from diptych.artifacts.locks import held
from diptych.artifacts.run import Run
from diptych.comparison.runs import TITLES
from diptych.comparison.statistics import LEVEL, paired_difference
from diptych.comparison.wording import plural
from diptych.data.datasets import Dataset
from diptych.errors import EngineError
from diptych.tuning.findings import setup_of
from diptych.tuning.process import accuracy, latency, run_of
from diptych.tuning.session import Session

Name: TypeAlias = int | Literal["default"]
DEFAULT: Literal["default"] = "default"
ByEngine: TypeAlias = dict[str, list[float]]


def finals_of(session: Session) -> dict[str, Any]:
    """Train and test the finalists as far as that was not done.

    Returns the entries `finalists` and `result` of study.json, and `remarks`.
    """
    options, study, remarks = session.options, session.study, list[str]()
    with held(session.directory / ".finalists.lock"):  # the others wait, and find everything done
        measure_latencies(session)
        if not options.finalists:
            return {"remarks": ["There were no finalists (--finalists 0), so the test split was not opened."]}
        done = [trial for trial in study.complete if trial.number]
        if most := options.max_latency_ms:
            done = [trial for trial in done if study.latencies_ms[trial.number] <= most]
        best = sorted(done, key=lambda trial: (-trial.value, trial.number))[: options.finalists]
        if len(best) < options.finalists:
            count = plural(len(best), "trial") if best else "no trial"
            remarks.append(
                f"Besides the default recipe, {count} could be a finalist: the others were pruned or excluded."
            )
        if missing := [title for name, title in TITLES.items() if name not in engines.installed()]:
            remarks.append(f"{missing[0]} is not installed, so the finalists were trained in one framework.")
        names: list[Name] = [*(trial.number for trial in best), DEFAULT]
        seeds = "fresh seeds" if options.seeds > 1 else "fresh seed"
        chosen = ", ".join([*(f"trial {name}" for name in names[:-1]), "the default recipe"])
        session.notify("study", {"line": f"finalists: {chosen}; {options.seeds} {seeds} each"})
        found = _Finals(session).decide(names)
    return {**found, "remarks": [*remarks, *found["remarks"]]}


def measure_latencies(session: Session) -> None:
    """Measure the latency of every complete trial that has none; trials with the same model share one."""
    study, trainer = session.study, session.first
    known, by_model = study.latencies_ms, dict[str, float]()
    for trial in study.complete:
        run = Run.open(session.directory / trial.user_attrs["run"])
        model = str(run.read_record().spec.layers)
        if trial.number not in known:
            if model not in by_model:
                process = trainer.keeping(session.dataset)
                by_model[model] = process.call(latency, run, trainer.engine, trainer.threads)
            known[trial.number] = by_model[model]
        by_model[model] = known[trial.number]
    study.optuna.set_user_attr("latencies_ms", known)


class _Finals:
    """The runs of the finalists."""

    def __init__(self, session: Session) -> None:
        self.session, self.study, self.source = session, session.study, session.settings.source
        first = session.settings.seed + 1
        self.seeds = range(first, first + session.options.seeds)

        @lru_cache(maxsize=1)
        def data(seed: int) -> Dataset:
            return session.undivided.divide(seed, self.source.validation_fraction, self.source.test_fraction)

        self.data = data

    def folder(self, name: Name, engine: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.session.directory / "finalists" / f"{_label(name)}-{engine}-s{seed}"

    def decide(self, names: Sequence[Name]) -> dict[str, Any]:
        """Train the finalists, choose one by its mean validation accuracy, and test it and the default."""
        scores: dict[Name, ByEngine] = {name: {} for name in names}
        remarks: dict[Name, str] = {}
        for engine, seed, name in product(engines.installed(), self.seeds, names):
            try:
                if name not in remarks:
                    score = self.trained(name, engine, seed).read_metrics()["accuracy"]
                    scores[name].setdefault(engine, []).append(float(score))
            except EngineError as error:
                if name == DEFAULT:
                    raise
                remarks[name] = f"Trial {name} is no finalist: with seed {seed}, {error}"
                del scores[name]
        chosen = max(scores, key=lambda name: (float(np.mean([*scores[name].values()])), name == DEFAULT))
        tested = self.study.optuna.user_attrs.get("tested", {})
        if any(not run.startswith((_label(chosen), DEFAULT)) for run in tested):
            remarks[DEFAULT] = "The test split had been opened before, for the choice among fewer trials."
        rows = [{"trial": name, "validation": summary(one), "runs": self.runs(name)} for name, one in scores.items()]
        result = result_of(self.tested(chosen), chosen, 1 / len(self.data(self.seeds[0]).test))
        return {"finalists": rows, "result": result, "remarks": list(remarks.values())}

    def runs(self, name: Name) -> list[str]:
        """Return the folders of a finalist, relative to the study's."""
        folders = (self.folder(name, *one) for one in product(engines.installed(), self.seeds))
        return [str(folder.relative_to(self.session.directory)) for folder in folders]

    def trained(self, name: Name, engine: str, seed: int) -> Run:
        """Return the finished run of a finalist."""
        recipe, spec = setup_of(self.study, 0 if name == DEFAULT else int(name))
        source, dataset = msgspec.structs.replace(self.source, seed=seed), self.data(seed)
        run, notify = (
            run_of(self.folder(name, engine, seed), source, dataset, (spec, recipe, engine)),
            self.session.notify,
        )
        if not run.manifest_path.exists():
            label = f"finalist {name}, {TITLES[engine]}, seed {seed}"

            def follow(kind: str, fields: dict[str, Any]) -> None:
                if kind in ("step", "epoch"):
                    notify(f"trial_{kind}", {**fields, "trial": name, "name": label, "epochs": recipe.epochs})

            self.session.finals_trainers[engine].train(run, dataset, follow)
            score = f"{run.read_metrics()['accuracy']:.2%}"
            notify("study", {"name": label, "line": f"{label}: validation accuracy {score}"})
        return run

    def tested(self, chosen: Name) -> dict[Name, ByEngine]:
        """Return the test accuracies of the chosen one and the default; tested once, then recorded."""
        known: dict[str, float] = self.study.optuna.user_attrs.get("tested", {})
        found: dict[Name, ByEngine] = {chosen: {}, DEFAULT: {}}
        for engine, seed, name in product(engines.installed(), self.seeds, tuple(found)):
            folder, trainer = self.folder(name, engine, seed), self.session.finals_trainers[engine]
            if folder.name not in known:
                process = trainer.keeping(self.data(seed))
                known[folder.name] = process.call(accuracy, Run.open(folder), engine, trainer.threads)
            found[name].setdefault(engine, []).append(known[folder.name])
        self.study.optuna.set_user_attr("tested", known)
        return found


def _label(name: Name) -> str:
    return name if isinstance(name, str) else f"{name:04}"


def summary(by_engine: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return mean, standard deviation and number of accuracies, and those of each engine."""
    values = [*chain(*by_engine.values())]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": deviation, "n": len(values), **by_engine}


def result_of(tested: Mapping[Name, ByEngine], chosen: Name, resolution: float) -> dict[str, Any]:
    """Return the test accuracies, their difference, and whether the engines are alike, with a sentence."""
    tuned, default = tested[chosen], tested[DEFAULT]
    result: dict[str, Any] = {"tuned": summary(tuned), "default": summary(default), "chosen": chosen}
    ours, theirs = ([*chain(*one.values())] for one in (tuned, default))
    difference = paired_difference(theirs, ours, resolution if chosen != DEFAULT else 0.0) if len(ours) > 1 else None
    ends = ("mean", "low", "high")
    result["difference"] = difference and {name: getattr(difference, name) for name in ends}
    pairs = [[*chain(*(one[engine] for one in tested.values()))] for engine in tuned]
    is_paired = len(pairs) > 1 and len(pairs[0]) > 1
    result["engines_p"] = paired_difference(pairs[0], pairs[1], resolution).p_value if is_paired else None
    return {**result, "sentence": sentence(result)}


def sentence(result: Mapping[str, Any]) -> str:
    """Return the result in a sentence, with test accuracies."""
    parts = [f"tuned {_percent(result['tuned'])}", f"default {_percent(result['default'])}"]
    if result["chosen"] == DEFAULT:
        parts[0] = "no trial beat the default recipe on validation"
    names = [title for engine, title in TITLES.items() if engine in result["default"]]
    if (p_value := result["engines_p"]) is not None:
        shown = f"p = {p_value:.2g}" if p_value >= 0.001 else "p < 0.001"
        parts.append(f"{' and '.join(names)} {'alike' if p_value >= LEVEL else 'differ'} ({shown})")
    elif len(names) == 1:
        parts.append(f"in {names[0]} only, as no other framework is installed")
    return ", ".join(parts)


def _percent(one: Mapping[str, Any]) -> str:
    spread = "" if one["std"] is None else f" ± {100 * one['std']:.1f}"
    return f"{100 * one['mean']:.1f}{spread}%"
