"""Tune: search for a better recipe and model, and test what was found in every framework."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from diptych import engines
from diptych.api.comparison import command_line
from diptych.api.training import Callbacks, data_progress, shown, source_of
from diptych.artifacts.store import write_json
from diptych.data.preprocess import channel_statistics
from diptych.errors import UsageError
from diptych.options import DataOptions, TuneOptions, accepts, split_options
from diptych.processes import Notify, num_threads
from diptych.spec import ModelSpec, Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json

if TYPE_CHECKING:
    import optuna

    from diptych.tuning.session import Session


@dataclass(frozen=True)
class Tuned:
    """What a study found; `content` is that of `study.json`."""

    directory: Path
    content: Mapping[str, Any]
    study: optuna.Study
    """A study of Optuna, for its own tools."""
    recipe: Recipe
    """The chosen recipe, also in `recipe.json`."""
    spec: ModelSpec
    """The chosen model, also in `spec.json`."""


@accepts(TuneOptions, DataOptions)
def tune(
    data: Any,
    *,
    space: str | Path | Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    callbacks: Callbacks = (),
    progress: bool = True,
    **options: Any,
) -> Tuned:
    """Search for a recipe and a model with a higher validation accuracy; resumes where an earlier call stopped.

    Args:
        data: dataset name, folder of class folders, CSV or Parquet file, a zip or tar of these, or a Python object, as
            for `train`.
        space: what to search: a space.json or its content (default: see docs/tuning.md).
        class_names: as for `train`.
        callbacks: functions that are called with each event: its kind (`data`, `dataset`, `study`, `trial`,
            `trial_step`, `trial_epoch`) and a dict of its fields.
        progress: show progress.
        options: fields of `TuneOptions`, `DataOptions` and `Recipe`.

    Returns:
        The study, the folder with all its files, and the chosen recipe and model.

    Raises:
        DiptychError: bad options or data, Optuna is missing, or no trial could be trained.
    """
    with shown(callbacks, progress) as notify, _session(data, space, class_names, notify, options) as session:
        from diptych.tuning.finalists import finals_of

        try:
            session.run_trials()
            return _written(session, finals_of(session))
        except KeyboardInterrupt:
            remark = "The study was interrupted; repeat the command to resume it."
            best = _written(session, {"remarks": [remark]}).content["best_so_far"]
            found = f"{best[-1][1]:.2%} on validation (trial {best[-1][0]})" if best else "none yet"
            notify("study", {"line": f"best so far: {found}; {session.directory}"})
            raise


def plan(
    data: Any, *, space: str | Path | Mapping[str, Any] | None = None, progress: bool = True, **options: Any
) -> list[dict[str, Any]]:
    """Return trainings, epochs and estimated seconds of a study's trials and finalists; options as of `tune`."""
    with shown((), progress) as notify, _session(data, space, None, notify, options) as session:
        return session.plan()


@contextmanager
def _session(
    data: Any,
    space: str | Path | Mapping[str, Any] | None,
    class_names: Sequence[str] | None,
    notify: Notify,
    options: Mapping[str, Any],
) -> Iterator[Session]:
    """Yield the session of a study, with the data read; its processes end with the block."""
    (chosen, reading), changes = split_options("tune", options, TuneOptions, DataOptions)
    engines.check_installed(chosen.engine)
    if find_spec("optuna") is None:
        raise UsageError("Tuning needs Optuna, which is not installed. Install it with: pip install 'diptych[tune]'")
    recipe, asked = chosen.recipe_with(changes), {"class_names": class_names, "progress": data_progress(notify)}
    source = source_of(data, reading, chosen.spec, recipe, chosen.seed, **asked)
    with ExitStack() as stack:
        stack.enter_context(_silent_optuna())
        from diptych.training.provenance import chosen_for_data
        from diptych.tuning import space as spaces
        from diptych.tuning.process import WarmProcess
        from diptych.tuning.session import Session
        from diptych.tuning.study import Settings

        given = None if space is None else spaces.read_space(space)  # before minutes of reading data
        threads = max(1, (chosen.threads or num_threads()) // chosen.workers)
        first = WarmProcess(chosen.engine, threads, Event(), chosen.log)
        stack.callback(first.close)
        first.start()  # imports its framework meanwhile
        undivided = source.read(data_progress(notify))
        dataset = undivided.divide(source.seed, source.validation_fraction, source.test_fraction)
        asked, recipe = recipe, recipe.for_data(dataset.image_shape, dataset.mirror, len(dataset.train))
        notify("dataset", {"lines": (*dataset.lines, *chosen_for_data(asked, recipe))})
        if not len(dataset.validation):
            raise UsageError(f"'{dataset.name}' has no validation split to tune on: raise validation_fraction.")
        mean, std = channel_statistics(dataset.train.images)
        named = str(chosen.model), dataset.image_shape, dataset.num_classes, mean, std
        spec = chosen.spec or zoo.model(*named)
        base = spaces.Base(recipe, spec, len(dataset.train), chosen.spec is None and chosen.model == "cnn")
        limits = chosen.max_params, chosen.max_flops
        settings = Settings(source, base, spaces.space_for(base, given), chosen.engine, chosen.seed, *limits)
        session = Session(chosen, settings, undivided, dataset, first, notify)
        stack.callback(session.close)
        yield session


@contextmanager
def _silent_optuna() -> Iterator[None]:
    """Hide what Optuna logs, and its warnings of features that may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module="optuna")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _written(session: Session, finals: Mapping[str, Any]) -> Tuned:
    """Write study.json, its page and table, and the recipe and the model that were found."""
    from diptych.reports import study as page
    from diptych.tuning.findings import setup_of, summarize

    content, directory = summarize(session, command_line(), finals), session.directory
    recipe, spec = setup_of(session.study, content["chosen"])
    write_json(directory / "recipe.json", recipe_to_json(recipe))
    write_json(directory / "spec.json", model_to_json(spec))
    write_json(directory / "study.json", content)
    page.write(directory, content)
    return Tuned(directory, content, session.study.optuna, recipe, spec)
