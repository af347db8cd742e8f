"""Evaluate finished runs and exported files, and predict with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from diptych import engines
from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data import sources
from diptych.data.datasets import Dataset
from diptych.data.decode import decode
from diptych.data.images import Images
from diptych.data.paths import read_file
from diptych.data.preprocess import resize
from diptych.data.readers.tree import image_names
from diptych.deployment.file_types import is_artifact, open_artifact
from diptych.deployment.predictor import Predictor
from diptych.deployment.runtimes import RUNTIMES
from diptych.errors import ArtifactError, DataError, UsageError, first_of
from diptych.evaluation import absent, evaluate_logits, softmax
from diptych.files import expanded
from diptych.options import ModelOptions, OtherDataOptions, accepts, split_options
from diptych.processes import num_threads
from diptych.spec import ModelSpec
from diptych.training import provenance
from diptych.training.provenance import DataSource, evaluation_precision


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image with their probabilities, most probable first."""

    image: str
    classes: tuple[tuple[str, float], ...]


@accepts(ModelOptions, OtherDataOptions)
def evaluate(model: str | Path | Run, data: Any = None, **options: Any) -> dict[str, Any]:
    """Accuracy, loss, precision, recall, F1, confusion matrix and calibration on a test split.

    The classes of other data are matched by name, and may lack some. Data without a test split is used whole; `data`
    in the result says so, with what was inferred and remarked. With `bad_images="skip"`, images of classes that the
    model does not know are left out.

    Args:
        model: a finished run, or a file written by `export`.
        data: dataset name, folder, CSV, Parquet or archive, or a Python object as for `train` (default: what the
            model was trained on).
        options: fields of `ModelOptions` and `OtherDataOptions`.

    Raises:
        ArtifactError: the file is damaged, or the data it was trained on has changed.
        UsageError: the run is not finished, or the model does not know a class of the data.
    """
    (opening, reading), _ = split_options("evaluate", options, ModelOptions, OtherDataOptions)
    classifier = open_classifier(model, opening)
    dataset, class_names = classifier.data(data, reading), classifier.class_names
    used, splits = "test split", [dataset.test]
    if not len(dataset.test):
        used, splits = "every image", [split for split in (dataset.train, dataset.validation) if len(split)]
    indices_k = np.array([class_names.index(name) if name in class_names else -1 for name in dataset.class_names])
    remarks, num_images = list(dataset.remarks), sum(map(len, splits))
    if unknown := [name for name in dataset.class_names if name not in class_names]:
        splits = [split.take(np.flatnonzero(indices_k[split.labels] >= 0)) for split in splits]
        left_out = num_images - sum(map(len, splits))
        what = f"{left_out:,} of {num_images:,} images are of classes that the model lacks: {first_of(unknown, 5)}"
        if reading.bad_images != "skip" or left_out == num_images:
            advice = "Rename or remove them" + ", or use --bad-images skip" * (left_out < num_images)
            raise UsageError(f"'{dataset.name}': {what}. It has {first_of(class_names, 5)}. {advice}.")
        remarks.append(f"Left out: {what}.")
    labels_n = np.concatenate([indices_k[split.labels] for split in splits])
    logits_nk = np.concatenate([classifier.logits(split.images) for split in splits])
    metrics = evaluate_logits(logits_nk, labels_n, class_names)
    remarks += filter(None, [absent(metrics)])
    about = {"name": dataset.name, "used": used, "inferred": dataset.inferred, "remarks": remarks}
    return {**metrics, "data": about}


@accepts(ModelOptions)
def predict(
    model: str | Path | Run, images: str | Path | np.ndarray | Iterable[str | Path], *, top: int = 3, **options: Any
) -> list[Prediction]:
    """The most probable classes of each image.

    Args:
        model: a finished run, or a file written by `export`.
        images: files, folders or globs; or pixels, uint8, (N, H, W, C), of the model's input size.
        top: number of classes to return.
        options: fields of `ModelOptions`.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    (opening,), _ = split_options("predict", options, ModelOptions)
    classifier = open_classifier(model, opening)
    height, width, channels = classifier.input_shape
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.shape[1:] != classifier.input_shape or not len(images):
            raise DataError(
                f"Cannot predict {images.dtype} pixels of shape {images.shape}: "
                f"the model takes uint8, (N, {height}, {width}, {channels})."
            )
        pixels, names = images, [str(index) for index in range(len(images))]
    else:
        paths = image_paths([images] if isinstance(images, str | Path) else images)
        pixels = np.stack([resize(decode(read_file(path), str(path), channels), (height, width)) for path in paths])
        names = [str(path) for path in paths]
    probabilities_nk = softmax(classifier.logits(pixels))
    best_nk = np.argsort(-probabilities_nk, axis=1, kind="stable")[:, :top]
    classes = classifier.class_names
    return [
        Prediction(name, tuple((classes[k], float(row[k])) for k in best))
        for name, row, best in zip(names, probabilities_nk, best_nk, strict=True)
    ]


def image_paths(images: Iterable[str | Path]) -> list[Path]:
    """The image files that files, folders and globs name, in order; raises DataError if one matches none."""
    paths: list[Path] = []
    for image in images:
        path = expanded(image, "IMAGE")
        if path.is_dir():
            matches = [path / name for name in image_names(path)]
        elif has_magic(str(image)) and not path.exists():
            matches = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207  (patterns may be absolute)
        else:
            matches = [path] if path.exists() else []
        if not matches:
            raise DataError(
                f"No images at '{image}': expected a file, a folder of images or a pattern such as '*.png'."
            )
        paths += matches
    if not paths:
        raise DataError("No images given: expected a file, a folder of images or a pattern such as '*.png'.")
    return paths


def divided_alike(other: Dataset, name: str, test_fingerprint: str | None, test_fraction: float) -> Dataset:
    """Other data, with the test split of the training if it turns out to be what the model was trained on.

    `name` and the others are those of the model's data; without a fingerprint, equal names mean equal data.
    """
    if not len(other.test):
        with suppress(DataError):  # data that cannot be divided was not trained on
            dataset = other.divide(0, validation_fraction=0, test_fraction=test_fraction)
            if dataset.test_fingerprint == test_fingerprint or (test_fingerprint is None and other.name == name):
                return dataset
    return other


@dataclass(frozen=True)
class Classifier:
    """A finished run in an engine, or an exported file in its runtime."""

    input_shape: tuple[int, int, int]
    """Height, width and channels of its images."""
    class_names: tuple[str, ...]
    logits: Callable[[Images], np.ndarray]
    """From uint8 images, (N, H, W, C), to logits, (N, K)."""
    data: Callable[[Any, OtherDataOptions], Dataset]
    """Labeled images of the data it was trained on, or of other data."""


def open_classifier(model: str | Path | Run, opening: ModelOptions) -> Classifier:
    """Open a finished run or an exported file."""
    if not isinstance(model, Run) and is_artifact(model):
        return _open_file(Path(model), opening.engine, opening.trust)
    return _open_run(model, opening)


def finished_run(run: str | Path | Run, verify_files: bool = False) -> tuple[Run, RunRecord]:
    """A finished run and its record; raises UsageError if it is not finished, ArtifactError if its files changed."""
    opened = run if isinstance(run, Run) else Run.open(Path(run))
    record = opened.read_record()
    if record.status != "finished":
        raise UsageError(
            f"'{opened.directory}' is not finished ({record.status}). "
            f"Resume it with: diptych train --resume {opened.directory}"
        )
    opened.check(verify_files=verify_files)
    return opened, record


def source_like(
    data: Any, reading: OtherDataOptions, spec: ModelSpec, data_dir: str | None = None, class_names: Sequence[str] = ()
) -> DataSource:
    """Other data, with images of a model's size and colors; `data_dir` is the default of the option."""
    height, width, channels = spec.input_shape
    settings = {"data_dir": data_dir, **reading.given(), "class_names": provenance.class_names(class_names)}
    return DataSource.of(data, image_size=(height, width), channels=channels, **settings)


def _open_run(model: str | Path | Run, opening: ModelOptions) -> Classifier:
    run, record = finished_run(model, opening.verify_files)
    spec = record.spec

    def logits(images_nhwc: Images) -> np.ndarray:
        weights, _ = read_arrays(run.model_path)
        installed = engines.installed()
        last = record.last_engine
        name = opening.engine or (last if last in installed or not installed else installed[0])
        precision = evaluation_precision(record.recipe)
        engines.configure(name, num_threads(), "auto")
        return provenance.predict_logits(engines.get(name), spec, weights, images_nhwc, precision)

    def dataset(data: Any, reading: OtherDataOptions) -> Dataset:
        own = record.data
        if data is None or (isinstance(data, str | Path) and sources.absolute(data) == own.data):
            return provenance.load_data(record, **reading.given())
        other = source_like(data, reading, spec, own.data_dir, record.class_names).read()
        return divided_alike(other, own.name, own.test_fingerprint, own.test_fraction)

    return Classifier(spec.input_shape, record.class_names, logits, dataset)


def _open_file(path: Path, engine: str | None, trust: bool) -> Classifier:
    artifact = open_artifact(path, trust=trust)
    runtime = None
    if engine:
        fitting = [name for name in artifact.form.runtimes if RUNTIMES[name].engine == engine]
        if not fitting:
            titles = ", ".join(RUNTIMES[name].title for name in artifact.form.runtimes)
            raise UsageError(f"'{path}' has the format {artifact.form.name}, which runs in {titles}; omit --engine.")
        runtime = fitting[0]
    predictor = Predictor.of(artifact, runtime=runtime)
    card = artifact.card

    def dataset(data: Any, reading: OtherDataOptions) -> Dataset:
        if data is not None:
            other = source_like(data, reading, card.spec, class_names=card.class_names).read()
            return divided_alike(other, card.dataset, card.test_fingerprint, card.test_fraction)
        if not (card.is_published and card.dataset in sources.NAMED):
            raise UsageError(f"'{path}' was trained on '{card.dataset}', which has no public source: add DATA.")
        own = replace(source_like(card.dataset, reading, card.spec), test_fraction=card.test_fraction).load()
        if own.test_fingerprint != card.test_fingerprint:
            raise ArtifactError(
                f"'{path}' was tested on a different version of '{card.dataset}': add DATA."
                f"{provenance.skipped_note(own)}"
            )
        return own

    return Classifier(card.spec.input_shape, card.class_names, lambda images_nhwc: predictor(images_nhwc)[0], dataset)
