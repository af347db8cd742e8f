"""Evaluate finished runs and exported files, and predict with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np

from diptych import engines
from diptych.api.evaluation_set import EvaluationSet
from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data import sources
from diptych.data.decode import SUFFIXES, decode_file
from diptych.data.images import Images
from diptych.data.preprocess import resize
from diptych.deployment.file_types import is_artifact, open_artifact
from diptych.deployment.predictor import Predictor
from diptych.deployment.runtimes import RUNTIMES
from diptych.errors import ArtifactError, DataError, UsageError
from diptych.evaluation.metrics import evaluate_logits, softmax
from diptych.options import EngineName, OtherDataOptions, accepts, split_options
from diptych.training import provenance
from diptych.training.provenance import Source, evaluation_precision


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image with their probabilities, most probable first."""

    image: str
    classes: tuple[tuple[str, float], ...]


@accepts(OtherDataOptions)
def evaluate(
    model: str | Path | Run,
    data: str | Path | None = None,
    *,
    engine: EngineName | None = None,
    trust: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Accuracy, loss, precision, recall, F1, confusion matrix and calibration on a test split.

    The classes of other data are matched by name. Data without a test split is used whole; `data` in the result says
    so.

    Args:
        model: a finished run, or a file written by `export`.
        data: dataset name, folder, CSV, Parquet or archive (default: what the model was trained on).
        engine: torch or tensorflow (default: the one that trained it, else the installed one).
        trust: load a file whose format can run code.
        options: fields of `OtherDataOptions`.

    Raises:
        ArtifactError: the file is damaged, or the data it was trained on has changed.
        UsageError: the run is not finished, or the model does not know a class of the data.
    """
    (reading,), _ = split_options("evaluate", options, OtherDataOptions)
    classifier = open_classifier(model, engine, trust)
    evaluation_set = classifier.evaluation_set(data, reading)
    labels_n = evaluation_set.labels(classifier.class_names, str(model))
    logits_nk = np.concatenate([classifier.logits(split.images) for split in evaluation_set.splits])
    metrics = evaluate_logits(logits_nk, labels_n, classifier.class_names)
    return {**metrics, "data": {"name": evaluation_set.name, "used": evaluation_set.used}}


def predict(
    model: str | Path | Run,
    images: str | Path | np.ndarray | Iterable[str | Path],
    *,
    engine: EngineName | None = None,
    top: int = 3,
    trust: bool = False,
) -> list[Prediction]:
    """The most probable classes of each image.

    Args:
        model: a finished run, or a file written by `export`.
        images: files, folders or globs; or pixels, uint8, (N, H, W, C), of the model's input size.
        engine: torch or tensorflow (default: the one that trained it, else the installed one).
        top: number of classes to return.
        trust: load a file whose format can run code.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    classifier = open_classifier(model, engine, trust)
    height, width, channels = classifier.input_shape
    if isinstance(images, np.ndarray):
        pixels, names = _checked_pixels(images, classifier.input_shape), [str(index) for index in range(len(images))]
    else:
        paths = image_paths([images] if isinstance(images, str | Path) else images)
        pixels = np.stack([resize(decode_file(path, channels), (height, width)) for path in paths])
        names = [str(path) for path in paths]
    probabilities_nk = softmax(classifier.logits(pixels))
    best_nk = np.argsort(-probabilities_nk, axis=1, kind="stable")[:, :top]
    classes = classifier.class_names
    return [
        Prediction(name, tuple((classes[k], float(row[k])) for k in best))
        for name, row, best in zip(names, probabilities_nk, best_nk, strict=True)
    ]


def image_paths(images: Iterable[str | Path]) -> list[Path]:
    """The image files that files, folders and globs name, in order.

    Raises:
        DataError: a file or folder is missing, or a folder has no image.
    """
    paths: list[Path] = []
    for image in images:
        path = Path(image).expanduser()
        if path.is_dir():
            matches = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        elif has_magic(str(image)) and not path.exists():
            matches = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207  (patterns may be absolute)
        else:
            matches = [path] if path.exists() else []
        if not matches:
            raise DataError(f"No image at '{image}'; name a file, a folder of images or a pattern such as '*.png'.")
        paths += matches
    if not paths:
        raise DataError("No image given; name a file, a folder of images or a pattern such as '*.png'.")
    return paths


def _checked_pixels(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise DataError(
            f"Cannot predict {images.dtype} pixels of shape {images.shape}: "
            f"the model takes uint8, (N, {', '.join(map(str, shape))})."
        )
    return images


@dataclass(frozen=True)
class Classifier:
    """A finished run in an engine, or an exported file in its runtime."""

    input_shape: tuple[int, int, int]
    """Height, width and channels of its images."""
    class_names: tuple[str, ...]
    logits: Callable[[Images], np.ndarray]
    """From uint8 images, (N, H, W, C), to logits, (N, K)."""
    evaluation_set: Callable[[str | Path | None, OtherDataOptions], EvaluationSet]
    """Labelled images of the data it was trained on, or of other data."""


def open_classifier(model: str | Path | Run, engine: str | None = None, trust: bool = False) -> Classifier:
    """Open a finished run or an exported file.

    Args:
        model: the run or file.
        engine: torch or tensorflow.
        trust: load a file whose format can run code.

    Raises:
        DiptychError: there is no such run or file, or nothing that can run it.
    """
    if not isinstance(model, Run) and is_artifact(model):
        return _open_file(Path(model), engine, trust)
    return _open_run(model, engine)


def finished_run(run: str | Path | Run) -> tuple[Run, RunRecord]:
    """A finished run and its record.

    Raises:
        UsageError: it is not finished.
        ArtifactError: its record is damaged or incomplete.
    """
    opened = run if isinstance(run, Run) else Run.open(Path(run))
    record = opened.read_record()
    if record.status != "finished":
        raise UsageError(
            f"'{opened.directory}' is not finished ({record.status}). "
            f"Resume it with: diptych train --resume {opened.directory}"
        )
    return opened, record


def source_like(record: RunRecord, data: str | Path, reading: OtherDataOptions) -> Source:
    """Other data, with images of a run's size and colours."""
    directory = reading.data_dir or record.data.data_dir
    return _source(data, replace(reading, data_dir=directory), record.spec.input_shape)


def _open_run(model: str | Path | Run, engine: str | None) -> Classifier:
    run, record = finished_run(model)
    spec = record.spec

    def logits(images_nhwc: Images) -> np.ndarray:
        weights, _ = read_arrays(run.model_path)
        chosen = engines.get(engine or _installed(record.last_engine))
        return provenance.predict_logits(chosen, spec, weights, images_nhwc, evaluation_precision(record.recipe))

    def evaluation_set(data: str | Path | None, reading: OtherDataOptions) -> EvaluationSet:
        own = record.data
        if data is None or sources.absolute(data) == own.data:
            return EvaluationSet.of_test(provenance.load_data(record, **reading.given()))
        whole = source_like(record, data, reading).read()
        return EvaluationSet.of_other(whole, own.name, own.test_fingerprint)

    return Classifier(spec.input_shape, record.class_names, logits, evaluation_set)


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

    def evaluation_set(data: str | Path | None, reading: OtherDataOptions) -> EvaluationSet:
        if data is not None:
            whole = _source(data, reading, card.spec.input_shape).read()
            return EvaluationSet.of_other(whole, card.dataset, card.test_fingerprint)
        if not (card.is_published and sources.is_named(card.dataset)):
            raise UsageError(f"'{path}' was trained on '{card.dataset}', which has no public source: add the DATA.")
        dataset = _source(card.dataset, reading, card.spec.input_shape).load()
        if dataset.test_fingerprint != card.test_fingerprint:
            raise ArtifactError(
                f"'{path}' was tested on a different version of '{card.dataset}': add the DATA."
                f"{provenance.skipped_note(dataset)}"
            )
        return EvaluationSet.of_test(dataset)

    return Classifier(
        card.spec.input_shape, card.class_names, lambda images_nhwc: predictor(images_nhwc)[0], evaluation_set
    )


def _source(data: str | Path, reading: OtherDataOptions, shape: tuple[int, int, int]) -> Source:
    return Source.of(data, image_size=shape[:2], channels=shape[2], **reading.given())


def _installed(preferred: str) -> str:
    installed = engines.installed()
    return preferred if preferred in installed or not installed else installed[0]
