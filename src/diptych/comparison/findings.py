"""A comparison as plain data: everything in `comparison.json`, which the report and the tables show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from diptych.comparison.costs import costs, disturbances
from diptych.comparison.runs import Arm, FinishedRun, Shipped, shared_seeds
from diptych.comparison.statistics import contrast, gallery, pairs
from diptych.comparison.wording import attribution, verdict
from diptych.deployment.formats import FORMATS
from diptych.engines.differences import LEDGER
from diptych.evaluation import absent, caution, reliability_bins
from diptych.native.projects import project
from diptych.native.shared import code_lines
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L

VERSION = 1
COMPILED = {"torch": "eager", "tensorflow": "tf.function"}
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
CHANGED = {
    "framework": "{0} and {1}",
    "threads": "{0}, {2.last_threads} and {3.last_threads} threads",
    "precision": "{0}, {2.recipe.precision} and {3.recipe.precision}",
}
NOT_MEASURED = (
    "The runs of a seed start from the same weights, but the frameworks round differently, and rounding differences "
    "grow from step to step. How much of the disagreement this explains was not measured."
)


def findings(
    arms: Sequence[Arm],
    *,
    margin: float,
    explained: Mapping[str, Any] | None = None,
    parity: Mapping[str, Any] | None = None,
    yardsticks: Mapping[str, FinishedRun] | None = None,
    remarks: Sequence[str] = (),
    **entries: str,
) -> dict[str, Any]:
    """Compare arms and return everything that the report shows, as plain data.

    The arms have the same test set and number of runs; `margin` is the difference in accuracy that does not matter, as
    a share; `explained` and `parity` are each default's effect and the certificate, if measured; `yardsticks` are those
    of `drift`; `entries` are the kind (aligned, native or runs), the title and the command that repeats the comparison.
    """
    others = list(enumerate(arms[1:], start=1))
    contrasts = [contrast(arms[0], other, place, margin) for place, other in others]
    by_place = {str(place): pairs(arms[0], other) for place, other in others}
    record, disturbed = arms[0].record, disturbances(arms)
    versions = {package: version for arm in arms for package, version in arm.record.versions.items()}
    judged = verdict([arm.name for arm in arms], contrasts, by_place, margin)
    relevances = [relevance(arm.record.spec, arm.record.recipe) for arm in arms]
    return {
        "format": "diptych-comparison",
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **entries,
        "verdict": {**judged, "details": [*judged["details"], *_misleading(arms)]},
        "subject": {
            "data": record.data.name,
            "fingerprint": record.data.fingerprint,
            "num_train": record.split_sizes.train,
            "num_validation": record.split_sizes.validation,
            "num_test": record.split_sizes.test,
            "inferred": record.data.inferred,
            "class_names": list(record.class_names),
            "margin": margin,
            "seeds": shared_seeds(arms),
        },
        "sides": [
            {
                "name": arm.name,
                "engine": arm.record.last_engine,
                "model": arm.record.spec.name,
                "num_parameters": arm.record.spec.num_parameters,
                "flops": arm.record.spec.flops,
                "runs": [str(run.run.directory) for run in arm.runs],
                "epochs": arm.record.recipe.epochs,
                "compile": COMPILED[arm.record.last_engine],
            }
            for arm in arms
        ],
        "pairs": by_place,
        "contrasts": contrasts,
        "curves": [_curves(arm) for arm in arms],
        "confusion": [np.sum([run.metrics["confusion_matrix"] for run in arm.runs], axis=0).tolist() for arm in arms],
        "per_class": _per_class(arms),
        "reliability": [_reliability(arm) for arm in arms],
        "costs": costs(arms),
        "conditions": {
            **msgspec.to_builtins(record.machine),
            "threads": record.last_threads,
            "precision": record.recipe.precision,
            "versions": versions,
        },
        "explained": explained,
        "parity": parity,
        "drift": drift(arms, yardsticks),
        "disturbed": disturbed,
        "gallery": gallery(arms),
        "code": _code(arms[:2]),
        "deployment": _deployment(arms),
        "differences": [
            {name: getattr(row, name) for name in ("key", "torch", "tensorflow", "rule")}
            for row in LEDGER
            if any(relevant[row.key] for relevant in relevances)
        ],
        "settings": _settings(arms),
        "remarks": [*remarks, *record.data.remarks, *_caveats(arms), *disturbed],
    }


def drift(arms: Sequence[Arm], yardsticks: Mapping[str, FinishedRun] | None = None) -> dict[str, Any] | None:
    """Return how many test images get the same class from both frameworks, and from PyTorch with one setting changed.

    `yardsticks`, by the name of that setting, repeat the first arm's run of the first seed whose runs disagree. Without
    them, returns a sentence without numbers if runs with equal settings disagree, and None otherwise.
    """
    first, second = arms[:2]
    pairs = zip(first.runs, second.runs, strict=True)
    apart = [(one, other) for one, other in pairs if not np.array_equal(one.predicted_n, other.predicted_n)]
    if not apart or first.record.last_engine == second.record.last_engine:
        return None
    if not yardsticks:
        settings = [(r.spec_json, r.recipe_json, r.data.fingerprint) for r in (first.record, second.record)]
        is_equal = settings[0] == settings[1] and shared_seeds((first, second))
        return {"seed": None, "pairs": [], "sentence": NOT_MEASURED} if is_equal else None
    base, other = apart[0]
    runs = {"framework": other, **yardsticks}
    rows = [
        {
            "changed": changed,
            "title": CHANGED[changed].format(base.title, run.title, base.record, run.record),
            "num_same": int((base.predicted_n == run.predicted_n).sum()),
            "num_images": len(base.predicted_n),
            "accuracy": run.value("accuracy") - base.value("accuracy"),
        }
        for changed, run in runs.items()
    ]
    return {"seed": base.record.seed, "pairs": rows, "sentence": attribution(rows)}


def relevance(spec: ModelSpec, recipe: Recipe) -> dict[str, bool]:
    """Return, for each row of the ledger, whether it would change this model's numbers or files."""
    kinds = {type(layer) for layer in spec.layers}
    padded = {type(layer) for layer in spec.layers if any(getattr(layer, "padding", ()))}
    functions = {layer.function for layer in spec.layers if isinstance(layer, L.Activation)}
    norm, adam = L.BatchNorm in kinds, recipe.optimizer in ("adam", "adamw")
    colors = (recipe.rotation, recipe.brightness, recipe.contrast, recipe.saturation)
    mixes = (recipe.crop_padding, recipe.cutout, recipe.mixup, recipe.cutmix)
    always = "image-layout initial-weights loss-input epoch-loss tf32 compile decode resize shuffle".split()
    return {
        **dict.fromkeys(always, True),
        "conv-kernel-axes": L.Conv in kinds,
        "dense-kernel-axes": L.Dense in kinds,
        "flatten-order": L.Flatten in kinds,
        "same-padding": L.Conv in padded,
        "max-pool-padding": L.MaxPool in padded,
        "avg-pool-padding": L.AvgPool in padded,
        **dict.fromkeys(("norm-epsilon", "norm-momentum", "norm-running-variance", "norm-one-value"), norm),
        "leaky-relu": "leaky_relu" in functions,
        "gelu": "gelu" in functions,
        "rescaling-constants": L.Normalize in kinds,
        "constant-cast": recipe.precision == "float64",
        "dropout-stream": any(isinstance(layer, L.Dropout) and layer.rate > 0 for layer in spec.layers),
        "train-mode": norm or L.Dropout in kinds,
        "mixed-precision": recipe.precision in ("bfloat16", "float16"),
        "loss-scale": recipe.precision == "float16",
        "sgd-velocity": recipe.optimizer in ("sgd", "rmsprop"),
        "adam-epsilon": adam,
        "adam-complements": adam,
        "weight-decay": bool(recipe.l2 or recipe.decay),
        "rmsprop-epsilon": recipe.optimizer == "rmsprop",
        "gradient-clipping": bool(recipe.clip_norm),
        "weight-average": bool(recipe.average_decay),
        "lr-clock": recipe.schedule != "constant",
        "plateau": recipe.schedule == "plateau",
        "early-stopping": bool(recipe.early_stopping),
        "label-smoothing": bool(recipe.label_smoothing),
        "class-weights": recipe.class_weights != "none",
        "denormals": adam or recipe.optimizer == "rmsprop",
        "augmentation": recipe.flip != "none" or any(colors) or any(mixes),
    }


def _caveats(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield a sentence for each difference in machine, settings or versions that makes runs hard to compare."""
    records = [run.record for arm in arms for run in arm.runs]
    for name, values in (
        ("processors", [record.machine.processor for record in records]),
        ("numbers of threads", [str(record.last_threads) for record in records]),
        ("precisions", [str(record.recipe.precision) for record in records]),
    ):
        if len(set(values)) > 1:
            listed = ", ".join(dict.fromkeys(values))
            yield f"The runs have different {name} ({listed}), so their costs are not comparable."
    versions = {(package, str(version)) for record in records for package, version in record.versions.items()}
    used = {package: sorted(version for name, version in versions if name == package) for package, _ in versions}
    several = [f"{package} {' and '.join(used[package])}" for package in sorted(used) if len(used[package]) > 1]
    if several:
        yield f"The runs used different package versions: {', '.join(several)}."


def _misleading(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield what the accuracy hides, of each arm's run with the lowest balanced accuracy; then the classes untested."""
    for arm in arms:
        worst = min((run.metrics for run in arm.runs), key=lambda metrics: metrics["balanced_accuracy"])
        if more := caution(worst):
            yield f"{arm.name}: accuracy {worst['accuracy']:.2%}{more}" + " (worst run)" * (len(arm.runs) > 1)
    if missing := absent(arms[0].first.metrics):
        yield missing


def _curves(arm: Arm) -> dict[str, Any]:
    """Return the epochs of every seed; None for epochs that a run did not reach."""
    by_number = [{epoch.epoch: epoch for epoch in run.epochs} for run in arm.runs]
    numbers = sorted({number for run in by_number for number in run})
    curves = {
        name: [[getattr(run.get(number), name, None) for number in numbers] for run in by_number] for name in CURVES
    }
    return {"epochs": numbers, **curves}


def _per_class(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    rows = []
    for k, entry in enumerate(arms[0].first.metrics["per_class"]):
        seeds = [[run.metrics["per_class"][k]["f1"] for run in arm.runs] for arm in arms]
        means = [float(np.mean(values)) for values in seeds]
        rows.append({"name": entry["name"], "support": entry["support"], "f1": means, "f1_seeds": seeds})
    return rows


def _reliability(arm: Arm) -> dict[str, Any]:
    probabilities = np.concatenate([run.probabilities_nk for run in arm.runs])
    labels = np.concatenate([run.labels_n for run in arm.runs])
    bins = reliability_bins(probabilities, labels)
    arrays = {name: array.tolist() for name, array in asdict(bins).items()}
    return {**arrays, "expected_calibration_error": bins.expected_calibration_error}


def _code(arms: Sequence[Arm]) -> dict[str, Any] | None:
    """Return the training as native code, if the arms are of different frameworks."""
    by_engine = {str(arm.record.last_engine): arm.record for arm in arms}
    if len(by_engine) < 2:
        return None
    records = [by_engine[engine] for engine in COMPILED]
    both = [project(record.spec, record.recipe, record.last_engine) for record in records]
    files = [(name, one) for name in ("model.py", "train.py") for one in both]
    return {
        "scripts": [
            {"engine": one.engine, "file": f"{one.engine}/{name}", "source": source, "lines": code_lines(source)}
            for name, one in files
            for source in [one.files[name]]
        ],
        "left_out": list(dict.fromkeys(reason for one in both for reason in one.left_out)),
    }


def _deployment(arms: Sequence[Arm]) -> list[dict[str, Any]] | None:
    """Return the exports of each arm's first run; None if nothing was exported."""
    rows = []
    for form in FORMATS.values():
        entries = [arm.first.shipped.get(form.name) for arm in arms]
        if not any(entries):
            continue
        lacks = [form.writers and arm.record.last_engine not in form.writers for arm in arms]
        absent = [Shipped("not written by this framework" if lack else "not exported") for lack in lacks]
        shown = [entry or missing for entry, missing in zip(entries, absent, strict=True)]
        kept = {name: [getattr(one, name) for one in shown] for name in ("status", "reason", "num_bytes")}
        rows.append({"format": form.name, "summary": form.summary, **kept})
    return rows or None


def _settings(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return the settings of the first arm, and what differs in the others."""
    reference = arms[0].record
    other: dict[str, dict[str, Any]] = {}
    for arm in arms[1:]:
        record, recipe = arm.record, reference.recipe_json
        other[arm.name] = {name: value for name, value in record.recipe_json.items() if recipe.get(name) != value}
        if record.spec_json != reference.spec_json:
            other[arm.name]["spec"] = record.spec_json
    return {"spec": reference.spec_json, "recipe": reference.recipe_json, "other": other}
