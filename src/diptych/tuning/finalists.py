"""The end of a study: the best trials and the default recipe, trained again with fresh seeds in every framework.

They are judged on validation; only then is the test split opened, once, for the chosen one and the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from diptych import engines
from diptych.artifacts.run import Run
from diptych.comparison.runs import TITLES
from diptych.comparison.statistics import LEVEL, paired_difference
from diptych.data.datasets import Dataset
from diptych.errors import EngineError
from diptych.processes import Notify
from diptych.training.provenance import DataSource
from diptych.tuning import space as spaces
from diptych.tuning.study import Study
from diptych.tuning.trials import Trainer, accuracy, latency, run_of

Name: TypeAlias = int | Literal["default"]
DEFAULT: Literal["default"] = "default"


@dataclass(frozen=True)
class Finals:
    """What the finalists are trained on and by."""

    study: Study
    source: DataSource
    data: Callable[[int], Dataset]
    """The data, split for a seed."""
    seeds: Sequence[int]
    trainers: Mapping[str, Trainer]
    """By engine."""
    notify: Notify

    def folder(self, name: Name, engine: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.study.directory / "finalists" / f"{_label(name)}-{engine}-s{seed}"


def _label(name: Name) -> str:
    return name if isinstance(name, str) else f"{name:04}"


def candidates(study: Study, most: int, max_latency_ms: float | None) -> list[int]:
    """Return the best complete trials, the best first, without the recipe in force and those that are too slow."""
    done = [trial for trial in study.complete if trial.number]
    if max_latency_ms:
        done = [trial for trial in done if study.latencies_ms[trial.number] <= max_latency_ms]
    return [trial.number for trial in sorted(done, key=lambda trial: (-trial.value, trial.number))[:most]]


def measure_latencies(study: Study, trainer: Trainer, dataset: Dataset) -> None:
    """Measure the latency of every complete trial that has none; trials with the same model share one."""
    known, by_model = study.latencies_ms, dict[str, float]()
    for trial in study.complete:
        run = Run.open(study.directory / trial.user_attrs["run"])
        model = str(run.read_record().spec.layers)
        if trial.number not in known:
            if model not in by_model:
                by_model[model] = trainer.keeping(dataset).call(latency, run, trainer.engine, trainer.threads)
            known[trial.number] = by_model[model]
        by_model[model] = known[trial.number]
    study.optuna.set_user_attr("latencies_ms", known)


def decide(finals: Finals, names: Sequence[int]) -> dict[str, Any]:
    """Train the finalists, choose one by its mean validation accuracy, and test it and the default.

    Returns the entries `finalists` and `result` of study.json, and `remarks`. Finished runs and tests are reused.
    """
    entrants: list[Name] = [*names, DEFAULT]
    scores: dict[Name, dict[str, list[float]]] = {name: {} for name in entrants}
    remarks: dict[Name, str] = {}
    for engine, seed, name in product(engines.installed(), finals.seeds, entrants):
        try:
            if name not in remarks:
                run = _trained(finals, name, engine, seed)
                scores[name].setdefault(engine, []).append(float(run.read_metrics()["accuracy"]))
        except EngineError as error:
            if name == DEFAULT:
                raise
            remarks[name] = f"Trial {name} is no finalist: with seed {seed}, {error}"
            del scores[name]
    chosen = max(scores, key=lambda name: (float(np.mean([*scores[name].values()])), name == DEFAULT))
    tested = finals.study.optuna.user_attrs.get("tested", {})
    if any(not key.startswith((_label(chosen), DEFAULT)) for key in tested):
        remarks[DEFAULT] = "The test split had been opened before, for the choice among fewer trials."
    return {
        "finalists": [
            {
                "trial": name,
                "validation": summary(by_engine),
                "runs": [_relative(finals, name, engine, seed) for engine in by_engine for seed in finals.seeds],
            }
            for name, by_engine in scores.items()
        ],
        "result": _result(finals, chosen, _tested(finals, chosen)),
        "remarks": list(remarks.values()),
    }


def _relative(finals: Finals, name: Name, engine: str, seed: int) -> str:
    return str(finals.folder(name, engine, seed).relative_to(finals.study.directory))


def _trained(finals: Finals, name: Name, engine: str, seed: int) -> Run:
    """Return the finished run of a finalist."""
    base = finals.study.settings.base
    trial = None if name == DEFAULT else finals.study.trials[int(name)]
    recipe, spec = spaces.setup(base, trial.params) if trial else (base.recipe, base.spec)
    source, dataset = msgspec.structs.replace(finals.source, seed=seed), finals.data(seed)
    run = run_of(finals.folder(name, engine, seed), source, dataset, (spec, recipe, engine))
    if not run.manifest_path.exists():
        label = f"finalist {name}, {TITLES[engine]}, seed {seed}"

        def follow(kind: str, fields: dict[str, Any]) -> None:
            if kind in ("step", "epoch"):
                finals.notify(f"trial_{kind}", {**fields, "trial": name, "name": label, "epochs": recipe.epochs})

        finals.trainers[engine].train(run, dataset, follow)
        score = f"{run.read_metrics()['accuracy']:.2%}"
        finals.notify("study", {"name": label, "line": f"{label}: validation accuracy {score}"})
    return run


def _tested(finals: Finals, chosen: Name) -> dict[str, dict[str, list[float]]]:
    """Return the test accuracies of the chosen one and the default by engine; tested once, then recorded."""
    known: dict[str, float] = finals.study.optuna.user_attrs.get("tested", {})
    found: dict[str, dict[str, list[float]]] = {}
    for engine, seed, name in product(engines.installed(), finals.seeds, dict.fromkeys((chosen, DEFAULT))):
        folder = finals.folder(name, engine, seed)
        if folder.name not in known:
            trainer = finals.trainers[engine]
            process = trainer.keeping(finals.data(seed))
            known[folder.name] = process.call(accuracy, Run.open(folder), engine, trainer.threads)
        found.setdefault(str(name), {}).setdefault(engine, []).append(known[folder.name])
    finals.study.optuna.set_user_attr("tested", known)
    return found


def summary(by_engine: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return mean, standard deviation and number of accuracies, and those of each engine."""
    values = [value for one in by_engine.values() for value in one]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": deviation, "n": len(values), **by_engine}


def _result(finals: Finals, chosen: Name, tested: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    tuned, default = tested[str(chosen)], tested[DEFAULT]
    ours, theirs = ([value for one in each.values() for value in one] for each in (tuned, default))
    resolution = 1 / len(finals.data(finals.seeds[0]).test)
    result: dict[str, Any] = {"tuned": summary(tuned), "default": summary(default), "chosen": chosen}
    result |= {"difference": None, "engines_p": None}
    if len(ours) > 1:
        difference = paired_difference(theirs, ours, resolution if chosen != DEFAULT else 0.0)
        result["difference"] = {name: getattr(difference, name) for name in ("mean", "low", "high")}
    pairs = [[value for each in {str(chosen): tuned, DEFAULT: default}.values() for value in each[e]] for e in tuned]
    if len(pairs) == len(engines.NAMES) and len(pairs[0]) > 1:
        result["engines_p"] = paired_difference(pairs[0], pairs[1], resolution).p_value
    return {**result, "sentence": sentence(result)}


def sentence(result: Mapping[str, Any]) -> str:
    """Return the result in a sentence, with test accuracies."""
    parts = [f"default {_percent(result['default'])}"]
    if result["chosen"] == DEFAULT:
        parts.insert(0, "no trial beat the default recipe on validation")
    else:
        parts.insert(0, f"tuned {_percent(result['tuned'])}")
    names = [title for engine, title in TITLES.items() if engine in result["default"]]
    if (p_value := result["engines_p"]) is not None:
        parts.append(f"{' and '.join(names)} {'alike' if p_value >= LEVEL else 'differ'} (p = {p_value:.2g})")
    elif len(names) == 1:
        parts.append(f"in {names[0]} only, as no other framework is installed")
    return ", ".join(parts)


def _percent(one: Mapping[str, Any]) -> str:
    spread = "" if one["std"] is None else f" ± {100 * one['std']:.1f}"
    return f"{100 * one['mean']:.1f}{spread}%"
