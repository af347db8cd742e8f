"""What a run's record, `run.json`, says of its training, written and read."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from msgspec import UNSET

from diptych.artifacts.record import (
    CheckpointOptions,
    DataRecord,
    EngineName,
    Machine,
    Preprocessing,
    RunRecord,
    Skipped,
    SplitSizes,
)
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
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.training import divergence
from diptych.training.learner import check_fit
from diptych.training.machine import machine, versions


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
    height, width, channels = spec.input_shape
    record = RunRecord(
        version=RunRecord.VERSION,
        status="created",
        created=time.time(),
        command=tuple(sys.argv),
        engine=cast(EngineName, engine),
        seed=seed,
        **described(dataset, vars(source)),
        preprocessing=Preprocessing(height, width, channels, RESIZING),
        spec_json=model_to_json(spec),
        recipe_json=recipe_to_json(recipe),
        machine=Machine(**machine()),
        versions=versions(),
        checkpoints=CheckpointOptions(checkpoint_steps, keep_checkpoints),
        engines=(),
        key=UNSET if key is None else key,
    )
    return Run.create(parent, name, record)


def described(dataset: Dataset, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a record that describe the data."""
    sizes = (len(split) for split in (dataset.train, dataset.validation, dataset.test))
    return {
        "data": DataRecord(
            **source,
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            test_fingerprint=dataset.test_fingerprint,
            skipped=tuple(Skipped(name, fault) for name, fault in dataset.skipped),
            remarks=tuple(dataset.remarks),
        ),
        "class_names": tuple(dataset.class_names),
        "split_sizes": SplitSizes(*sizes),
    }


def check_unfinished(run: Run, force: bool) -> None:
    """Refuse to go on with a run that is finished, or that has diverged, unless forced.

    Raises:
        UsageError: says which.
    """
    record, directory = run.read_record(), run.directory
    if record.status == "finished" and run.manifest_path.exists():
        raise UsageError(
            f"'{directory}' is finished, after {record.recipe.epochs} epochs; train a new run to go further."
        )
    if record.status == "diverged" and not force:
        how = f" ({divergence.in_words(divergence.read(run))})" if divergence.path_of(run).exists() else ""
        raise UsageError(
            f"'{directory}' has diverged{how}, and would again. "
            "Train a new run with a lower learning rate, or resume with --force."
        )


def load_data(record: RunRecord, **changes: Any) -> Dataset:
    """The data that a run was made with.

    Args:
        record: of the run.
        changes: fields of its source that are others now: where the data is, or how it is read.

    Raises:
        ArtifactError: what is there now is not what was there then.
    """
    dataset = Source.of(**{**vars(source_of(record)), **changes}).load()
    if dataset.fingerprint != record.data.fingerprint:
        raise ArtifactError(
            f"The data at '{record.data.data}' has changed since this run began "
            f"(fingerprint {dataset.fingerprint[:12]}, wanted {record.data.fingerprint[:12]}). Start a new run."
            f"{left_out(dataset, len(record.data.skipped))}"
        )
    return dataset


def left_out(dataset: Dataset, before: int = 0) -> str:
    """What to add to an error about data that are not what they were: images that were left out; or nothing."""
    if len(dataset.skipped) == before:
        return ""
    return f" Now {len(dataset.skipped):,} images that cannot be decoded were left out, then {before:,}."


def source_of(record: RunRecord) -> Source:
    """Return the source of a run's data."""
    return Source(**{field.name: getattr(record.data, field.name) for field in fields(Source)})


def predict_logits(engine: Engine, spec: ModelSpec, weights: Arrays, images: Images, precision: str) -> np.ndarray:
    """Logits, (N, K), of a fresh model with these weights."""
    model = engine.build(spec, precision)
    engine.load_weights(model, weights)
    return engine.predict(model, images)
