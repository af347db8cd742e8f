"""A comparison as plain data: everything that `comparison.json`, the page and the tables say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from diptych.comparison import sides as grouping
from diptych.comparison.contrasts import contrast, pairs
from diptych.comparison.costs import costs
from diptych.comparison.gallery import gallery
from diptych.comparison.sides import Side
from diptych.comparison.touched import touched
from diptych.comparison.unlike import disturbed, unlike
from diptych.comparison.verdict import verdict
from diptych.deployment.formats import FORMATS, Format
from diptych.evaluation.calibration import reliability_bins
from diptych.native import scripts
from diptych.spec.layers import Dropout

VERSION = 1
COMPILED = {"torch": "eager", "tensorflow": "tf.function"}
NOT_TRIED = "not exported"
NOT_ITS_OWN = "not written by this framework"
DRIFT = {
    "auto": "Rounding: bfloat16, where the processor supports it, keeps 8 significant bits of every product.",
    "bfloat16": "Rounding: bfloat16 keeps 8 significant bits, and the frameworks add up in different orders.",
    "float16": "Rounding: float16 keeps 11 significant bits, and the frameworks add up in different orders.",
    "float32": "Rounding: float32 results differ in their last bits, and the differences grow from step to step.",
}
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def findings(
    sides: Sequence[Side],
    *,
    kind: str,
    title: str,
    command: str,
    margin: float,
    explained: Mapping[str, Any] | None = None,
    parity: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """All that is known of these sides.

    Args:
        sides: two or more, over the same test set, with as many runs each.
        kind: aligned, native or runs.
        title: of the page.
        command: that repeats it.
        margin: the difference in accuracy that would not matter, as a share.
        explained: each default's effect, where it was tried.
        parity: the certificate, where the ladder was climbed.
        remarks: what else there is to say.
    """
    first, second = sides[:2]
    names = [side.name for side in sides]
    contrasts = [contrast(first, other, place, margin) for place, other in enumerate(sides[1:], start=1)]
    by_place = {str(place): pairs(first, other) for place, other in enumerate(sides[1:], start=1)}
    record = first.first.record
    return {
        "format": "diptych-comparison",
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "title": title,
        "kind": kind,
        "verdict": verdict(names, contrasts, by_place, margin),
        "subject": {
            "data": record.data.name,
            "fingerprint": record.data.fingerprint,
            "num_train": record.split_sizes.train,
            "num_test": record.split_sizes.test,
            "class_names": list(record.class_names),
            "margin": margin,
            "seeds": grouping.paired(sides),
        },
        "sides": [_side(side) for side in sides],
        "pairs": by_place,
        "contrasts": contrasts,
        "curves": [_curves(side) for side in sides],
        "confusion": [np.sum([a.metrics["confusion_matrix"] for a in side.answers], axis=0).tolist() for side in sides],
        "per_class": _per_class(sides),
        "reliability": [_reliability(side) for side in sides],
        "costs": costs(sides),
        "conditions": _conditions(sides),
        "explained": explained,
        "parity": parity,
        "drift": drift(sides),
        "disturbed": disturbed(sides),
        "gallery": gallery(sides),
        "code": _code(first, second),
        "deployment": _deployment(sides),
        "differences": [
            {key: value for key, value in asdict(row).items() if key != "proof"}
            for row in touched([(side.spec, side.recipe) for side in sides])
        ],
        "settings": _settings(sides),
        "remarks": [*remarks, *unlike(sides)],
    }


def drift(sides: Sequence[Side]) -> list[str]:
    """Say why runs of equal models move apart; empty if nothing but their settings sets them apart.

    The parity check is without these: it trains in float64 and sets dropout rates to 0.
    """
    setups = [(side.spec, side.recipe) for side in sides]
    frameworks = {answer.title for side in sides for answer in side.answers}
    if len(frameworks) < 2:
        return []
    precisions = {recipe.precision for _, recipe in setups} - {"float64"}
    dropout = any(isinstance(layer, Dropout) and layer.rate > 0 for spec, _ in setups for layer in spec.layers)
    reasons = ["Dropout: each framework draws its own random masks."] if dropout else []
    reasons += [DRIFT[precision] for precision in sorted(precisions)]
    return reasons


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "engine": side.first.engine,
        "model": side.spec.name,
        "num_parameters": side.spec.num_parameters,
        "flops": side.spec.flops,
        "runs": [str(answer.run.directory) for answer in side.answers],
        "epochs": side.recipe.epochs,
        "compile": COMPILED[side.first.engine],
    }


def _curves(side: Side) -> dict[str, Any]:
    """Every seed's epochs; None where one stopped before the others."""
    numbers = sorted({epoch["epoch"] for answer in side.answers for epoch in answer.epochs})
    by_number = [{epoch["epoch"]: epoch for epoch in answer.epochs} for answer in side.answers]
    return {
        "epochs": numbers,
        **{name: [[run.get(number, {}).get(name) for number in numbers] for run in by_number] for name in CURVES},
    }


def _per_class(sides: Sequence[Side]) -> list[dict[str, Any]]:
    rows = []
    for k, entry in enumerate(sides[0].first.metrics["per_class"]):
        seeds = [[answer.metrics["per_class"][k]["f1"] for answer in side.answers] for side in sides]
        rows.append(
            {
                "name": entry["name"],
                "support": entry["support"],
                "f1": [float(np.mean(values)) for values in seeds],
                "f1_seeds": seeds,
            }
        )
    return rows


def _reliability(side: Side) -> dict[str, Any]:
    probabilities = np.concatenate([answer.probabilities_nk for answer in side.answers])
    labels = np.concatenate([answer.labels_n for answer in side.answers])
    bins = reliability_bins(probabilities, labels)
    arrays = {name: array.tolist() for name, array in asdict(bins).items()}
    return {**arrays, "expected_calibration_error": bins.expected_calibration_error}


def _conditions(sides: Sequence[Side]) -> dict[str, Any]:
    record = sides[0].first.record
    versions: dict[str, str] = {}
    for side in sides:
        versions |= side.first.record.versions
    return {
        **msgspec.to_builtins(record.machine),
        "threads": record.engines[-1].threads,
        "precision": record.recipe.precision,
        "versions": versions,
    }


def _code(first: Side, second: Side) -> dict[str, Any] | None:
    """What is compared as native scripts, where the two sides are of the two frameworks."""
    by_engine = {side.first.engine: scripts(side.spec, side.recipe) for side in (first, second)}
    if len(by_engine) < 2:
        return None
    torch, tensorflow = by_engine["torch"][0], by_engine["tensorflow"][1]
    left_out = dict.fromkeys((*torch.left_out, *tensorflow.left_out))
    kept = ("engine", "file", "source", "model_lines", "training_lines")
    return {
        "scripts": [{name: getattr(script, name) for name in kept} for script in (torch, tensorflow)],
        "left_out": list(left_out),
    }


def _deployment(sides: Sequence[Side]) -> list[dict[str, Any]] | None:
    """What each side's own framework wrote of its first run, as its export report says."""
    reports = [side.first.shipped for side in sides]
    if not any(reports):
        return None
    rows = []
    for form in FORMATS.values():
        entries = [report.get(form.name) for report in reports]
        if any(entries):
            rows.append(
                {
                    "format": form.name,
                    "summary": form.summary,
                    "status": [
                        entry["status"] if entry else _absent(form, side)
                        for entry, side in zip(entries, sides, strict=True)
                    ],
                    "reason": [entry.get("reason") if entry else None for entry in entries],
                    "num_bytes": [entry.get("num_bytes") if entry else None for entry in entries],
                }
            )
    return rows


def _absent(form: Format, side: Side) -> str:
    return NOT_TRIED if not form.writers or side.first.engine in form.writers else NOT_ITS_OWN


def _settings(sides: Sequence[Side]) -> dict[str, Any]:
    """The first side's in full, and what the others have otherwise."""
    reference = sides[0].first.record
    other = {}
    for side in sides[1:]:
        recipe = side.first.record.recipe_json
        differing = {name: value for name, value in recipe.items() if reference.recipe_json.get(name) != value}
        if side.first.record.spec_json != reference.spec_json:
            differing["spec"] = side.first.record.spec_json
        other[side.name] = differing
    return {"spec": reference.spec_json, "recipe": reference.recipe_json, "other": other}
