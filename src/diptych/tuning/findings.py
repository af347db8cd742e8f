"""What a study found, as plain data: the content of `study.json`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.spec.codec import recipe_to_json
from diptych.training.machine import machine
from diptych.tuning import space as spaces
from diptych.tuning.space import Setup
from diptych.tuning.study import Study

if TYPE_CHECKING:
    from diptych.tuning.session import Session

FEWEST_FOR_IMPORTANCE = 10
STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}


def trial_row(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as `study.json` shows it."""
    attributes, curve = trial.user_attrs, sorted(trial.intermediate_values.items())
    state = next((name for name in ("rejected", "failed") if name in attributes), STATES.get(trial.state, "failed"))
    return {
        "number": trial.number,
        "state": state,
        "note": attributes.get("rejected") or attributes.get("note", ""),
        "params": trial.params,
        "accuracy": trial.value if trial.state == TrialState.COMPLETE else curve[-1][1] if curve else None,
        "epochs": len(curve),
        "of_epochs": study.settings.epochs,
        "seconds": attributes.get("seconds", 0.0),
        "num_parameters": attributes.get("num_parameters"),
        "flops": attributes.get("flops"),
        "latency_ms": study.latencies_ms.get(trial.number),
        "curve": curve,
        "run": attributes["run"],
    }


def best_trial(study: Study) -> FrozenTrial | None:
    """Return the complete trial with the highest accuracy, the first of equal ones; None if none is complete."""
    return max(study.complete, key=lambda trial: (trial.value, -trial.number), default=None)


def setup_of(study: Study, number: int) -> Setup:
    """Return the recipe and the model of a trial."""
    base = study.settings.base
    return spaces.setup(base, study.trials[number].params) if number else (base.recipe, base.spec)


def summarize(session: Session, command: str, finals: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `study.json`; `finals` are the finalists, the result and remarks, as far as there are."""
    study, settings, dataset = session.study, session.settings, session.dataset
    rows = [trial_row(study, trial) for trial in study.trials if trial.state != TrialState.RUNNING]
    best, result, spec = best_trial(study), finals.get("result"), settings.base.spec
    number = result["chosen"] if result else best.number if best else 0
    chosen = 0 if number == "default" else number
    usual: dict[str, Any] = {"low": None, "high": None, "log": False, "choices": [], "meaning": ""}
    subject: dict[str, Any] = {"data": dataset.name, "num_classes": dataset.num_classes}
    subject |= {f"num_{name}": len(split) for name, split in dataset.splits.items()}
    subject |= {"model": spec.name, "engine": settings.engine, "machine": machine(), "threads": session.first.threads}
    return {
        "version": 1,
        "title": f"{dataset.name}, {spec.name}: {study.num_started} trials",
        "command": command,
        "subject": {**subject, "epochs": settings.epochs, "seed": settings.seed},
        "space": [{**usual, **msgspec.to_builtins(one)} for one in settings.space],
        "trials": rows,
        "best": best.number if best else None,
        "chosen": chosen,
        "importance": importance(study),
        "best_so_far": best_so_far(rows),
        "finalists": finals.get("finalists", []),
        "result": result,
        "changes": changes(study, chosen),
        "costs": costs(study, rows),
        "remarks": [*filter(None, [spaces.left_out(settings.space, settings.base)]), *finals.get("remarks", [])],
    }


def best_so_far(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return each complete trial that was better than all before it, with its accuracy."""
    steps: list[tuple[int, float]] = []
    for row in rows:
        if row["state"] == "finished" and (not steps or row["accuracy"] > steps[-1][1]):
            steps.append((row["number"], row["accuracy"]))
    return steps


def importance(study: Study) -> list[tuple[str, float]]:
    """Return each parameter's importance (PED-ANOVA), the largest first; empty if there are too few trials.

    A pruned trial counts with its last accuracy, which is that of a trial that was worse.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # slow to import

    copy = optuna.create_study(direction="maximize")
    for trial in study.trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.intermediate_values:
            value = trial.intermediate_values[trial.last_step]
            parts = {"params": trial.params, "distributions": trial.distributions}
            copy.add_trial(create_trial(value=value, **parts))
    if len(copy.trials) < FEWEST_FOR_IMPORTANCE:
        return []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some regimes for parameter")  # of parameters that few trials have
        found = get_param_importances(copy, evaluator=PedAnovaImportanceEvaluator())
    return sorted(((name, float(value)) for name, value in found.items()), key=lambda item: -item[1])


def changes(study: Study, number: int) -> list[tuple[str, Any, Any]]:
    """Return each field of the recipe, and each parameter of the model, that a trial changes: default, tuned."""
    recipe, spec = setup_of(study, number)
    base = study.settings.base
    before, after = recipe_to_json(base.recipe), recipe_to_json(recipe)
    before |= {"learning_rate": base.recipe.rate, "decoupled_decay": base.recipe.decay}
    after |= {"learning_rate": recipe.rate, "decoupled_decay": recipe.decay}
    params = study.trials[number].params if study.trials else {}
    defaults = spaces.defaults(study.settings.space, base)
    for name in ("width", "depth", "dropout"):
        if name in params:
            before[name], after[name] = defaults.get(name), params[name]
    before["parameters"], after["parameters"] = base.spec.num_parameters, spec.num_parameters
    return [(name, before[name], value) for name, value in after.items() if value != before[name]]


def costs(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the time of all trials, the share of it that was not spent in epochs, and the epochs that were saved."""
    trained = [row for row in rows if row["curve"] and row["state"] != "failed"]
    seconds = sum(row["seconds"] for row in trained)
    training = sum(_seconds_in_epochs(Run(study.directory / row["run"])) for row in trained)
    epochs = sum(row["epochs"] for row in trained)
    possible = sum(row["of_epochs"] for row in trained)
    return {
        "seconds": seconds,
        "training_seconds": training,
        "overhead": max(0.0, 1 - training / seconds) if seconds else None,
        "epochs": epochs,
        "epochs_saved": possible - epochs,
        "share_saved": 1 - epochs / possible if possible else None,
    }


def _seconds_in_epochs(run: Run) -> float:
    """Return the time of a run's epochs and their validation, which is the time between their ends."""
    epochs = read_events(run.events_path, "epoch")
    rests = [after["time"] - before["time"] - after["seconds"] for before, after in pairwise(epochs)]
    usual = max(0.0, median(rests)) if rests else 0.0  # without the pauses of a run that was resumed
    return float(sum(epoch["seconds"] + usual for epoch in epochs))


def seconds_per_epoch(study: Study) -> float:
    """Return the mean time of an epoch so far, all overheads included; 0 if no trial has ended."""
    rows = [trial_row(study, trial) for trial in study.trials]
    spent = [row["seconds"] / row["epochs"] for row in rows if row["epochs"] and row["seconds"]]
    return mean(spent) if spent else 0.0


def line(study: Study, row: Mapping[str, Any], left: str) -> str:
    """Return the line that is printed when a trial has ended."""
    best = best_trial(study)
    accuracy = "" if row["accuracy"] is None else f" {row['accuracy']:.2%}"
    usual = spaces.defaults(study.settings.space, study.settings.base)
    others = ", ".join(f"{name} {_brief(value)}" for name, value in row["params"].items() if value != usual.get(name))
    parts = [f"trial {row['number']}: {row['state']}{accuracy}", f"{row['epochs']}/{row['of_epochs']} epochs"]
    parts.append(row["note"] or others)
    if best is not None:
        parts.append(f"best {best.value:.2%} (trial {best.number})")
    return "; ".join(filter(None, [*parts, left]))


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
