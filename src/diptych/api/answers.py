"""What finished runs and shipped files answer: metrics and predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np

from diptych.api.classifiers import Reading, opened
from diptych.api.models import EngineName
from diptych.artifacts.run import Run
from diptych.data.datasets import BadImages
from diptych.data.decode import SUFFIXES, decode_file
from diptych.data.preprocess import resize
from diptych.errors import DataError
from diptych.evaluation.metrics import evaluate_logits, softmax


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: class names with probabilities, most probable first."""

    image: str
    classes: tuple[tuple[str, float], ...]


def evaluate(
    model: str | Path | Run,
    data: str | Path | None = None,
    *,
    engine: EngineName | None = None,
    data_dir: str | Path | None = None,
    root: str | Path | None = None,
    pixel_shape: tuple[int, int, int] | None = None,
    bad_images: BadImages | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Accuracy, loss, precision, recall, F1, confusion matrix and calibration on a test split.

    Other data than what the model was trained on are mapped to its classes by name. Every image of theirs is used
    where they bring no test split; `data` in what is returned says so, and `num_samples` how many there were.

    Args:
        model: a finished run, whichever engine trained it, or a file that `export` wrote.
        data: a dataset's name, folder, CSV, Parquet or archive; what it was trained on when not given, read as then
            but for the arguments below that are given.
        engine: who computes; the one that trained it when not given, or the one that is installed.
        data_dir: where named datasets are kept.
        root: what the paths in a table are relative to; the table's own folder when not given.
        pixel_shape: (height, width, channels) of a CSV's pixels; inferred when not given.
        bad_images: whether image files that cannot be decoded are an error, or left out; an error when not given, or
            what the training did about them.
        trust: whether to load a file whose format can run code.

    Raises:
        ArtifactError: the file is damaged, or what it was trained on is other data now.
        UsageError: the run is not finished, or a class of the data is none of the model's.
    """
    classifier = opened(model, engine, trust)
    asked = classifier.questions(data, Reading(data_dir, root, pixel_shape, bad_images))
    labels_n = asked.labels(classifier.class_names, str(model))
    logits_nk = np.concatenate([classifier.logits(split.images) for split in asked.splits])
    metrics = evaluate_logits(logits_nk, labels_n, classifier.class_names)
    return {**metrics, "data": {"name": asked.name, "used": asked.used}}


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
        model: a finished run, or a file that `export` wrote.
        images: files, folders or globs; or uint8 pixels, (N, H, W, C), of the model's own size.
        engine: who computes; the one that trained it when not given, or the one that is installed.
        top: how many classes to name.
        trust: whether to load a file whose format can run code.

    Raises:
        DataError: no image, or one that cannot be read.
    """
    classifier = opened(model, engine, trust)
    height, width, channels = classifier.input_shape
    if isinstance(images, np.ndarray):
        pixels, names = _checked_pixels(images, classifier.input_shape), [str(place) for place in range(len(images))]
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
    """Image files named by files, folders and globs, in order.

    Raises:
        DataError: a file or folder is missing, or holds no image.
    """
    found: list[Path] = []
    for image in images:
        path = Path(image).expanduser()
        if path.is_dir():
            matches = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        elif has_magic(str(image)) and not path.exists():
            matches = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207  (patterns may be absolute)
        else:
            matches = [path] if path.exists() else []
        if not matches:
            raise DataError(f"No image at '{image}': wanted a file, a folder of images or a pattern such as '*.png'.")
        found += matches
    if not found:
        raise DataError("No image was named: wanted at least one file, folder or pattern such as '*.png'.")
    return found


def _checked_pixels(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise DataError(
            f"Cannot predict {images.dtype} pixels of shape {images.shape}: "
            f"wanted uint8, (N, {', '.join(map(str, shape))})."
        )
    return images
