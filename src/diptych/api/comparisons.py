"""Comparisons: paired runs of both frameworks, or any finished runs, and the report that tells what they show."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych import engines
from diptych.api.experiments import OnStep, certificate_of, export_all, run_all, sides_of
from diptych.api.models import spec_from_file
from diptych.api.trainings import changed, check_counts
from diptych.artifacts.run import Run
from diptych.artifacts.store import atomic_write, json_text, write_json
from diptych.comparison import gallery, sides
from diptych.comparison.experiment import Arm, Experiment
from diptych.comparison.explained import accuracies, explained
from diptych.comparison.explained import told as in_words
from diptych.comparison.findings import findings
from diptych.comparison.sides import TITLES, Answered
from diptych.data import sources
from diptych.data.cache import Caching
from diptych.data.datasets import BadImages
from diptych.data.images import Images
from diptych.data.prefetch import num_threads
from diptych.errors import DiptychError, UsageError
from diptych.spec import ModelSpec, Recipe
from diptych.training import job
from diptych.training.fit import Notify
from diptych.training.job import Source


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its folder, and all that it found, as `comparison.json` has it."""

    directory: Path
    found: Mapping[str, Any]

    @property
    def report_path(self) -> Path:
        """`report.html`: one file that opens from disk."""
        return self.directory / "report.html"

    @property
    def json_path(self) -> Path:
        """`comparison.json`."""
        return self.directory / "comparison.json"

    @property
    def markdown_path(self) -> Path:
        """`comparison.md`."""
        return self.directory / "comparison.md"


def compare(
    data: str | Path,
    *,
    margin: float = 0.5,
    thorough: bool = True,
    notify: Notify | None = None,
    on_step: OnStep = lambda words: None,
    **settings: Any,
) -> Comparison:
    """Train pairs of runs in both frameworks and report how they compare; goes on where an earlier call was stopped.

    Args:
        data: a dataset's name, a folder of class folders, a CSV or Parquet file, or a zip or tar of these.
        margin: the difference in accuracy, in points, that would not matter.
        thorough: measure speed and memory, climb the parity ladder and export; without, accuracy alone.
        notify: told of every `start`, `step` and `epoch`; a live display shows them when not given.
        on_step: told in words what begins.
        settings: as `design` takes them: seeds, arms, explain, model, recipe, seed, out and so on.

    Raises:
        DiptychError: bad arguments or data, a missing framework, or a training that failed.
    """
    return conduct(design(data, **settings), margin=margin, thorough=thorough, notify=notify, on_step=on_step)


def design(
    data: str | Path,
    *,
    seeds: int = 3,
    arms: Arm = "aligned",
    explain: bool = False,
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
    **changes: Any,
) -> Experiment:
    """The runs that a comparison wants; its `plan()` says what is there already and how long the rest takes.

    Args:
        data: a dataset's name, a folder of class folders, a CSV or Parquet file, or a zip or tar of these.
        seeds: how many pairs; those of one seed share initial weights, order and augmentation.
        arms: aligned, the same mathematics in both, or native, each framework's own defaults.
        explain: also switch one default at a time from aligned to native.
        model: a name of the zoo, a `spec.json`, or a spec.
        recipe: a recipe's name, a `recipe.json`, or a recipe.
        seed: the first one.
        out: folder of all runs; the comparison gets a folder of its own among them.
        data_dir: where named datasets are kept.
        image_size: (height, width) to bring images to.
        channels: 3 for RGB, 1 for grey.
        root: what the paths in a table are relative to; the table's own folder when not given.
        pixel_shape: (height, width, channels) of a CSV's pixels; inferred when not given.
        bad_images: whether image files that cannot be decoded are an error, or left out.
        cache: whether decoded image files are kept for next time: those that take little, all, or none.
        threads: processor threads; every core when not given.
        changes: fields of the recipe, by name.

    Raises:
        DiptychError: bad arguments or data, or a missing framework.
    """
    for name in engines.NAMES:
        engines.check_installed(name)
    check_counts(seeds=seeds, threads=threads, image_size=min(image_size) if image_size else None)
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
    return Experiment(
        source=source,
        model=spec or str(model),
        recipe=settled,
        seeds=tuple(range(seed, seed + seeds)),
        arm=arms,
        explains=explain,
        threads=threads or num_threads(),
        pool=Path(out),
    )


def conduct(
    experiment: Experiment,
    *,
    margin: float = 0.5,
    thorough: bool = True,
    notify: Notify | None = None,
    on_step: OnStep = lambda words: None,
) -> Comparison:
    """Run what a design still lacks, and report; arguments as of `compare`."""
    check_margin(margin)
    run_all(experiment, thorough, notify, on_step)
    directory = experiment.pool / experiment.name
    if thorough:
        export_all(experiment, on_step)
    on_step("comparing")
    by_arm = {arm: sides_of(experiment, arm) for arm in experiment.arms}
    data = experiment.data(experiment.seeds[0])
    why = explained(accuracies(by_arm), experiment.setup, 1 / len(data.test)) if experiment.explains else None
    found = findings(
        by_arm[experiment.arm],
        kind=experiment.arm,
        title=f"{data.name}, {experiment.spec.name}: {' and '.join(TITLES.values())}",
        command=_command(),
        margin=margin / 100,
        explained=why,
        parity=certificate_of(experiment, directory, on_step) if thorough else None,
        remarks=() if thorough else ("Speed, memory, parity and exports were left out: accuracy alone was asked for.",),
    )
    if why:
        found["verdict"]["details"].append(in_words(why))
    return _written(directory, found, data.test.images)


def compare_runs(runs: Sequence[str | Path | Run], *, margin: float = 0.5, out: str | Path | None = None) -> Comparison:
    """Report how finished runs compare, whoever made them and wherever; needs neither framework.

    Args:
        runs: runs over the same test set; those that differ in their seed alone stand together.
        margin: the difference in accuracy, in points, that would not matter.
        out: folder for the report; `compare-…` beside the first run when not given.

    Raises:
        UsageError: fewer than two kinds of runs, unequal numbers of them, or other test sets.
    """
    check_margin(margin)
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    found_sides = sides.grouped(opened)
    names = [side.name for side in found_sides]
    first = found_sides[0].first
    images, remarks = _pictures(first)
    if not sides.paired(found_sides):
        remarks.append("The runs do not share their seeds: they are paired in the order of their seeds.")
    found = findings(
        found_sides,
        kind="runs",
        title=f"{first.record['data']['name']}: {', '.join(names[:-1])} and {names[-1]}",
        command=_command(),
        margin=margin / 100,
        remarks=remarks,
    )
    folders = [side.first.run.directory.resolve() for side in found_sides]
    directory = Path(out) if out else folders[0].parent / f"compare-{'-and-'.join(path.name for path in folders)}"
    return _written(directory, found, images)


def check_margin(margin: float) -> None:
    """Refuse a margin that is no difference in points.

    Raises:
        UsageError: says what is wanted.
    """
    if not 0 < margin < 100:
        raise UsageError(f"'margin' wants points of accuracy above 0 and below 100, got {margin}.")


def _pictures(answer: Answered) -> tuple[Images | None, list[str]]:
    """The test images of a run that may have been made elsewhere, or why they cannot be shown; fetches nothing."""
    directory = answer.record["data"].get("data_dir")
    if not sources.at_hand(answer.record["data"]["data"], Path(directory) if directory else None):
        return None, ["The gallery has no pictures, as the data are not at hand."]
    try:
        images = job.load_data(answer.record).test.images
    except DiptychError as error:
        return None, [f"The gallery has no pictures: {error}"]
    if len(images) != len(answer.labels_n):
        return None, ["The gallery has no pictures, as the data are not those of the runs."]
    return images, []


def _written(directory: Path, found: dict[str, Any], images_nhwc: Images | None) -> Comparison:
    """The report, the same numbers as JSON and as Markdown."""
    from diptych.reports import page, tables

    comparison = Comparison(directory, found)
    ids = gallery.ids(found["gallery"]) if images_nhwc is not None else []
    pictures = {} if images_nhwc is None else {place: images_nhwc[place] for place in ids}
    plain = json.loads(json_text(found))
    texts = {comparison.markdown_path: tables.markdown(plain), comparison.report_path: page.render(plain, pictures)}
    write_json(comparison.json_path, found)
    for path, text in texts.items():
        with atomic_write(path) as file:
            file.write(text.encode())
    return comparison


def _command() -> str:
    """What was typed, as far as it can be known."""
    program = Path(sys.argv[0]).name
    return shlex.join(["diptych" if program == "__main__.py" else program, *sys.argv[1:]])
