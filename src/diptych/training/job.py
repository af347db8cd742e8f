"""What a run's record, `run.json`, says of its training, written and read."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from diptych import engines
from diptych.artifacts import entries
from diptych.artifacts.run import Run
from diptych.data import datasets, sources
from diptych.data.cache import Caching
from diptych.data.datasets import BadImages, Dataset, Splits
from diptych.data.images import Images, Progress, quiet
from diptych.data.paths import user_path
from diptych.data.preprocess import RESIZING
from diptych.engines.contract import Arrays, Engine
from diptych.errors import ArtifactError, SpecError, UsageError
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import built, model_from_json, model_to_json, recipe_from_json, recipe_to_json
from diptych.spec.typed import converted, settled
from diptych.training import divergence
from diptych.training.learner import check_fit
from diptych.training.machine import machine, versions

VERSION = 1
RECORD = {
    "status": str,
    "engine": str,
    "engines": list,
    "seed": int,
    "data": {"data": str, "name": str, "fingerprint": str},
    "class_names": list,
    "preprocessing": {"resize": str},
    "spec": dict,
    "recipe": dict,
}


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
    cache: Caching = "auto"

    @classmethod
    def of(
        cls, data: str | Path, *, data_dir: str | Path | None = None, root: str | Path | None = None, **settings: Any
    ) -> Self:
        """A source with absolute paths, so that a run finds its data from anywhere; `settings` are other fields."""
        directory = str(user_path(data_dir, "--data-dir")) if data_dir else None
        base = str(user_path(root, "--root")) if root else None
        return cls(sources.absolute(data), directory, root=base, **settings)

    def load(self, progress: Progress = quiet) -> Dataset:
        """Read the data and divide it; `progress` is called as images are read and decoded."""
        return self.divide(self.read(progress))

    def read(self, progress: Progress = quiet) -> Splits:
        """Read the data, which are the same for every seed."""
        return datasets.read(
            self.data,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            image_size=self.image_size,
            channels=self.channels,
            root=Path(self.root) if self.root else None,
            pixel_shape=self.pixel_shape,
            bad_images=self.bad_images,
            caching=self.cache,
            progress=progress,
        )

    def divide(self, splits: Splits) -> Dataset:
        """Cut the splits that the data do not bring."""
        return splits.divide(self.seed, self.validation_fraction)


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
    checkpoint_steps: int | None = None,
    keep_checkpoints: int = 2,
) -> Run:
    """Make a run directory that says all about the training to come.

    Args:
        parent: folder of all runs.
        name: of the run's own folder, unless there is one already.
        source: where the data comes from.
        dataset: the data.
        spec: the model.
        recipe: the training.
        seed: of all that is drawn.
        engine: torch or tensorflow.
        key: what a comparison finds the run by.
        checkpoint_steps: see `saving.Saver`.
        keep_checkpoints: how many checkpoints stay.

    Raises:
        SpecError: the model does not fit the data, or there is no validation split that the recipe needs.
        ArtifactError: the directory cannot be made.
    """
    check_fit(spec, dataset)
    if recipe.wants_validation and not len(dataset.validation):
        raise SpecError(
            f"'{dataset.name}' has no validation samples ({len(dataset.train)} to train on); early stopping, keep_best "
            f"and the plateau schedule look at them. Raise validation_fraction, now {recipe.validation_fraction:g}."
        )
    record = {
        "format": "diptych-run",
        "version": VERSION,
        "status": "created",
        "created": time.time(),
        "command": sys.argv,
        "engine": engine,
        "seed": seed,
        **described(dataset, vars(source)),
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
        "checkpoints": {"steps": checkpoint_steps, "keep": keep_checkpoints},
        "engines": [],
    }
    return Run.create(parent, name, record if key is None else {**record, "key": key})


def described(dataset: Dataset, source: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of the data."""
    return {
        "data": {
            **source,
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "test_fingerprint": dataset.test_fingerprint,
            "skipped": [{"id": name, "fault": fault} for name, fault in dataset.skipped],
            "remarks": dataset.remarks,
        },
        "class_names": dataset.class_names,
        "split_sizes": {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")},
    }


def read(run: Run) -> dict[str, Any]:
    """A run's record.

    Raises:
        ArtifactError: it cannot be read, or does not say what a record of a training says; names the entry.
    """
    path = run.record_path
    try:
        record = run.read_record()
    except ArtifactError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise ArtifactError(f"{error} {entries.ADVICE}") from error
    entries.check(record, RECORD, path)
    if "checkpoints" in record:
        entries.check(record["checkpoints"], {"steps": int | None, "keep": int}, path, "checkpoints")
    entries.check_all(record["engines"], {"engine": str}, path, "engines")
    if fault := _fault(record):
        raise ArtifactError(f"Cannot read '{path}': {fault} {entries.ADVICE}")
    return record


def _fault(record: Mapping[str, Any]) -> str:
    """What is wrong with a record whose entries are of the right kinds, in a sentence; or nothing."""
    if record.get("version", VERSION) != VERSION:
        return f"it is of version {record['version']!r:.40}, not {VERSION}."
    try:
        source_of(record), recipe_of(record)
        num_classes = spec_of(record).num_classes
        class_names = converted(record["class_names"], tuple[str, ...], "'class_names'")
    except SpecError as error:
        return str(error)
    trained_by = [record["engine"], *(start["engine"] for start in record["engines"])]
    if strangers := [name for name in trained_by if name not in engines.NAMES]:
        return f"no engine is called '{strangers[0]:.40}'."
    if len(class_names) != num_classes:
        return f"it names {len(class_names)} classes, its model has {num_classes}."
    if record["status"] == "finished" and not record["engines"]:
        return "it is finished, and no engine trained it."
    return ""


def check_unfinished(run: Run, force: bool) -> None:
    """Refuse to go on with a run that is finished, or that has diverged, unless forced.

    Raises:
        UsageError: says which.
    """
    record, directory = read(run), run.directory
    if record["status"] == "finished" and run.manifest_path.exists():
        raise UsageError(
            f"'{directory}' is finished, after {record['recipe']['epochs']} epochs; train a new run to go further."
        )
    if record["status"] == "diverged" and not force:
        how = f" ({divergence.in_words(divergence.read(run))})" if divergence.path_of(run).exists() else ""
        raise UsageError(
            f"'{directory}' has diverged{how}, and would again. "
            "Train a new run with a lower learning rate, or resume with --force."
        )


def load_data(record: Mapping[str, Any], **changes: Any) -> Dataset:
    """The data that a run was made with.

    Args:
        record: of the run.
        changes: fields of its source that are others now: where the data is, or how it is read.

    Raises:
        ArtifactError: what is there now is not what was there then.
    """
    dataset = Source.of(**{**vars(source_of(record)), **changes}).load()
    if dataset.fingerprint != record["data"]["fingerprint"]:
        raise ArtifactError(
            f"The data at '{record['data']['data']}' has changed since this run began "
            f"(fingerprint {dataset.fingerprint[:12]}, wanted {record['data']['fingerprint'][:12]}). Start a new run."
            f"{left_out(dataset, len(record['data'].get('skipped', ())))}"
        )
    return dataset


def left_out(dataset: Dataset, before: int = 0) -> str:
    """What to add to an error about data that are not what they were: images that were left out; or nothing."""
    if len(dataset.skipped) == before:
        return ""
    return f" Now {len(dataset.skipped):,} images that cannot be decoded were left out, then {before:,}."


def source_of(record: Mapping[str, Any]) -> Source:
    """Where a run's data comes from.

    Raises:
        SpecError: names the entry that is unknown or of another kind.
    """
    found = ("name", "fingerprint", "test_fingerprint", "skipped", "remarks")
    asked = {key: value for key, value in record["data"].items() if key not in found}
    return settled(built(Source, asked, "data"), "data")


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
