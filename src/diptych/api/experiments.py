"""Complete an experiment: train, measure, export and prove whatever is not done yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diptych import engines
from diptych.api.training import complete, shown
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_json
from diptych.comparison import parity
from diptych.comparison.costs import measure
from diptych.comparison.experiment import Cell, Experiment, is_complete
from diptych.comparison.parity.certificate import VERSION
from diptych.comparison.runs import TITLES, Arm, FinishedRun
from diptych.deployment.export import TrainedModel
from diptych.deployment.export import export as ship
from diptych.deployment.formats import FORMATS
from diptych.processes import Notify
from diptych.training.process import Settings

OnStep = Callable[[str], None]


def run_all(experiment: Experiment, thorough: bool, notify: Notify | None, on_step: OnStep) -> None:
    """Train the missing runs in order; measure the reported runs right after their training."""
    cells = experiment.cells
    with shown(notify) as tell:
        for place, cell in enumerate(cells, start=1):
            run = experiment.find(cell)
            if run:
                experiment.check(run, cell)
            label = f"{place}/{len(cells)} {cell.arm} {cell.engine} seed {cell.seed}"
            if run is None or not is_complete(run):
                on_step(f"training {label}")
                run = run or experiment.create(cell)
                complete(run, Settings(cell.engine, experiment.threads), partial(experiment.data, cell.seed), tell)
            if thorough and experiment.is_reported(cell) and not run.cost_path.exists():
                on_step(f"measuring {label}")
                measure(run, experiment.threads)
                run.seal()


def export_all(experiment: Experiment, on_step: OnStep) -> None:
    """Export the first run of each framework in every format it can write, and verify each file."""
    for engine in engines.NAMES:
        run = _run(experiment, experiment.cell(experiment.arm, experiment.seeds[0], engine))
        written = FinishedRun.of(run).shipped
        forms = [
            form
            for form in FORMATS.values()
            if form.name not in written and (not form.writers or engine in form.writers)
        ]
        if not forms:
            continue
        ship(
            TrainedModel.of(run),
            forms,
            run.export_dir,
            writer=engine,
            threads=experiment.threads,
            on_format=partial(_tell_format, on_step, engine),
        )


def _tell_format(on_step: OnStep, engine: str, form: str) -> None:
    on_step(f"exporting from {TITLES[engine]}: {form}")


def _run(experiment: Experiment, cell: Cell) -> Run:
    run = experiment.find(cell)
    assert run is not None, "every cell has been run"
    return run


def arms_of(experiment: Experiment, arm: str) -> list[Arm]:
    """Return the finished runs of an arm of the experiment, grouped by framework."""
    return [
        Arm(
            TITLES[engine],
            tuple(FinishedRun.of(_run(experiment, experiment.cell(arm, seed, engine))) for seed in experiment.seeds),
        )
        for engine in engines.NAMES
    ]


def certificate_of(experiment: Experiment, directory: Path, on_step: OnStep) -> dict[str, Any]:
    """Return the aligned model's parity certificate, reused from an earlier comparison of the same model and recipe."""
    path = directory / "parity.json"
    known = read_json(path) if path.exists() else {}
    rule = experiment.recipe.optimizer
    current = (known.get("version"), known.get("spec_digest")) == (VERSION, parity.digest_of(experiment.spec))
    if not current or rule not in known.get("recipes", {}):
        on_step("proving parity")
        proven = parity.verify(experiment.spec, optimizers=(rule,), precisions=("float64",), digits_epochs=1)
        parity.write(proven, directory)
        known = read_json(path)
    return known
