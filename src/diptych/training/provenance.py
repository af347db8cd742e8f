"""The provenance of a run: its data, model and recipe, as stored in its record and its checkpoints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from msgspec import UNSET
from msgspec.structs import asdict

from diptych.artifacts import record as records
from diptych.artifacts.record import DataRecord, DataSettings, RunRecord, StartRecord
from diptych.artifacts.run import Run
from diptych.artifacts.store import array_parts, write_parts
from diptych.data import datasets, sources
from diptych.data.archives import Progress, quiet
from diptych.data.datasets import Dataset
from diptych.data.images import Images
from diptych.data.paths import user_path
from diptych.data.preprocess import RESIZING
from diptych.data.readers import objects
from diptych.engines.contract import Arrays, Engine
from diptych.errors import ArtifactError, SpecError, UsageError
from diptych.options import EngineName
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.training.checkpoint import Start
from diptych.training.machine import check_memory, computes_bfloat16, machine, versions

_CHANGED = {
    "fingerprint": "the data's fingerprint was",
    "num_samples": "the training samples were",
    "class_names": "the classes were",
    "spec": "the spec's digest was",
    "seed": "the seed was",
}


class DataSource(DataSettings, frozen=True):
    """A data source that can be read."""

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        data_dir: str | Path | None = None,
        root: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        spec: ModelSpec | None = None,
        progress: Progress = quiet,
        **settings: Any,
    ) -> Self:
        """Return a source with absolute paths, so that a run finds its data from any folder; see `objects.stored`.

        A model's `spec` decides on the size and colors of images.
        """
        if spec:
            settings |= {"image_size": spec.input_shape[:2], "channels": spec.input_shape[2]}
        data, root = objects.stored(data, root, class_names, settings.get("image_size"), progress)
        directory = str(user_path(data_dir, "--data-dir")) if data_dir else None
        base = str(user_path(root, "--root")) if root else None
        return cls(sources.absolute(data), directory, root=base, **settings)

    def load(self, progress: Progress = quiet) -> Dataset:
        """Read the data and hold out the splits it lacks; `progress` is called as images are read and decoded."""
        return self.read(progress).divide(self.seed, self.validation_fraction, self.test_fraction)

    def read(self, progress: Progress = quiet) -> Dataset:
        """Read the data; no seed changes them."""
        dividing = ("seed", "validation_fraction", "test_fraction")
        settings = {name: value for name, value in asdict(self).items() if name not in dividing}
        return datasets.read(settings.pop("data"), caching=settings.pop("cache"), progress=progress, **settings)


def create(
    parent: Path,
    name: str,
    source: DataSource,
    dataset: Dataset,
    spec: ModelSpec,
    recipe: Recipe,
    engine: str,
    *,
    start: Start | None = None,
    **entries: Any,
) -> Run:
    """Create a run directory, with a number after `name` if it exists; `entries` are others of its record.

    Raises SpecError if the model does not fit the data or the machine, or if the recipe needs a validation split and
    there is none.
    """
    check_fit(spec, dataset)
    check_memory(spec, min(resolve(recipe, dataset, "cpu").batch, len(dataset.train)))
    if recipe.wants_validation and not len(dataset.validation):
        none = f"'{dataset.name}' has no validation samples ({len(dataset.train)} in training)"
        need = "early stopping, keep_best and the plateau schedule need them"
        raise SpecError(f"{none}; {need}. Raise validation_fraction, now {recipe.validation_fraction:g}.")
    parts = array_parts(start.weights, {"format": "pt"}) if start else []
    record = RunRecord(
        version=1,
        status="created",
        created=time.time(),
        command=tuple(sys.argv),
        engine=cast(EngineName, engine),
        seed=source.seed,
        **described(dataset, source),
        preprocessing=records.Preprocessing(*spec.input_shape, RESIZING),
        spec_json=model_to_json(spec),
        recipe_json=recipe_to_json(recipe),
        machine=records.Machine(**machine()),
        versions=versions(),
        engines=(),
        start=StartRecord(start.source, sha256(b"".join(parts)).hexdigest(), start.remark) if start else UNSET,
        **entries,
    )
    run = Run.create(parent, name, record)
    if start:
        write_parts(run.start_path, *parts)
    return run


def described(dataset: Dataset, source: DataSource) -> dict[str, Any]:
    """Return the entries of a record that describe the data."""
    return {
        "data": DataRecord(
            **asdict(source),
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            test_fingerprint=dataset.test_fingerprint,
            skipped=tuple(records.Skipped(name, fault) for name, fault in dataset.skipped),
            inferred=dataset.inferred,
            remarks=dataset.remarks,
        ),
        "class_names": tuple(dataset.class_names),
        "split_sizes": dataset.sizes,
    }


def parameters(record: RunRecord) -> dict[str, Any]:
    """Return what a training depends on, by name and not nested, for trackers."""
    sizes = {f"num_{split}": size for split, size in asdict(record.split_sizes).items()}
    runtime = {name: getattr(record.engines[-1], name) for name in ("engine", "device", "threads")}
    recipe = vars(record.recipe).items()
    return {
        **{name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in recipe},
        **{"model": record.spec.name, "num_parameters": record.spec.num_parameters, "data": record.data.name},
        **{"num_classes": len(record.class_names), **sizes, "seed": record.seed, **runtime},
        **{f"{package}_version": version for package, version in record.versions.items()},
    }


def check_unfinished(run: Run, force: bool) -> RunRecord:
    """Return the record; raise UsageError for a run that is finished, or that has diverged unless `force` is given."""
    record, fault = run.read_record(), ""
    if record.status == "finished" and run.manifest_path.exists():
        fault = f"it finished after {record.recipe.epochs} epochs. Start a new run to train longer."
    elif record.status == "diverged" and not force:
        advice = "Train a new run with a lower learning rate, or resume with --force."
        fault = f"it diverged and would diverge again. {advice}"
    if fault:
        raise UsageError(f"Cannot resume '{run.directory}': {fault}")
    return record


def load_data(record: RunRecord, **changes: Any) -> Dataset:
    """Load the data of a run, from elsewhere if `changes` to its source say so; raises ArtifactError if it changed."""
    try:
        dataset = source_of(record, **changes).load()
    except UsageError as error:
        moved = f"name its new place (`diptych evaluate RUN DATA`), or link it (`ln -s NEW {record.data.data}`)"
        hint = f" If the data of this run were moved, {moved}." if "No dataset, file or" in str(error) else ""
        raise UsageError(f"{str(error).partition(' DATA is')[0]}{hint}") from error
    if dataset.fingerprint != record.data.fingerprint:
        prints = f"fingerprint {dataset.fingerprint[:12]}, expected {record.data.fingerprint[:12]}"
        fault = f"The data at '{record.data.data}' has changed since this run began ({prints}). Start a new run."
        raise ArtifactError(fault + skipped_note(dataset, len(record.data.skipped)))
    return dataset


def skipped_note(dataset: Dataset, before: int = 0) -> str:
    """Return a sentence about skipped images for an error about changed data; empty if as many were skipped before."""
    if len(dataset.skipped) == before:
        return ""
    return f" Skipped images that cannot be decoded: {len(dataset.skipped):,} now, {before:,} then."


def source_of(record: RunRecord, **changes: Any) -> DataSource:
    """Return the source of a run's data, or of other data with the run's size and class names."""
    settings = {name: getattr(record.data, name) for name in DataSource.__struct_fields__}
    return DataSource.of(**{**settings, "class_names": class_names(record.class_names), **changes})


def class_names(names: Sequence[str]) -> Sequence[str] | None:
    """Return a model's names of the labels 0, 1, …; None if its names are numbers, which are labels themselves."""
    return None if all(map(str.isdecimal, names)) else names


def predict_logits(engine: Engine, spec: ModelSpec, weights: Arrays, images: Images, precision: str) -> np.ndarray:
    """Return logits, (N, K), of a new model with these weights."""
    model = engine.build(spec, precision)
    engine.load_weights(model, weights)
    return engine.predict(model, images)


def check_fit(spec: ModelSpec, dataset: Dataset) -> None:
    """Raise SpecError if a model's images or classes are not those of the data."""
    if spec.input_shape != dataset.image_shape:
        raise SpecError(
            f"Model '{spec.name}' expects images of {spec.input_shape} (height, width, channels); "
            f"'{dataset.name}' has {dataset.image_shape}. Change the spec's input_shape."
        )
    if spec.num_classes != dataset.num_classes:
        raise SpecError(
            f"Model '{spec.name}' has {spec.num_classes} outputs; '{dataset.name}' has {dataset.num_classes} classes. "
            "Change the last layer's units."
        )


def resolve(recipe: Recipe, dataset: Dataset, device: str) -> Recipe:
    """Return the recipe with every `auto` and every default resolved for this data and machine."""
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if device != "cpu" or computes_bfloat16() else "float32"
    return replace(recipe.for_data(dataset.image_shape, dataset.mirror, len(dataset.train)), precision=precision)


def chosen_for_data(given: Recipe, used: Recipe) -> list[str]:
    """Return a line that says what was chosen for the data; no line if everything was set."""
    names = [name for name in ("batch_size", "flip", "crop_padding") if getattr(given, name) in (None, "auto")]
    values = ", ".join(f"{name} {getattr(used, name)}" for name in names)
    return [f"chosen for the data and number of epochs: {values}"] * bool(names)


def evaluation_precision(recipe: Recipe) -> str:
    """Return float32, so that results do not depend on the precision of the training; float64 stays float64."""
    return "float64" if recipe.precision == "float64" else "float32"


def origin(dataset: Dataset, spec: ModelSpec, recipe: Recipe, runtime: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return what a training depends on, as JSON; `runtime` is the engine's."""
    content = json.dumps(model_to_json(spec), sort_keys=True)
    return {
        "fingerprint": dataset.fingerprint,
        "class_names": list(dataset.class_names),
        "num_samples": len(dataset.train),
        "spec": sha256(content.encode()).hexdigest(),
        "recipe": recipe_to_json(recipe),
        "seed": seed,
        "engine": runtime["engine"],
        "version": runtime["version"],
    }


def keeps_batches(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the batches of an epoch are the same as before."""
    before, after = ((one["num_samples"], one["recipe"]["batch_size"], one["seed"]) for one in (then, now))
    return before == after


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Describe each thing that has changed; the engine may change."""
    changes = [(title, then[name], now[name]) for name, title in _CHANGED.items()]
    for name in sorted(then["recipe"] | now["recipe"]):
        changes.append((f"{name} was", then["recipe"].get(name), now["recipe"].get(name)))
    if then["engine"] == now["engine"] and then["version"].split(".")[0] != now["version"].split(".")[0]:
        changes.append((f"{now['engine']} was", then["version"], now["version"]))
    for title, before, after in changes:
        if before != after:
            yield f"{title} {_brief(before)}, {'are' if title.endswith('were') else 'is'} {_brief(after)}"


def _brief(value: Any) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return words if len(words) <= 60 else f"{words[:40]}…"
