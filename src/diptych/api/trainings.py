"""Trainings: begun, and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

from diptych import engines
from diptych.api.models import EngineName, spec_from_file
from diptych.api.telling import reading, told
from diptych.artifacts.lock import locked
from diptych.artifacts.run import Run
from diptych.data.cache import Caching
from diptych.data.datasets import BadImages, Dataset
from diptych.data.prefetch import num_threads
from diptych.data.preprocess import channel_statistics
from diptych.errors import SpecError, UsageError
from diptych.spec import ModelSpec, Recipe, recipes, zoo
from diptych.spec.codec import read_recipe
from diptych.spec.recipe import field_names
from diptych.spec.typed import did_you_mean
from diptych.training import divergence, job
from diptych.training.execute import Settings
from diptych.training.fit import Notify
from diptych.training.job import Source
from diptych.training.launch import replay_in_process, train_in_process


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
    root: str | Path | None = None,
    pixel_shape: tuple[int, int, int] | None = None,
    bad_images: BadImages = "fail",
    cache: Caching = "auto",
    threads: int | None = None,
    workers: int | None = None,
    stop_after: int | None = None,
    checkpoint_steps: int | None = None,
    keep_checkpoints: int = 2,
    notify: Notify | None = None,
    **changes: Any,
) -> Run | tuple[Run, Run]:
    """Train a classifier, each engine in a process of its own.

    Args:
        data: a dataset's name, a folder of class folders, a CSV or Parquet file, or a zip or tar of these.
        engine: torch, tensorflow, or both, one after the other, from the same weights on the same batches.
        model: a name of the zoo, a `spec.json`, or a spec.
        recipe: a recipe's name, a `recipe.json`, or a recipe.
        seed: of the initial weights, the order, the augmentation, dropout and the validation split.
        out: folder of all runs.
        data_dir: where named datasets are kept; `DIPTYCH_DATA` or `~/.cache/diptych` when not given.
        image_size: (height, width) to bring images to.
        channels: 3 for RGB, 1 for grey.
        root: what the paths in a table are relative to; the table's own folder when not given.
        pixel_shape: (height, width, channels) of a CSV's pixels; inferred when not given.
        bad_images: whether image files that cannot be decoded are an error, or left out and named in `run.json`.
        cache: whether decoded image files are kept for next time: those that take little, all, or none.
        threads: processor threads; every core when not given.
        workers: threads that prepare batches; they change no number. As many as there are processor threads when not
            given and images are decoded meanwhile, else 1.
        stop_after: stop after this many epochs, to be resumed later.
        checkpoint_steps: save the state after so many steps, and at every epoch's end; as often as it takes less than
            2 % of the time when not given.
        keep_checkpoints: how many of these states stay.
        notify: told of `data` being read, and of every `start`, `step` and `epoch`; a live display shows them when not
            given.
        changes: fields of the recipe, by name.

    Returns:
        The finished run, or both runs, torch's first.

    Raises:
        DiptychError: bad arguments, data or a training that failed.
    """
    check_counts(threads=threads, stop_after=stop_after, image_size=min(image_size) if image_size else None)
    check_counts(checkpoint_steps=checkpoint_steps, keep_checkpoints=keep_checkpoints)
    check_counts(0, workers=workers)
    names = engines.NAMES if engine == "both" else (engine,)
    for name in names:
        engines.check_installed(name)
    settled = changed(recipe, changes)
    spec = model if isinstance(model, ModelSpec) else spec_from_file(model)
    if spec:
        image_size, channels = spec.input_shape[:2], spec.input_shape[2]
    source = Source.of(
        data,
        data_dir=data_dir,
        root=root,
        image_size=image_size,
        channels=channels,
        seed=seed,
        validation_fraction=settled.validation_fraction,
        pixel_shape=pixel_shape,
        bad_images=bad_images,
        cache=cache,
    )
    runs = []
    with told(notify) as tell:
        dataset = source.load(reading(tell))
        spec = spec or _spec_for(str(model), dataset)
        for name in names:
            run_name = f"{dataset.name}-{spec.name}-{name}"
            run = job.create(
                Path(out),
                run_name,
                source,
                dataset,
                spec,
                settled,
                seed,
                name,
                checkpoint_steps=checkpoint_steps,
                keep_checkpoints=keep_checkpoints,
            )
            complete(run, Settings(name, threads or num_threads(), workers, stop_after), lambda: dataset, tell)
            runs.append(run)
    return (runs[0], runs[1]) if engine == "both" else runs[0]


def resume(
    run: str | Path,
    *,
    engine: EngineName | None = None,
    threads: int | None = None,
    workers: int | None = None,
    stop_after: int | None = None,
    force: bool = False,
    notify: Notify | None = None,
) -> Run:
    """Go on with an interrupted training from its last checkpoint, in either engine.

    In the same engine, with as many threads, it ends as if nothing had interrupted it, bit for bit.

    Args:
        run: the run's directory.
        engine: torch or tensorflow; the one that trained it last when not given.
        threads: processor threads; as many as before when not given.
        workers: threads that prepare batches; they change no number. As many as there are processor threads when not
            given and images are decoded meanwhile, else 1.
        stop_after: stop after this many epochs in all.
        force: go on even where data, classes, model, recipe or the framework's major version are others than they
            were, or where the training has diverged; the run records it.
        notify: told of every `start`, `step` and `epoch`; a live display shows them when not given.

    Raises:
        ArtifactError: there is no such run, another process trains it, or what it follows from has changed.
        UsageError: it is finished, or it has diverged.
    """
    check_counts(threads=threads, stop_after=stop_after)
    check_counts(0, workers=workers)
    opened = Run.open(Path(run))
    job.check_unfinished(opened, force)
    name, before = _last_start(job.read(opened))
    chosen = engine or name
    engines.check_installed(chosen)
    settings = Settings(chosen, threads or before or num_threads(), workers, stop_after, force)
    with told(notify) as tell:
        complete(
            opened,
            settings,
            lambda: job.load_data(job.read(opened)),
            tell,
            lambda: job.check_unfinished(opened, force),
        )
    return opened


def replay(run: str | Path, *, threads: int | None = None, workers: int | None = None) -> dict[str, Any]:
    """Repeat the step at which a training diverged, from the last checkpoint before it; the run stays as it is.

    Args:
        run: the run's directory.
        threads: processor threads; as many as before when not given.
        workers: threads that prepare batches; they change no number. As many as there are processor threads when not
            given and images are decoded meanwhile, else 1.

    Returns:
        Whether it was `reproduced`, and what there was to see: `epoch`, `step`, `loss`, `learning_rate`,
        `batch_digest`, `samples`, `largest_logit`, `largest_weight`, `largest_gradient` and `first_layer`, the first
        whose output is not finite.

    Raises:
        UsageError: it has not diverged.
        ArtifactError: there is no such run, another process trains it, or its data has changed.
    """
    check_counts(threads=threads)
    check_counts(0, workers=workers)
    opened = Run.open(Path(run))
    divergence.read(opened)
    with locked(opened.directory, "replaying") as lock:
        divergence.read(opened)  # whoever held the lock may have gone on with it
        name, before = _last_start(job.read(opened))
        engines.check_installed(name)
        return replay_in_process(opened, Settings(name, threads or before or num_threads(), workers), [lock])


def _last_start(record: Mapping[str, Any]) -> tuple[str, int | None]:
    """Engine and threads that a run was trained with last."""
    start = record["engines"][-1] if record["engines"] else record
    return start["engine"], start.get("threads")


def complete(
    run: Run,
    settings: Settings,
    load: Callable[[], Dataset],
    tell: Notify,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Train a created or interrupted run to its end, draw its pictures and seal it.

    Args:
        run: the run.
        settings: how to go on with it.
        load: gives its data.
        tell: told of all that the training tells.
        check: refuses, once no other process can change the run.

    Raises:
        ArtifactError: another process trains it.
        KeyboardInterrupt: with a note that says how to go on.
    """
    with _noted(run), locked(run.directory, "training") as lock:
        check()
        epochs = job.read(run)["recipe"]["epochs"]
        tell("start", {"engine": settings.engine, "run": str(run.directory), "epochs": settings.stop_after or epochs})
        train_in_process(run, settings, tell, [lock])
        if job.read(run)["status"] == "finished":
            from diptych.reports import plots

            plots.draw(run, load().test)
            run.seal()


@contextmanager
def _noted(run: Run) -> Iterator[None]:
    """Has an interruption say how to go on with a run."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        interruption.add_note(f"`diptych train --resume {run.directory}` goes on with it.")
        raise


def check_counts(least: int = 1, /, **counts: int | None) -> None:
    """Refuse what is given and below the least number that makes sense.

    Raises:
        UsageError: names it.
    """
    for name, count in counts.items():
        if count is not None and count < least:
            raise UsageError(f"'{name}' wants a whole number of at least {least}, got {count}.")


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
