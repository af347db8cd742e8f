"""A run from its record to its end: what `run.json` asks for is loaded, trained, evaluated and written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec.structs import replace as change

from diptych import engines
from diptych.artifacts.events import EventLog, rewind
from diptych.artifacts.record import EngineStart, Forced, RunRecord
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import leftovers, remove_files, write_arrays
from diptych.data.datasets import Dataset
from diptych.engines.contract import NO_STEPS, Arrays, Engine
from diptych.errors import ArtifactError, DiptychError, in_one_line
from diptych.evaluation.metrics import evaluate_logits
from diptych.options import Device
from diptych.spec.codec import recipe_to_json
from diptych.training import checkpoint, divergence, job, origin
from diptych.training.checkpoint import Checkpoint
from diptych.training.divergence import Diverged
from diptych.training.fit import Notify, fit
from diptych.training.learner import Job, Learner, check_fit, evaluation_precision, resolve
from diptych.training.saving import Saver
from diptych.training.stopping import Stopped, Stopping


@dataclass(frozen=True)
class Settings:
    """How a run is gone on with: of these, only another engine or other threads change a bit of it.

    Attributes:
        engine: torch or tensorflow.
        threads: processor threads to compute with.
        workers: threads that prepare batches; see `epoch_batches`.
        stop_after: stop when this many epochs are done, to be resumed later.
        force: go on even where the training would follow from other things than it began with.
        device: auto, cpu or cuda.
        replays: repeat the step at which the run diverged, and no more.
    """

    engine: str
    threads: int
    workers: int | None = None
    stop_after: int | None = None
    force: bool = False
    device: Device = "auto"
    replays: bool = False


def execute(run: Run, settings: Settings, notify: Notify, stopping: Stopping) -> None:
    """Train a created or interrupted run and, when it is done, evaluate it on the test split.

    Raises:
        DiptychError: the engine, the data or the state does not fit; the run stays resumable.
        Stopped: that was asked for; the state is saved.
    """
    record = run.read_record()
    dataset = job.source_of(record).load()
    engine = engines.get(settings.engine)
    engine.configure(settings.threads, settings.device)
    runtime = engine.runtime()
    recipe = resolve(record.recipe, dataset, runtime["device"])
    asked = Job(record.spec, recipe, dataset, record.seed, settings.workers)
    now = origin.origin(dataset, asked.spec, recipe, runtime, asked.seed)
    told: list[tuple[str, dict[str, Any]]] = []
    found = checkpoint.load(run, lambda *event: told.append(event)) if checkpoint.exists(run) else None
    changes = origin.differences(_then(record, found, now), now)
    if lost := checkpoint.lost(run):
        changes.append(lost)
    if settings.force and record.status == "diverged":
        changes.append("it has diverged")
    if changes:
        _check_forced(run, asked, changes, settings.force)
        told.append(("forced", {"differences": changes}))
        found = found and _anew(found, now)
        record = _described(dataset, record, changes)
    rewind(run.events_path, found.epochs if found else ())
    with EventLog(run.events_path) as events:

        def tell(kind: str, fields: dict[str, Any]) -> None:
            events.write(kind, fields)
            notify(kind, fields)

        for kind, fields in told:
            tell(kind, fields)
        learner = Learner(engine, asked, found)
        start = {"engine": settings.engine, "after_epoch": learner.epoch - 1, "after_step": learner.totals.steps}
        starts = (*record.engines, msgspec.convert({**start, **runtime}, EngineStart))
        record = change(
            record, recipe_json=recipe_to_json(recipe), status="running", engines=starts, failure=msgspec.UNSET
        )
        run.unseal()
        run.write_record(record)
        if found:
            tell("resume", start)
        saver = Saver(run, record.checkpoints.steps, record.checkpoints.keep, found)
        with _ending(run, record, tell):
            remove_files([divergence.path_of(run), *leftovers(run.directory)])
            weights = fit(
                learner, saver, run, events, notify, origin=now, stopping=stopping, stop_after=settings.stop_after
            )
            if settings.stop_after is not None and settings.stop_after <= learner.epoch - 1 < recipe.epochs:
                run.write_record(change(record, status="stopped"))
                return
            _evaluate(run, engine, asked, weights)
            run.write_record(change(record, status="finished", finished=time.time()))


@contextmanager
def _ending(run: Run, record: RunRecord, tell: Notify) -> Iterator[None]:
    """Has a run's record say how its training ended, where it did not end well."""
    try:
        yield
    except Diverged as error:
        tell("diverged", {"message": str(error)})
        run.write_record(change(record, status="diverged"))
        raise
    except Stopped:
        run.write_record(change(record, status="stopped"))
        raise
    except Exception as error:
        with suppress(DiptychError):  # the disk may be full
            why = str(error) if isinstance(error, DiptychError) else in_one_line(error)
            failure = why.encode(errors="replace").decode()
            run.write_record(change(record, status="failed", failure=failure))
        raise


def _then(record: RunRecord, found: Checkpoint | None, now: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the training followed from when it was saved last, or else when the run was made."""
    made = {"fingerprint": record.data.fingerprint, "class_names": list(record.class_names)}
    return found.origin if found else {**now, **made}


def _check_forced(run: Run, asked: Job, changes: list[str], force: bool) -> None:
    if not force:
        raise ArtifactError(
            f"Cannot resume '{run.directory}': {'; '.join(changes)}. "
            "Bring back what it was, remove the run to train it anew, or go on all the same with "
            f"`diptych train --resume {run.directory} --force`."
        )
    check_fit(asked.spec, asked.dataset)


def _anew(found: Checkpoint, now: Mapping[str, Any]) -> Checkpoint:
    """A state that can be gone on from with other data: where batches are others, the epoch under way begins anew."""
    if origin.keeps_batches(found.origin, now):
        return found
    return replace(found, position=0, totals=NO_STEPS, seconds=0.0)


def _described(dataset: Dataset, record: RunRecord, changes: list[str]) -> RunRecord:
    """Return the record of a run that is resumed with --force."""
    forced = (*(record.forced or ()), Forced(time.time(), tuple(changes)))
    return change(record, **job.described(dataset, vars(job.source_of(record))), forced=forced)


def _evaluate(run: Run, engine: Engine, asked: Job, weights: Arrays) -> None:
    test = asked.dataset.test
    precision = evaluation_precision(asked.recipe)
    logits_nk = job.predict_logits(engine, asked.spec, weights, test.images, precision)
    run.write_metrics(evaluate_logits(logits_nk, test.labels, asked.dataset.class_names))
    run.write_predictions(Predictions(logits_nk, test.labels, test.ids))
    metadata = {"format": "pt", "model": asked.spec.name, "classes": "\n".join(asked.dataset.class_names)}
    write_arrays(run.model_path, weights, metadata)
