"""Compare both frameworks on one dataset, or any finished runs, and write a report."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diptych import engines
from diptych.api.training import Callbacks, complete, shown, source_of
from diptych.artifacts.run import Run
from diptych.artifacts.store import atomic_write, json_text, read_json, write_json
from diptych.comparison import parity
from diptych.comparison.costs import measure
from diptych.comparison.defaults import accuracies, explain, summarize
from diptych.comparison.experiment import Cell, Experiment, is_complete
from diptych.comparison.findings import findings
from diptych.comparison.parity.certificate import VERSION, Certificate, write
from diptych.comparison.runs import TITLES, Arm, FinishedRun, group, shared_seeds
from diptych.data import sources
from diptych.data.images import Images
from diptych.deployment.export import TrainedModel
from diptych.deployment.export import export as ship
from diptych.deployment.formats import FORMATS
from diptych.deployment.options import ExportOptions
from diptych.errors import DiptychError, UsageError
from diptych.options import CompareOptions, DataOptions, accepts, split_options
from diptych.processes import Notify
from diptych.spec.codec import recipe_to_json
from diptych.training import provenance
from diptych.training.process import Settings

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison; `content` is that of `comparison.json`."""

    directory: Path
    content: Mapping[str, Any]

    @property
    def report_path(self) -> Path:
        """`report.html`, a self-contained page."""
        return self.directory / "report.html"


@accepts(CompareOptions, DataOptions)
def compare(
    data: Any,
    *,
    class_names: Sequence[str] | None = None,
    margin: float = 0.5,
    thorough: bool = True,
    callbacks: Callbacks = (),
    progress: bool = True,
    on_step: OnStep = lambda words: None,
    **options: Any,
) -> Comparison:
    """Train pairs of runs in both frameworks and report how they compare; resumes where an earlier call stopped.

    Args:
        data: dataset name, folder of class folders, CSV or Parquet file, a zip or tar of these, or a Python object, as
            for `train`.
        class_names: as for `train`.
        margin: difference in accuracy, in percentage points, that does not matter.
        thorough: also measure speed, memory and why the runs of a seed disagree, prove parity, and export.
        callbacks: as for `train`, but they cannot end a training.
        progress: show progress.
        on_step: called with a description of each step before it starts.
        options: fields of `CompareOptions`, `DataOptions` and `Recipe`.

    Raises:
        DiptychError: bad options or data, a missing framework, or a training failed.
    """
    check_margin(margin)
    experiment = design(data, class_names, **options)
    with shown(callbacks, progress, experiment.options.log) as notify:
        train = partial(_run_all, experiment, thorough, notify, on_step)
        runs = train(experiment.cells)
        yardsticks = experiment.yardsticks() if thorough else ()
        runs |= train(yardsticks)
    directory = Path(experiment.options.out) / experiment.name
    if thorough:
        for side in _arms(experiment, runs, experiment.arms[0]):
            _export(side.first, experiment.threads, on_step)
    on_step("comparing")
    by_arm = {arm: _arms(experiment, runs, arm) for arm in experiment.arms}
    dataset = experiment.data(experiment.seeds[0])
    setup, resolution = (experiment.spec, experiment.recipe), 1 / len(dataset.test)
    explained = explain(accuracies(by_arm), setup, resolution) if experiment.options.explain else None
    content = findings(
        by_arm[experiment.arms[0]],
        kind=experiment.arms[0],
        title=f"{dataset.name}, {experiment.spec.name}: {' and '.join(TITLES.values())}",
        command=command_line(),
        margin=margin / 100,
        explained=explained,
        parity=_certificate(experiment, directory, on_step) if thorough else None,
        yardsticks={cell.arm: FinishedRun.of(runs[experiment.digest(cell)]) for cell in yardsticks},
        remarks=() if thorough else ("Speed, memory, parity and exports were skipped (--no-thorough).",),
    )
    if explained:
        content["verdict"]["details"].append(summarize(explained))
    return _written(directory, content, dataset.test.images)


def design(data: Any, class_names: Sequence[str] | None = None, **options: Any) -> Experiment:
    """The runs of a comparison; options as of `compare`. Raises DiptychError for bad ones or a missing framework."""
    for name in engines.NAMES:
        engines.check_installed(name)
    (chosen, reading), changes = split_options("compare", options, CompareOptions, DataOptions)
    recipe = chosen.recipe_with(changes)
    source = source_of(data, reading, chosen.spec, recipe, chosen.seed, class_names=class_names)
    return Experiment(source, recipe, chosen)


def compare_runs(
    runs: Sequence[str | Path | Run],
    *,
    margin: float = 0.5,
    out: str | Path | None = None,
    parity: Certificate | None = None,
    verify_files: bool = False,
) -> Comparison:
    """Report how finished runs compare; needs neither framework.

    Args:
        runs: runs with the same test set; runs that differ only in their seed form a group.
        margin: difference in accuracy, in percentage points, that does not matter.
        out: folder for the report (default: `compare-…` beside the first run).
        parity: the certificate of their model, from `verify`, to include in the report.
        verify_files: also verify files of more than 64 MB against the manifest; smaller files are always verified.

    Raises:
        ArtifactError: a file of a run has changed since its training.
        UsageError: fewer than two groups of runs, groups of unequal size, or different test sets.
    """
    check_margin(margin)
    arms = group([Run.open(run) for run in runs], verify_files)
    names = [arm.name for arm in arms]
    first = arms[0].first
    images, remarks = _pictures(first)
    if not shared_seeds(arms):
        remarks.append("The runs have different seeds and are paired in order of their seeds.")
    content = findings(
        arms,
        kind="runs",
        title=f"{first.record.data.name}: {', '.join(names[:-1])} and {names[-1]}",
        command=command_line(),
        margin=margin / 100,
        parity=parity.to_json() if parity else None,
        remarks=remarks,
    )
    folders = [arm.first.run.directory.resolve() for arm in arms]
    beside = folders[0].parent if first.run.directory.is_absolute() else Path(os.path.relpath(folders[0].parent))
    directory = Path(out) if out else beside / f"compare-{'-and-'.join(path.name for path in folders)}"
    return _written(directory, content, images)


def check_margin(margin: float) -> None:
    """Raise UsageError for a margin that is no difference in percentage points."""
    if not 0 < margin < 100:
        raise UsageError(f"'margin' must be between 0 and 100 percentage points, got {margin}.")


def _run_all(
    experiment: Experiment, thorough: bool, notify: Notify, on_step: OnStep, cells: Sequence[Cell]
) -> dict[str, Run]:
    """Train the missing runs in order and measure the reported ones; return all runs by their cell's digest."""
    runs = {}

    def tell(kind: str, fields: dict[str, Any]) -> None:
        if notify(kind, {**fields, "group": experiment.name} if kind == "start" else fields):
            raise UsageError("A callback cannot end a training of a comparison, whose runs take equally many steps.")

    for place, cell in enumerate(cells, start=1):
        run = experiment.find(cell)
        label = f"{place}/{len(cells)} {cell.arm} {cell.engine} seed {cell.seed}"
        if run is None or not is_complete(run):
            on_step(f"training {label}")
            run = run or experiment.create(cell)
            complete(run, Settings(cell.engine, cell.threads), partial(experiment.data, cell.seed), tell)
        if thorough and cell.arm == experiment.arms[0] and not run.cost_path.exists():
            on_step(f"measuring {label}")
            measure(run, experiment.threads)
            run.seal()
        runs[experiment.digest(cell)] = run
    return runs


def _export(run: FinishedRun, threads: int, on_step: OnStep) -> None:
    """Export a run in every format that its framework can write and has not yet, and verify each file."""
    engine, known = run.record.last_engine, run.shipped
    forms = [f for f in FORMATS.values() if f.name not in known and (not f.writers or engine in f.writers)]
    if forms:
        trained, options = TrainedModel.of(run.run), ExportOptions(writer=engine, threads=threads)
        step = f"exporting from {TITLES[engine]}: "
        ship(trained, forms, run.run.export_dir, options, on_format=lambda form: on_step(step + form))


def _arms(experiment: Experiment, runs: Mapping[str, Run], arm: str) -> list[Arm]:
    """Return the finished runs of an arm of the experiment, grouped by framework."""
    arms = []
    for engine, title in TITLES.items():
        digests = [experiment.digest(experiment.cell(arm, seed, engine)) for seed in experiment.seeds]
        arms.append(Arm(title, tuple(FinishedRun.of(runs[digest]) for digest in digests)))
    return arms


def _certificate(experiment: Experiment, directory: Path, on_step: OnStep) -> dict[str, Any]:
    """Return the aligned model's parity certificate, reused from an earlier comparison of the same model and recipe."""
    path = directory / "parity.json"
    known = read_json(path) if path.exists() else {}
    ours = (VERSION, parity.digest_of(experiment.spec), recipe_to_json(experiment.recipe))
    if ours == tuple(known.get(name) for name in ("version", "spec_digest", "recipe")):
        return known
    on_step("proving parity")
    seed = experiment.seeds[0]
    proven = parity.verify(experiment.spec, recipe=experiment.recipe, dataset=experiment.data(seed), seed=seed)
    write(proven, directory)
    return read_json(path)


def _pictures(run: FinishedRun) -> tuple[Images | None, list[str]]:
    """The test images of a run, or a remark why they are not available; downloads nothing."""
    directory = run.record.data.data_dir
    try:
        if not sources.at_hand(run.record.data.data, Path(directory) if directory else None):
            raise UsageError("the data is not on this machine.")
        images = provenance.load_data(run.record).test.images
        if len(images) != len(run.labels_n):
            raise UsageError("the data is not that of the runs.")
    except DiptychError as error:
        return None, [f"The gallery shows no images: {error}"]
    return images, []


def _written(directory: Path, content: dict[str, Any], images_nhwc: Images | None) -> Comparison:
    """Write the report, as HTML, JSON and Markdown."""
    from diptych.reports import page

    cases = [*content["gallery"]["disagreements"], *content["gallery"]["shared_mistakes"]]
    pictures = {} if images_nhwc is None else {case["id"]: images_nhwc[case["id"]] for case in cases}
    plain = json.loads(json_text(content))
    texts = {"comparison.md": page.markdown(plain), "report.html": page.render(plain, pictures)}
    write_json(directory / "comparison.json", content)
    for name, text in texts.items():
        with atomic_write(directory / name) as file:
            file.write(text.encode())
    return Comparison(directory, content)


def command_line() -> str:
    """The command line of this process; a notebook has none of its own."""
    program = Path(sys.argv[0]).name
    if program.startswith("ipykernel"):
        return "# run in a notebook"
    return shlex.join(["diptych" if program == "__main__.py" else program, *sys.argv[1:]])
