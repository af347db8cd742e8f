"""Write a model and its training as native code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from diptych.api.training import data_progress, shown, source_of
from diptych.artifacts.locks import settle, staging
from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Run, is_run
from diptych.artifacts.store import write_parts
from diptych.data import sources
from diptych.data.preprocess import channel_statistics
from diptych.errors import DataError, SpecError, UsageError
from diptych.files import expanded
from diptych.native import data
from diptych.native.options import CodeOptions
from diptych.native.projects import Project, project
from diptych.options import (
    DataOptions,
    EngineName,
    SourceOptions,
    accepts,
    find_recipe,
    spec_from_file,
    split_options,
)
from diptych.spec import ModelSpec, Recipe, zoo


@accepts(CodeOptions, DataOptions)
def code(model: str | Path | ModelSpec | Run, *, progress: bool = True, **options: Any) -> tuple[Project, ...]:
    """Write a model and its training as a project of PyTorch, of Keras, or of both, which does without diptych.

    Args:
        model: a run, a model name, `spec.json`, or spec.
        progress: show progress while data are read.
        options: fields of `CodeOptions`, `DataOptions` and `Recipe`; the recipe's change that of a run.

    Returns:
        The projects that were written, with their folders; torch first.

    Raises:
        SpecError: there is no such model or recipe, or it does not fit the data.
        ArtifactError: the run cannot be read.
        UsageError: a file exists, there is no such data, or an option does not apply.
    """
    (chosen, reading), changes = split_options("code", options, CodeOptions, DataOptions)
    run = model if isinstance(model, Run) else None
    if isinstance(model, str | Path) and (path := Path(model)).suffix != ".json" and (path.parts[1:] or is_run(path)):
        run = Run.open(path)
    record = run.read_record() if run else None
    recipe = find_recipe(chosen.recipe) if isinstance(chosen.recipe, str | Path) else chosen.recipe
    recipe = replace(recipe or (record.recipe if record else Recipe()), **changes)
    if record:
        spec, known = _of_run(record, chosen, reading)
    else:
        spec, known = _of_model(model, chosen, reading, recipe, progress)  # type: ignore[arg-type]
    flip = recipe.flip if known.mirror is None else None
    num_train = record.split_sizes.train if record and not chosen.data else data.num_train(known, recipe)
    recipe = recipe.for_data(spec.input_shape, bool(known.mirror), num_train)
    recipe = replace(recipe, flip=flip or recipe.flip)
    names: tuple[EngineName, ...] = ("torch", "tensorflow") if chosen.to == "both" else (chosen.to,)
    out = expanded(chosen.out)
    write = _notebook_writer() if chosen.notebook else project
    written = [
        replace(write(spec, recipe, name, known), folder=out / name if len(names) > 1 else out) for name in names
    ]
    _write(written, out, chosen.force)
    return tuple(written)


def _notebook_writer() -> Callable[..., Project]:
    try:
        from diptych.native.notebooks import notebook
    except ImportError as error:
        needs = f"Notebooks need {error.name}, which is not installed."
        raise UsageError(f"{needs} Install it with: pip install 'diptych[notebooks]'") from error
    return notebook


def _write(projects: Sequence[Project], out: Path, force: bool) -> None:
    """Write all files beside their places, then rename them; raise UsageError if one exists."""
    texts = {one.folder / name: text for one in projects for name, text in one.files.items()}
    existing = [path for path in texts if path.exists()]
    if existing and not force:
        raise UsageError(f"'{existing[0]}' already exists; use --force to replace it, or --out for another folder.")
    with staging(out) as folder:
        for place, text in enumerate(texts.values()):
            write_parts(folder / str(place), text.encode())
        for place, path in enumerate(texts):
            settle(folder / str(place), path)


def _of_run(record: RunRecord, chosen: CodeOptions, reading: DataOptions) -> tuple[ModelSpec, data.Reading]:
    """Return the model of a run, and how to read its data, or others."""
    names = [one.name for one in fields(SourceOptions)]
    settings = reading if chosen.data else DataOptions(**{name: getattr(record.data, name) for name in names})
    try:
        known = _reading(str(chosen.data or record.data.data), record.spec, settings)
    except (DataError, UsageError) as error:
        if chosen.data:
            raise
        known = data.default(record.spec, record.class_names, f"the run's data cannot be read ({error})")
    return record.spec, replace(known, test_fraction=record.data.test_fraction)


def _of_model(
    model: str | Path | ModelSpec, chosen: CodeOptions, reading: DataOptions, recipe: Recipe, progress: bool
) -> tuple[ModelSpec, data.Reading]:
    """Return a model, for the images and classes of the data if it is built in, and how to read the data."""
    spec = model if isinstance(model, ModelSpec) else spec_from_file(model)
    if chosen.data is None:
        spec = spec or zoo.model(str(model), chosen.input_shape, chosen.num_classes)
        return spec, data.default(spec)
    if spec is None:
        with shown((), progress) as notify:
            dataset = source_of(str(chosen.data), reading, None, recipe, 0).load(data_progress(notify))
        shape, num_classes = dataset.image_shape, dataset.num_classes
        spec = zoo.model(str(model), shape, num_classes, *channel_statistics(dataset.train.images))
    return spec, _reading(str(chosen.data), spec, reading)


def _reading(name: str, spec: ModelSpec, options: DataOptions) -> data.Reading:
    name = sources.absolute(name)  # the code runs in its own folder
    location = {one.name: getattr(options, one.name) for one in fields(SourceOptions)}
    source = sources.find(name, **location)
    if len(source.listing.class_names) != spec.num_classes:
        found = f"'{source.name}' has {len(source.listing.class_names)} classes"
        raise SpecError(f"Model '{spec.name}' has {spec.num_classes} outputs; {found}. Change the last layer's units.")
    return data.reading_of(name, source, spec, SourceOptions(**location), options.test_fraction)
