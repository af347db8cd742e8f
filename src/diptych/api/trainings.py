"""Trainings: begun, and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

from diptych import engines
from diptych.api.models import EngineName, spec_from_file
from diptych.artifacts.run import Run
from diptych.data import sources
from diptych.data.datasets import Dataset
from diptych.data.prefetch import num_threads
from diptych.data.preprocess import channel_statistics
from diptych.errors import SpecError, UsageError
from diptych.reports.progress import Progress
from diptych.spec import ModelSpec, Recipe, recipes, zoo
from diptych.spec.codec import read_recipe
from diptych.spec.recipe import field_names
from diptych.spec.typed import did_you_mean
from diptych.training import job
from diptych.training.fit import Notify
from diptych.training.job import Source
from diptych.training.launch import train_in_process


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
    check_counts(threads=threads, stop_after=stop_after, image_size=min(image_size) if image_size else None)
    names = engines.NAMES if engine == "both" else (engine,)
    for name in names:
        engines.check_installed(name)
    settled = changed(recipe, changes)
    spec = model if isinstance(model, ModelSpec) else spec_from_file(model)
    if spec:
        image_size, channels = spec.input_shape[:2], spec.input_shape[2]
    directory = str(Path(data_dir).resolve()) if data_dir else None
    source = Source(sources.absolute(data), directory, image_size, channels, seed, settled.validation_fraction)
    dataset = source.load()
    spec = spec or _spec_for(str(model), dataset)
    runs = []
    with told(notify) as tell:
        for name in names:
            run_name = f"{dataset.name}-{spec.name}-{name}"
            run = job.create(Path(out), run_name, source, dataset, spec, settled, seed, name)
            complete(run, name, dataset, threads, tell, stop_after)
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
    check_counts(threads=threads, stop_after=stop_after)
    opened = Run.open(Path(run))
    record = opened.read_record()
    if record["status"] == "finished":
        raise UsageError(
            f"'{run}' is finished, after {record['recipe']['epochs']} epochs; train a new run to go further."
        )
    name = engine or record["engine"]
    engines.check_installed(name)
    dataset = job.load_data(record)
    with told(notify) as tell:
        complete(opened, name, dataset, threads, tell, stop_after)
    return opened


@contextmanager
def told(notify: Notify | None) -> Iterator[Notify]:
    """Whom to tell of a training: `notify`, or a live display."""
    if notify:
        yield notify
        return
    with Progress() as progress:
        yield progress.notify


def complete(
    run: Run, engine: str, dataset: Dataset, threads: int | None, tell: Notify, stop_after: int | None
) -> None:
    """Train a created or interrupted run to its end, draw its pictures and seal it."""
    epochs = run.read_record()["recipe"]["epochs"]
    tell("start", {"engine": engine, "run": str(run.directory), "epochs": stop_after or epochs})
    train_in_process(run, engine, threads or num_threads(), tell, stop_after)
    if run.read_record()["status"] == "finished":
        from diptych.reports import pictures

        pictures.draw(run, dataset.test)
        run.seal()


def check_counts(**counts: int | None) -> None:
    """Refuse what is given and below 1.

    Raises:
        UsageError: names it.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"'{name}' wants a whole number of at least 1, got {count}.")


def _spec_for(name: str, dataset: Dataset) -> ModelSpec:
    mean, std = channel_statistics(dataset.train.images)
    return zoo.model(name, dataset.image_shape, dataset.num_classes, mean, std)


def changed(recipe: str | Path | Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe, named or given, with some of its fields changed."""
    if isinstance(recipe, str | Path):
        recipe = read_recipe(Path(recipe)) if str(recipe).endswith(".json") else recipes.recipe(str(recipe))
    unknown = sorted(changes.keys() - set(field_names()))
    if unknown:
        raise SpecError(f"Recipe: unknown field '{unknown[0]}'{did_you_mean(unknown[0], field_names())}.")
    return replace(recipe, **changes)
