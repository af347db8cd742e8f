"""What finished runs answer: metrics and predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np

from diptych import engines
from diptych.api.models import EngineName
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data.decode import SUFFIXES, decode_file
from diptych.data.preprocess import resize
from diptych.errors import DataError, UsageError
from diptych.evaluation.metrics import evaluate_logits
from diptych.evaluation.softmax import softmax
from diptych.training import job
from diptych.training.fit import evaluation_precision
from diptych.training.job import Source


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: class names with probabilities, most probable first."""

    image: str
    classes: tuple[tuple[str, float], ...]


def evaluate(
    run: str | Path | Run,
    data: str | Path | None = None,
    *,
    engine: EngineName | None = None,
    data_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Accuracy, loss, precision, recall, F1, confusion matrix and calibration on a test split.

    Args:
        run: a finished run, whichever engine trained it.
        data: a dataset's name or folder; the run's own when not given.
        engine: who computes; the one that trained it when not given, or the one that is installed.
        data_dir: where named datasets are kept.

    Raises:
        ArtifactError: the run is not finished, or the data's classes are not the model's.
    """
    opened, record = _finished(run)
    if data is None:
        dataset = job.load_data(record)
    else:
        height, width, channels = record["spec"]["input_shape"]
        directory = str(data_dir) if data_dir else record["data"]["data_dir"]
        dataset = Source(job.absolute(data), directory, (height, width), channels).load()
    if list(dataset.class_names) != record["class_names"]:
        raise UsageError(
            f"The classes of '{dataset.name}' are not those of '{opened.directory}': "
            f"{', '.join(dataset.class_names[:3])}… instead of {', '.join(record['class_names'][:3])}…"
        )
    logits_nk = _logits(opened, record, dataset.test.images, engine)
    return evaluate_logits(logits_nk, dataset.test.labels, dataset.class_names)


def predict(
    run: str | Path | Run,
    images: str | Path | np.ndarray | Iterable[str | Path],
    *,
    engine: EngineName | None = None,
    top: int = 3,
) -> list[Prediction]:
    """The most probable classes of each image.

    Args:
        run: a finished run.
        images: files, folders or globs; or uint8 pixels, (N, H, W, C), of the model's own size.
        engine: who computes; the one that trained it when not given, or the one that is installed.
        top: how many classes to name.

    Raises:
        DataError: no image, or one that cannot be read.
    """
    opened, record = _finished(run)
    height, width, channels = record["spec"]["input_shape"]
    if isinstance(images, np.ndarray):
        pixels, names = (
            _checked_pixels(images, (height, width, channels)),
            [str(place) for place in range(len(images))],
        )
    else:
        paths = image_paths([images] if isinstance(images, str | Path) else images)
        pixels = np.stack([resize(decode_file(path, channels), (height, width)) for path in paths])
        names = [str(path) for path in paths]
    probabilities_nk = softmax(_logits(opened, record, pixels, engine))
    best_nk = np.argsort(-probabilities_nk, axis=1, kind="stable")[:, :top]
    classes = record["class_names"]
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


def _finished(run: str | Path | Run) -> tuple[Run, dict[str, Any]]:
    opened = run if isinstance(run, Run) else Run.open(Path(run))
    record = opened.read_record()
    if record["status"] != "finished":
        raise UsageError(
            f"'{opened.directory}' is not finished ({record['status']}). "
            f"Go on with: diptych train --resume {opened.directory}"
        )
    return opened, record


def _logits(run: Run, record: dict[str, Any], images: np.ndarray, engine: str | None) -> np.ndarray:
    chosen = engines.get(engine or _usable(record["engines"][-1]["engine"]))
    spec = job.spec_of(record)
    precision = evaluation_precision(job.recipe_of(record))
    return job.predict_logits(chosen, spec, read_arrays(run.model_path)[0], images, precision)


def _usable(preferred: str) -> str:
    installed = engines.installed()
    return preferred if preferred in installed or not installed else installed[0]


def _checked_pixels(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise DataError(
            f"Cannot predict {images.dtype} pixels of shape {images.shape}: "
            f"wanted uint8, (N, {', '.join(map(str, shape))})."
        )
    return images
