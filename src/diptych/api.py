"""The Python API: each verb of the command line as a function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from diptych import engines
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.comparison import parity
from diptych.comparison.certificate import Certificate
from diptych.data.datasets import Dataset
from diptych.data.decode import SUFFIXES, decode_file
from diptych.data.preprocess import channel_statistics, resize
from diptych.engines.worker import num_threads
from diptych.errors import DataError, SpecError, UsageError
from diptych.evaluation.metrics import evaluate_logits
from diptych.evaluation.softmax import softmax
from diptych.reports.progress import Progress
from diptych.spec import ModelSpec, Recipe, recipes, zoo
from diptych.spec.codec import did_you_mean, read_model, read_recipe
from diptych.spec.recipe import field_names
from diptych.training import job
from diptych.training.fit import Notify, evaluation_precision
from diptych.training.job import Source
from diptych.training.launch import train_in_process

EngineName = Literal["torch", "tensorflow"]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: class names with probabilities, most probable first."""

    image: str
    classes: tuple[tuple[str, float], ...]


def build(
    model: str | Path | ModelSpec,
    engine: EngineName,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    precision: str = "float32",
) -> Any:
    """A plain `torch.nn.Module` or `keras.Model`: uint8 images, (N, H, W, C), in; logits, (N, K), out.

    Args:
        model: a name of the zoo, a `spec.json`, or a spec.
        engine: torch or tensorflow.
        input_shape: (height, width, channels), for a model of the zoo.
        num_classes: number of logits, for a model of the zoo.
        precision: float32, float64, bfloat16 or float16.

    Raises:
        SpecError: no such model, or it does not fit the shape.
        MissingEngine: the framework is not installed.
    """
    return engines.get(engine).build(_spec(model, input_shape, num_classes), precision)


def verify(
    model: str | Path | ModelSpec,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    **settings: Any,
) -> Certificate:
    """Prove that a model is the same in both frameworks; see `comparison.parity.verify` for the settings.

    Args:
        model: a name of the zoo, a `spec.json`, or a spec.
        input_shape: (height, width, channels), for a model of the zoo.
        num_classes: number of logits, for a model of the zoo.
        settings: optimizers, precisions, steps, digits_epochs, seed, on_rung.

    Raises:
        SpecError: no such model, or it does not fit the shape.
        MissingEngine: a framework is not installed.
    """
    return parity.verify(_spec(model, input_shape, num_classes), **settings)


@overload
def train(data: str | Path, *, engine: EngineName = ..., **settings: Any) -> Run: ...
@overload
def train(data: str | Path, *, engine: Literal["both"], **settings: Any) -> tuple[Run, Run]: ...
def train(
    data: str | Path,
    *,
    engine: EngineName | Literal["both"] = "torch",
    model: str | Path | ModelSpec = "cnn",
    recipe: str | Path | Recipe = "default",
    seed: int = 0,
    out: str | Path = "runs",
    data_dir: str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    threads: int | None = None,
    stop_after: int | None = None,
    notify: Notify | None = None,
    **changes: Any,
) -> Run | tuple[Run, Run]:
    """Train a classifier, each engine in a process of its own.

    Args:
        data: a dataset's name or a folder of class folders.
        engine: torch, tensorflow, or both, one after the other, from the same weights on the same batches.
        model: a name of the zoo, a `spec.json`, or a spec.
        recipe: a recipe's name, a `recipe.json`, or a recipe.
        seed: of the initial weights, the order, the augmentation, dropout and the validation split.
        out: folder of all runs.
        data_dir: where named datasets are kept; `DIPTYCH_DATA` or `~/.cache/diptych` when not given.
        image_size: (height, width) to bring images to.
        channels: 3 for RGB, 1 for grey.
        threads: processor threads; every core when not given.
        stop_after: stop after this many epochs, to be resumed later.
        notify: told of every `start`, `step` and `epoch`; a live display shows them when not given.
        changes: fields of the recipe, by name.

    Returns:
        The finished run, or both runs, torch's first.

    Raises:
        DiptychError: bad arguments, data or a training that failed.
    """
    names = engines.NAMES if engine == "both" else (engine,)
    for name in names:
        engines.check_installed(name)
    settled = _changed(recipe, changes)
    spec = model if isinstance(model, ModelSpec) else _spec_from_file(model)
    if spec:
        image_size, channels = spec.input_shape[:2], spec.input_shape[2]
    directory = str(Path(data_dir).resolve()) if data_dir else None
    source = Source(_resolved(data), directory, image_size, channels, seed, settled.validation_fraction)
    dataset = source.load()
    spec = spec or _spec_for(str(model), dataset)
    runs = []
    with _told(notify) as tell:
        for name in names:
            run_name = f"{dataset.name}-{spec.name}-{name}"
            run = job.create(Path(out), run_name, source, dataset, spec, settled, seed, name)
            _complete(run, name, dataset, threads, tell, stop_after)
            runs.append(run)
    return (runs[0], runs[1]) if engine == "both" else runs[0]


def resume(
    run: str | Path,
    *,
    engine: EngineName | None = None,
    threads: int | None = None,
    stop_after: int | None = None,
    notify: Notify | None = None,
) -> Run:
    """Go on with an interrupted training from its last checkpoint, in either engine.

    Args:
        run: the run's directory.
        engine: torch or tensorflow; the one that began it when not given.
        threads: processor threads; every core when not given.
        stop_after: stop after this many epochs in all.
        notify: told of every `start`, `step` and `epoch`; a live display shows them when not given.

    Raises:
        ArtifactError: there is no such run, it is finished, or its data has changed.
    """
    opened = Run.open(Path(run))
    record = opened.read_record()
    if record["status"] == "finished":
        raise UsageError(
            f"'{run}' is finished, after {record['recipe']['epochs']} epochs; train a new run to go further."
        )
    name = engine or record["engine"]
    engines.check_installed(name)
    dataset = job.load_data(record)
    with _told(notify) as tell:
        _complete(opened, name, dataset, threads, tell, stop_after)
    return opened


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
        dataset = Source(_resolved(data), directory, (height, width), channels).load()
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
    return found


@contextmanager
def _told(notify: Notify | None) -> Iterator[Notify]:
    if notify:
        yield notify
        return
    with Progress() as progress:
        yield progress.notify


def _complete(
    run: Run, engine: str, dataset: Dataset, threads: int | None, tell: Notify, stop_after: int | None
) -> None:
    epochs = run.read_record()["recipe"]["epochs"]
    tell("start", {"engine": engine, "run": str(run.directory), "epochs": stop_after or epochs})
    train_in_process(run, engine, threads or num_threads(), tell, stop_after)
    if run.read_record()["status"] == "finished":
        from diptych.reports import pictures

        pictures.draw(run, dataset.test)
        run.seal()


def _spec(model: str | Path | ModelSpec, input_shape: tuple[int, int, int], num_classes: int) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    return _spec_from_file(model) or zoo.model(str(model), input_shape, num_classes)


def _spec_from_file(model: str | Path) -> ModelSpec | None:
    return read_model(Path(model)) if str(model).endswith(".json") else None


def _spec_for(name: str, dataset: Dataset) -> ModelSpec:
    mean, std = channel_statistics(dataset.train.images)
    return zoo.model(name, dataset.image_shape, dataset.num_classes, mean, std)


def _changed(recipe: str | Path | Recipe, changes: dict[str, Any]) -> Recipe:
    if isinstance(recipe, str | Path):
        recipe = read_recipe(Path(recipe)) if str(recipe).endswith(".json") else recipes.recipe(str(recipe))
    unknown = sorted(changes.keys() - set(field_names()))
    if unknown:
        raise SpecError(f"Recipe: unknown field '{unknown[0]}'{did_you_mean(unknown[0], field_names())}.")
    return replace(recipe, **changes)


def _resolved(data: str | Path) -> str:
    path = Path(data).expanduser()
    return str(path.resolve()) if path.is_dir() and str(data) not in _dataset_names() else str(data)


def _dataset_names() -> set[str]:
    from diptych.data.datasets import names

    return {dataset.name for dataset in names()}


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
    chosen.configure(num_threads())
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
