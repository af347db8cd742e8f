"""Evaluate finished runs and exported files, and predict with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych import engines
from diptych.artifacts.record import DataRecord
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data import sources
from diptych.data.datasets import Dataset
from diptych.data.images import Images
from diptych.data.preprocess import levels, resize, to_channels
from diptych.data.readers import objects
from diptych.data.readers.tree import image_names
from diptych.deployment.card import Card, card_of
from diptych.deployment.file_types import is_artifact, open_artifact
from diptych.deployment.predictor import Predictor
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.transfer import read_described
from diptych.engines.contract import Arrays
from diptych.errors import ArtifactError, DataError, ImageError, UsageError, first_of, remark
from diptych.evaluation import absent, evaluate_logits, softmax
from diptych.files import expanded
from diptych.options import ModelOptions, OtherDataOptions, accepts, split_options
from diptych.processes import num_threads
from diptych.spec import ModelSpec
from diptych.training import provenance
from diptych.training.provenance import DataSource, evaluation_precision

_EXPECTED = "expected a file, a folder of images or a pattern such as '*.png'"


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image with their probabilities, most probable first."""

    image: str
    """The path, or the number of an image without one."""
    classes: tuple[tuple[str, float], ...]
    error: str = ""
    """Why the image could not be read."""


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
def predict(model: str | Path | Run, images: Any, *, top: int = 3, **options: Any) -> list[Prediction]:
    """The most probable classes of each image; images of any size are resized as in training.

    Args:
        model: a finished run, or a file written by `export`.
        images: a file, folder or glob; a Pillow image; uint8 pixels, 0–255, gray or RGB, of one image, (H, W) or
            (H, W, C), or of many, (N, H, W) or (N, H, W, C); or a list of any of these.
        top: number of classes to return.
        options: fields of `ModelOptions`.

    Returns:
        A prediction per image; for a file that cannot be read, one without classes whose `error` says why.

    Raises:
        DataError: there is no image, or none can be read.
        UsageError: pixels have another type, range or shape.
    """
    (opening,), _ = split_options("predict", options, ModelOptions)
    classifier = open_classifier(model, opening)
    height, width, channels = classifier.spec.input_shape
    pixels, faults, names = dict[int, np.ndarray](), dict[int, ImageError](), list[str]()
    for number, (name, image) in enumerate(named_images(images)):
        names.append(name or str(number))
        try:
            image_hwc = objects.pixels(image, name or f"Image {number}", remark)
            pixels[number] = resize(to_channels(image_hwc[np.newaxis], channels)[0], (height, width))
        except ImageError as error:
            faults[number] = error
    if not pixels:
        raise next(iter(faults.values()), DataError(f"No images given: {_EXPECTED}."))
    probabilities_nk = softmax(classifier.logits(np.stack([*pixels.values()])))
    best_nk = np.argsort(-probabilities_nk, axis=1, kind="stable")[:, :top]
    classes = {
        number: tuple((classifier.class_names[k], float(row[k])) for k in best)
        for number, row, best in zip(pixels, probabilities_nk, best_nk, strict=True)
    }
    return [Prediction(name, classes.get(number, ()), str(faults.get(number, ""))) for number, name in enumerate(names)]


def named_images(images: Any) -> Iterator[tuple[str, Any]]:
    """Yield each image with its path, or "": those of paths, folders, globs, batches, and collections of these."""
    shape: tuple[int, ...] = tuple(getattr(images, "shape", ()))
    if isinstance(images, str | os.PathLike):
        yield from ((str(path), path) for path in _image_paths(expanded(os.fspath(images), "IMAGE")))
    elif isinstance(images, bytes | Image.Image) or len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4)):
        yield "", images
    elif len(shape) == 3 and shape[0] == 3:
        if not hasattr(images, "permute"):  # PyTorch's tensors have channels first
            fix = "if its channels come first, images.transpose(1, 2, 0); for three gray images, images[..., None]"
            raise UsageError(f"An array of the shape {shape} may be one image or three: {fix}.")
        yield "", images
    elif len(shape) in (3, 4):
        yield from (("", image) for image in levels(images, "The array of images", 4, remark))
    elif isinstance(images, Iterable) and (len(shape) == 1 or not hasattr(images, "shape")):
        for image in images:
            yield from named_images(image)
    else:
        kind = type(images).__name__
        raise UsageError(f"Unsupported images of type {kind}: {_EXPECTED}, a Pillow image or an array.")


def _image_paths(path: Path) -> list[Path]:
    """The image files that a file, a folder or a glob names; raises DataError if it matches none."""
    matches = [path]
    if path.is_dir():
        matches = [path / name for name in image_names(path)]
    elif has_magic(str(path)) and not path.exists():
        matches = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207  (patterns may be absolute)
    if not matches:
        raise DataError(f"No images at '{path}': {_EXPECTED}.")
    return matches


@dataclass(frozen=True)
class Classifier:
    """A finished run in an engine, or an exported file in its runtime."""

    spec: ModelSpec
    class_names: tuple[str, ...]
    source: DataRecord
    """The data it was trained on; those of a file have no path."""
    own_data: Callable[[OtherDataOptions], Dataset]
    """Read these data."""
    logits: Callable[[Images], np.ndarray]
    """From uint8 images, (N, H, W, C), to logits, (N, K)."""

    def data(self, data: Any, reading: OtherDataOptions) -> Dataset:
        """Labeled images of the data it was trained on, or of other data.

        If other data turn out to be those it was trained on, they are divided as in training. A file without a
        fingerprint was trained on data of its dataset's name.
        """
        own = self.source
        if data is None or (isinstance(data, str | Path) and sources.absolute(data) == own.data):
            return self.own_data(reading)
        settings = {"data_dir": own.data_dir, **reading.given(), "spec": self.spec}
        other = DataSource.of(data, class_names=provenance.class_names(self.class_names), **settings).read()
        if not len(other.test):
            with suppress(DataError):  # data that cannot be divided was not trained on
                divided = other.divide(0, validation_fraction=0, test_fraction=own.test_fraction)
                is_alike = own.test_fingerprint is None and other.name == own.name
                if is_alike or divided.test_fingerprint == own.test_fingerprint:
                    return divided
        return other


def open_classifier(model: str | Path | Run, opening: ModelOptions) -> Classifier:
    """Open a finished run or an exported file."""
    return _open_file(Path(model), opening) if is_artifact(model) else _open_run(Run.open(model), opening)


def open_weights(model: str | Path | Run, verify_files: bool = False) -> tuple[Card, Arrays]:
    """The card and the weights of a finished run, or of a file with a card that contains weights."""
    if is_artifact(model):
        artifact = open_artifact(model)
        return artifact.card, read_described(artifact)
    run = Run.open(model)
    record, (weights, _) = run.finished(verify_files=verify_files), read_arrays(run.model_path)
    return card_of(record, weights), weights


def logits_of(
    spec: ModelSpec, weights: Arrays, images_nhwc: Images, engine: str = "", precision: str = "float32"
) -> np.ndarray:
    """Logits, (N, K), of a model in an engine, or else in the first one that is installed."""
    name = engine or next(iter(engines.installed()), engines.NAMES[0])
    engines.configure(name, num_threads(), "auto")
    return provenance.predict_logits(engines.get(name), spec, weights, images_nhwc, precision)


def _open_run(run: Run, opening: ModelOptions) -> Classifier:
    record = run.finished(verify_files=opening.verify_files)

    def own_data(reading: OtherDataOptions) -> Dataset:
        return provenance.load_data(record, **reading.given())

    def logits(images_nhwc: Images) -> np.ndarray:
        weights, _ = read_arrays(run.model_path)
        last = record.last_engine if record.last_engine in engines.installed() else ""
        how = opening.engine or last, evaluation_precision(record.recipe)
        return logits_of(record.spec, weights, images_nhwc, *how)

    return Classifier(record.spec, record.class_names, record.data, own_data, logits)


def _open_file(path: Path, opening: ModelOptions) -> Classifier:
    artifact = open_artifact(path, trust=opening.trust)
    card, form = artifact.card, artifact.form
    fitting = [name for name in form.runtimes if opening.engine in (None, RUNTIMES[name].engine)]
    if not fitting:
        titles = ", ".join(RUNTIMES[name].title for name in form.runtimes)
        raise UsageError(f"'{path}' has the format {form.name}, which runs in {titles}; omit --engine.")
    predictor = Predictor.of(artifact, runtime=fitting[0] if opening.engine else None)

    def own_data(reading: OtherDataOptions) -> Dataset:
        if not (card.is_published and card.dataset in sources.NAMED):
            raise UsageError(f"'{path}' was trained on '{card.dataset}', which has no public source: add DATA.")
        settings = {"spec": card.spec, "test_fraction": card.test_fraction, **reading.given()}
        own = DataSource.of(card.dataset, **settings).load()
        if own.test_fingerprint != card.test_fingerprint:
            other = f"'{path}' was tested on a different version of '{card.dataset}': add DATA."
            raise ArtifactError(other + provenance.skipped_note(own))
        return own

    tested, fraction = card.test_fingerprint, card.test_fraction
    source = DataRecord("", name=card.dataset, fingerprint="", test_fingerprint=tested, test_fraction=fraction)
    return Classifier(card.spec, card.class_names, source, own_data, lambda images: predictor(images)[0])
