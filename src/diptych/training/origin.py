"""What a training follows from, kept in each checkpoint, so that none goes on from other things unawares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from diptych.data.datasets import Dataset
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_to_json, recipe_to_json


def origin(dataset: Dataset, spec: ModelSpec, recipe: Recipe, runtime: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What a training follows from, as JSON; `runtime` is the engine's."""
    content = json.dumps(model_to_json(spec), sort_keys=True)
    found = {
        "fingerprint": dataset.fingerprint,
        "class_names": dataset.class_names,
        "num_samples": len(dataset.train),
        "spec": sha256(content.encode()).hexdigest(),
        "recipe": recipe_to_json(recipe),
        "seed": seed,
        "engine": runtime["engine"],
        "version": runtime["version"],
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each thing that is another now, with what it was and what it is, in words; the engine may be another."""
    return list(_differences(then, now))


def keeps_batches(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether an epoch that was begun is ordered and cut into batches as before."""
    before, after = ((side["num_samples"], side["recipe"]["batch_size"]) for side in (then, now))
    return before == after and _seed_of(then, now) == now["seed"]


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if then["fingerprint"] != now["fingerprint"]:
        yield f"the data's fingerprint was {then['fingerprint'][:12]}, is {now['fingerprint'][:12]}"
    if then["num_samples"] != now["num_samples"]:
        yield f"the training samples were {then['num_samples']}, are {now['num_samples']}"
    if then["class_names"] != now["class_names"]:
        yield f"the classes were {_brief(then['class_names'])}, are {_brief(now['class_names'])}"
    if then["spec"] != now["spec"]:
        yield f"the spec's digest was {then['spec'][:12]}, is {now['spec'][:12]}"
    for name in sorted({*then["recipe"], *now["recipe"]}):
        before, after = (side["recipe"].get(name) for side in (then, now))
        if before != after:
            yield f"{name} was {before}, is {after}"
    if _seed_of(then, now) != now["seed"]:
        yield f"the seed was {then['seed']}, is {now['seed']}"
    if then["engine"] == now["engine"] and _major(then["version"]) != _major(now["version"]):
        yield f"{now['engine']} was {then['version']}, is {now['version']}"


def _seed_of(then: Mapping[str, Any], now: Mapping[str, Any]) -> Any:
    """The seed of a state; states of earlier versions do not say theirs."""
    return then.get("seed", now["seed"])


def _major(version: str) -> str:
    return version.partition(".")[0]


def _brief(names: list[str]) -> str:
    words = ", ".join(names)
    return words if len(words) <= 60 else f"{len(names)} ({words[:50]}…)"
