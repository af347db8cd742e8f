"""Train and resume, each engine in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from diptych import engines
from diptych.errors import ArtifactError, UsageError
from diptych.files import expanded
from diptych.options import DataOptions, Device, EngineName, TrackerName, TrainOptions, accepts, split_options
from diptych.processes import Notify, Worker, engine_environment, num_threads

# Everything else is imported when a training's own process has started, and imports its framework meanwhile.
Callbacks: TypeAlias = Notify | Sequence[Notify]

if TYPE_CHECKING:
    from diptych.artifacts.run import Run
    from diptych.data.datasets import Dataset
    from diptych.deployment.card import Card
    from diptych.engines.contract import Arrays
    from diptych.spec import ModelSpec, Recipe
    from diptych.training.process import Settings
    from diptych.training.provenance import DataSource


@overload
def train(data: Any, *, engine: EngineName = ..., **options: Any) -> Run: ...
@overload
def train(data: Any, *, engine: Literal["both"], **options: Any) -> tuple[Run, Run]: ...
@accepts(TrainOptions, DataOptions)
def train(
    data: Any,
    *,
    class_names: Sequence[str] | None = None,
    callbacks: Callbacks = (),
    progress: bool = True,
    **options: Any,
) -> Run | tuple[Run, Run]:
    """Train a classifier, each engine in a process of its own.

    Args:
        data: dataset name, folder of class folders, CSV or Parquet file, or a zip or tar of these; or
            (images, labels), images uint8, (N, H, W, C) or (N, H, W), labels numbers or names, (N,); a list of
            (path, label), or (paths, labels); a pandas DataFrame; a torch Dataset; a finite tf.data.Dataset; or a
            dict of these by split. See docs/data.md.
        class_names: names of the labels 0, 1, … of such an object.
        callbacks: functions that this process calls with each event: its kind (`data`, `dataset`, `start`, `step`,
            `epoch`, …) and a dict of its fields. If one returns True for a `step` or an `epoch`, the training ends
            there: the run is evaluated and finished. See docs/training.md.
        progress: show progress.
        options: fields of `TrainOptions`, `DataOptions` and `Recipe`.

    Returns:
        The finished run; with `engine="both"` two runs, torch first.

    Raises:
        DiptychError: bad options or data, or the training failed.
    """
    (chosen, reading), changes = split_options("train", options, TrainOptions, DataOptions)
    names = engines.NAMES if chosen.engine == "both" else (chosen.engine,)
    for name in names:
        engines.check_installed(name)
    recipe, spec, card, start = chosen.recipe_with(changes), chosen.spec, None, None
    runs = []
    with _training_process(names[0]) as process, shown(callbacks, progress, chosen.log) as tell:
        from diptych.artifacts.record import CheckpointOptions
        from diptych.data.preprocess import channel_statistics
        from diptych.spec import zoo
        from diptych.training import provenance
        from diptych.training.checkpoint import Start
        from diptych.training.process import Settings

        if chosen.from_ is not None:
            card, weights = _starting_model(chosen, "model" in options)
            spec = card.spec
        asked = {"class_names": class_names, "progress": data_progress(tell)}
        source = source_of(data, reading, spec, recipe, chosen.seed, **asked)
        dataset = source.load(data_progress(tell))
        if card:
            start = Start.of(str(chosen.from_), card.spec, card.class_names, weights, dataset.class_names, chosen.seed)
            spec = start.spec
        if spec is None:
            mean, std = channel_statistics(dataset.train.images)
            spec = zoo.model(str(chosen.model), dataset.image_shape, dataset.num_classes, mean, std)
        threads = chosen.threads or num_threads()
        if chosen.device == "cuda":  # refused before there is a run
            process.call(engines.configure, names[0], threads, chosen.device)
        checkpoints = CheckpointOptions(chosen.checkpoint_steps, chosen.keep_checkpoints)
        for name in names:
            folder = f"{dataset.name}-{spec.name}-{name}"
            if chosen.name is not None:
                folder = chosen.name + f"-{name}" * (len(names) > 1)
            made = Path(chosen.out), folder, source, dataset, spec, recipe, name
            run = provenance.create(*made, start=start, checkpoints=checkpoints)
            settings = Settings(name, threads, chosen.workers, chosen.stop_after, device=chosen.device)
            complete(run, settings, lambda: dataset, tell, process if name == names[0] else None)
            runs.append(run)
    return (runs[0], runs[1]) if len(runs) > 1 else runs[0]


def resume(
    run: str | Path,
    *,
    data: Any = None,
    out: str | Path = "runs",
    engine: EngineName | None = None,
    device: Device = "auto",
    threads: int | None = None,
    workers: int | None = None,
    stop_after: int | None = None,
    force: bool = False,
    log: Sequence[TrackerName] | TrackerName = (),
    callbacks: Callbacks = (),
    progress: bool = True,
) -> Run:
    """Resume an interrupted training from its last checkpoint, in either engine.

    With the same engine and number of threads the result is bit for bit that of an uninterrupted training.

    Args:
        run: a run's folder, a folder of runs for its latest unfinished run, or `last` for that of `out`.
        data: the same data in another place, or the same Python object if the cache was emptied.
        out: as for `train`.
        engine: torch or tensorflow (default: the last one used).
        device: as for `train`.
        threads: processor threads (default: as before).
        workers: as for `train`.
        stop_after: stop after this many epochs in total.
        force: resume even if the data, classes, model, recipe or framework's major version changed, or the training
            diverged; the run records it.
        log: as for `train`, besides the trackers that logged the run before.
        callbacks: as for `train`.
        progress: show progress.

    Raises:
        ArtifactError: there is no such run, another process trains it, or what it depends on has changed.
        UsageError: the run is finished or has diverged.
    """
    checked = {"threads": threads, "workers": workers, "stop_after": stop_after, "device": device, "log": log}
    names = TrainOptions(**checked).log  # type: ignore[arg-type]
    from diptych.training import provenance, tracking
    from diptych.training.process import Settings

    opened = unfinished_run(run, out)
    record = opened.read_record()
    name = engine or record.last_engine
    engines.check_installed(name)
    settings = Settings(name, threads or record.last_threads or num_threads(), workers, stop_after, force, device)
    changes = {} if data is None else {"data": data, "root": None}
    with shown(callbacks, progress, tracking.resumed(names, opened)) as tell:
        source = provenance.source_of(record, **changes)
        complete(opened, settings, lambda: source.load(data_progress(tell)), tell)
    return opened


def unfinished_run(path: str | Path, out: str | Path = "runs") -> Run:
    """The run to resume: a run's folder, or the latest unfinished run in a folder of runs; `last` stands for `out`."""
    from diptych.artifacts.run import Run

    folder = expanded(out if str(path) == "last" else path)
    runs = [Run(record.parent) for record in folder.glob("*/run.json")]
    if (folder / "run.json").is_file() or not runs:
        return Run.open(folder)
    unfinished = []
    for run in runs:
        with suppress(ArtifactError):  # a damaged run is no reason not to resume another one
            record = run.read_record()
            if record.status != "finished":
                unfinished.append((record.created, run))
    if not unfinished:
        raise ArtifactError(f"Nothing to resume: all {len(runs)} runs in '{folder}' are finished.")
    return max(unfinished, key=lambda entry: entry[0])[1]


def complete(
    run: Run, settings: Settings, load: Callable[[], Dataset], notify: Notify, process: Worker | None = None
) -> None:
    """Train a new or unfinished run to its end, draw its plots and write its manifest.

    `process` is where to train (default: a new process). An interruption says how to resume.
    """
    try:
        from diptych.artifacts.locks import locked
        from diptych.training import provenance
        from diptych.training.process import reported, train_in_process

        with locked(run.directory, "training") as lock, ExitStack() as stack:
            record = provenance.check_unfinished(run, settings.force)
            process = process or stack.enter_context(_training_process(settings.engine))
            dataset = load()
            Thread(target=import_module, args=("seaborn",), daemon=True).start()  # for the plots, meanwhile
            epochs = settings.stop_after or record.recipe.epochs
            with reported(run, notify, engine=settings.engine, epochs=epochs):
                train_in_process(process, run, settings, dataset, notify, [lock])
                process.close()
                if run.read_record().status == "finished":
                    from diptych.reports import plots

                    plots.draw(run, dataset.splits[record.evaluates])
                    run.seal()
    except KeyboardInterrupt as interruption:
        interruption.add_note(f"Resume with: diptych train --resume {run.directory}")
        raise


def _starting_model(chosen: TrainOptions, is_model_given: bool) -> tuple[Card, Arrays]:
    """The card and the weights that a training starts from; raises UsageError if `model` contradicts them."""
    from diptych.api.inference import open_weights
    from diptych.spec import zoo

    card, weights = open_weights(chosen.from_ or "")
    if is_model_given:
        spec = card.spec
        named = chosen.spec or zoo.model(str(chosen.model), spec.input_shape, spec.num_classes)
        layers = named.with_classes(spec.num_classes).layers
        if (named.input_shape, layers[1:]) != (spec.input_shape, spec.layers[1:]):
            raise UsageError(f"'{chosen.from_}' contains the model '{spec.name}', but --model names another: omit it.")
    return card, weights


def _training_process(engine: str) -> Worker:
    """Start a process that imports an engine while this one reads data."""
    imports = [f"diptych.engines.{engine}", "diptych.training.tensorboard", "diptych.training.process"]
    return Worker(f"The {engine} training", imports=imports, env=engine_environment(engine))


@contextmanager
def shown(callbacks: Callbacks, progress: bool, log: Sequence[str] = ()) -> Iterator[Notify]:
    """A function that passes an event to the progress display, all callbacks and the trackers in `log`.

    It returns True if one of them does.
    """
    calls = [callbacks] if callable(callbacks) else [*callbacks]
    if unfit := [call for call in calls if not callable(call)]:
        raise UsageError(f"A callback must be a function of an event's kind and fields, got {unfit[0]!r:.60}.")
    with ExitStack() as stack:
        if progress:
            from diptych.reports.progress import Progress

            calls.insert(0, stack.enter_context(Progress()).notify)
        if log:
            from diptych.training.tracking import Tracker

            calls += [stack.enter_context(Tracker(name)) for name in dict.fromkeys(log)]
        yield lambda kind, fields: sum(call(kind, fields) is True for call in calls) > 0


def data_progress(notify: Notify) -> Callable[[str, int, int], None]:
    """A callback for the progress of reading data that reports `data` events."""

    def progress(doing: str, done: int, total: int) -> None:
        notify("data", {"doing": doing, "done": done, "total": total})

    return progress


def source_of(
    data: Any, reading: DataOptions, spec: ModelSpec | None, recipe: Recipe, seed: int, **asked: Any
) -> DataSource:
    """A data source; `asked` are `class_names` and `progress` for Python objects."""
    from diptych.data.readers import objects
    from diptych.training.provenance import DataSource

    names = asked.get("class_names")
    has_names = isinstance(data, str | Path) or objects.is_frame(data)
    if names is not None and (has_names or isinstance(names, Mapping | Set)):
        fit = "is a list of names of the labels 0, 1, … of arrays, lists or datasets; tables have a column 'class_name'"
        raise UsageError(f"'class_names' {fit}, got {names!r:.60}.")
    settings, share = {**vars(reading), **asked}, recipe.validation_fraction
    return DataSource.of(data, spec=spec, seed=seed, validation_fraction=share, **settings)
