"""A run from its record to its end: what `run.json` asks for is loaded, trained, evaluated and written."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych import engines
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import write_arrays
from diptych.data import datasets
from diptych.data.datasets import Dataset, Whole
from diptych.data.images import Images
from diptych.data.ingest import BadImages
from diptych.data.preprocess import RESIZING
from diptych.data.rows import Caching, Keeping
from diptych.engines.contract import Arrays, Engine
from diptych.errors import ArtifactError, SpecError
from diptych.evaluation.metrics import evaluate_logits
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_from_json, model_to_json, recipe_from_json, recipe_to_json
from diptych.training import checkpoint
from diptych.training.fit import Job, Notify, evaluation_precision, fit, resolve
from diptych.training.machine import machine, versions

VERSION = 1


@dataclass(frozen=True)
class Source:
    """Where the data comes from and how it is read: all that `datasets.load` needs, as it is kept in `run.json`."""

    data: str
    data_dir: str | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    seed: int = 0
    validation_fraction: float = 0.1
    root: str | None = None
    pixel_shape: tuple[int, int, int] | None = None
    bad_images: BadImages = "fail"
    caching: Caching = "auto"

    def load(self) -> Dataset:
        """Read the data and divide it."""
        return self.divide(self.read())

    def read(self) -> Whole:
        """Read the data, which are the same for every seed."""
        return datasets.read(
            self.data,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            image_size=self.image_size,
            channels=self.channels,
            root=Path(self.root) if self.root else None,
            pixel_shape=self.pixel_shape,
            bad_images=self.bad_images,
            keeping=Keeping(self.caching),
        )

    def divide(self, whole: Whole) -> Dataset:
        """Cut the splits that the data do not bring."""
        return datasets.divide(whole, self.seed, self.validation_fraction)


def create(
    parent: Path,
    name: str,
    source: Source,
    dataset: Dataset,
    spec: ModelSpec,
    recipe: Recipe,
    seed: int,
    engine: str,
    *,
    key: str | None = None,
) -> Run:
    """Make a run directory that says all about the training to come; `key` is what a comparison finds it by.

    Raises:
        SpecError: the model does not fit the data.
        ArtifactError: the directory cannot be made.
    """
    check_fit(spec, dataset)
    record = {
        "format": "diptych-run",
        "version": VERSION,
        "status": "created",
        "created": time.time(),
        "command": sys.argv,
        "engine": engine,
        "seed": seed,
        "data": {
            **vars(source),
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "test_fingerprint": dataset.test_fingerprint,
            "skipped": [{"id": name, "fault": fault} for name, fault in dataset.skipped],
        },
        "class_names": dataset.class_names,
        "split_sizes": {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")},
        "preprocessing": {
            "height": spec.input_shape[0],
            "width": spec.input_shape[1],
            "channels": spec.input_shape[2],
            "resize": RESIZING,
        },
        "spec": model_to_json(spec),
        "recipe": recipe_to_json(recipe),
        "machine": machine(),
        "versions": versions(),
        "engines": [],
    }
    return Run.create(parent, name, record if key is None else {**record, "key": key})


def check_fit(spec: ModelSpec, dataset: Dataset) -> None:
    """Refuse a model whose images or classes are not the data's.

    Raises:
        SpecError: says what the model takes and what the data has.
    """
    if spec.input_shape != dataset.image_shape:
        raise SpecError(
            f"Model '{spec.name}' takes images of {spec.input_shape} (height, width, channels); "
            f"those of '{dataset.name}' are {dataset.image_shape}. Change the spec's input_shape."
        )
    if spec.num_classes != dataset.num_classes:
        raise SpecError(
            f"Model '{spec.name}' gives {spec.num_classes} logits; '{dataset.name}' has {dataset.num_classes} classes. "
            "Change the last layer's units."
        )


def execute(run: Run, engine_name: str, threads: int, notify: Notify, stop_after: int | None = None) -> None:
    """Train a created or interrupted run with the named engine and, when it is done, evaluate it on the test split.

    Raises:
        DiptychError: the engine, the data or the state does not fit; the run stays resumable.
    """
    record = run.read_record()
    dataset = load_data(record)
    engine = engines.get(engine_name)
    engine.configure(threads)
    recipe = resolve(recipe_of(record), dataset, engine.runtime()["device"])
    start = {"engine": engine_name, "after_epoch": checkpoint.num_epochs(run), **engine.runtime()}
    record |= {"recipe": recipe_to_json(recipe), "status": "running", "engines": [*record["engines"], start]}
    run.unseal()
    run.write_record(record)
    job = Job(spec_of(record), recipe, dataset, record["seed"])
    weights = fit(engine, job, run, notify, stop_after)
    if stop_after and stop_after <= checkpoint.num_epochs(run) < recipe.epochs:
        run.write_record({**record, "status": "stopped"})
        return
    _finish(run, engine, job, weights)
    run.write_record({**record, "status": "finished", "finished": time.time()})


def load_data(record: Mapping[str, Any]) -> Dataset:
    """The data that a run was made with.

    Raises:
        ArtifactError: what is there now is not what was there then.
    """
    found = ("name", "fingerprint", "test_fingerprint", "skipped")
    entries = {key: value for key, value in record["data"].items() if key not in found}
    shapes = {key: tuple(entries[key]) for key in ("image_size", "pixel_shape") if entries.get(key)}
    dataset = Source(**{**entries, **shapes}).load()
    if dataset.fingerprint != record["data"]["fingerprint"]:
        raise ArtifactError(
            f"The data at '{entries['data']}' has changed since this run began "
            f"(fingerprint {dataset.fingerprint[:12]}, wanted {record['data']['fingerprint'][:12]}). Start a new run."
        )
    return dataset


def spec_of(record: Mapping[str, Any]) -> ModelSpec:
    """The model of a run."""
    return model_from_json(record["spec"])


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """The recipe of a run."""
    return recipe_from_json(record["recipe"])


def predict_logits(engine: Engine, spec: ModelSpec, weights: Arrays, images: Images, precision: str) -> np.ndarray:
    """Logits, (N, K), of a fresh model with these weights."""
    model = engine.build(spec, precision)
    engine.load_weights(model, weights)
    return engine.predict(model, images)


def _finish(run: Run, engine: Engine, job: Job, weights: Arrays) -> None:
    test = job.dataset.test
    precision = evaluation_precision(job.recipe)
    logits_nk = predict_logits(engine, job.spec, weights, test.images, precision)
    run.write_metrics(evaluate_logits(logits_nk, test.labels, job.dataset.class_names))
    run.write_predictions(Predictions(logits_nk, test.labels, test.ids))
    metadata = {"format": "pt", "model": job.spec.name, "classes": "\n".join(job.dataset.class_names)}
    write_arrays(run.model_path, weights, metadata)
