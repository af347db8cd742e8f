"""Train a run in a process of its own, from its record to its metrics."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec.structs import replace as change

from diptych import engines
from diptych.artifacts.events import append_event, count_events, rewind
from diptych.artifacts.record import EngineStart, Forced, RunRecord
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import leftovers, refusal, remove_files, write_arrays, write_json
from diptych.data.datasets import Dataset
from diptych.engines.contract import NO_STEPS
from diptych.errors import ArtifactError, DiptychError, EngineError, in_one_line
from diptych.evaluation import evaluate_logits
from diptych.options import Device
from diptych.processes import Notify, ProcessFailed, Worker
from diptych.spec.codec import recipe_to_json
from diptych.training import checkpoint, provenance
from diptych.training.checkpoint import Checkpoint
from diptych.training.schedule import Saver, Stopped, Stopping
from diptych.training.trainer import Diverged, Job, Trainer


@dataclass(frozen=True)
class Settings:
    """How a run is trained, see `api.training.resume`; only engine, device and number of threads affect its results."""

    engine: str
    threads: int
    workers: int | None = None
    stop_after: int | None = None
    force: bool = False
    device: Device = "auto"


def train_in_process(
    process: Worker, run: Run, settings: Settings, dataset: Dataset, notify: Notify, pass_fds: Sequence[int] = ()
) -> None:
    """Train a run in a process, which holds `pass_fds` until it ends; raises as the training, or if its process died.

    When this process is interrupted (Ctrl-C, SIGTERM, SIGHUP), the training finishes its step and saves its state. A
    second interruption kills it. The framework's output goes to `log.txt` in the run.
    """
    path = run.directory / "log.txt"
    try:
        log = path.open("a+b")
    except OSError as error:
        raise refusal(path, error) from error
    with log:
        try:
            process.call(train_run, run, settings, dataset, notify=notify, pass_fds=pass_fds, log=log)
        except ProcessFailed as error:
            advice = f"Resume with: diptych train --resume {run.directory}. All its output is in '{path}'."
            raise EngineError(f"{str(error).rstrip('.')}. {advice}") from error


@contextmanager
def reported(run: Run, notify: Notify, **start: Any) -> Iterator[None]:
    """Report the `start` of a training, with these fields, and its `end`, however it ends."""
    notify("start", {"run": str(run.directory), **start})
    status = "failed"  # if its process has died
    try:
        yield
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        record = run.read_record()
        metrics = run.read_metrics() if record.status == "finished" else None
        status = status if record.status in ("created", "running") else record.status
        failure = str(record.failure or "")
        notify("end", {"run": str(run.directory), "status": status, "failure": failure, "metrics": metrics})


def train_run(run: Run, settings: Settings, dataset: Dataset, notify: Notify) -> None:
    """Train a new or interrupted run in this process and, when it is done, evaluate it on the split of its record.

    `notify` may also return True for a `resume`, which ends the training where its checkpoint was saved. Raises Stopped
    when SIGTERM arrived, after its state is saved.
    """
    stopping = Stopping()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.request())
    record = run.read_record()
    engine = engines.get(settings.engine)
    engine.configure(settings.threads, settings.device)
    runtime = engine.runtime()
    recipe = provenance.resolve(record.recipe, dataset, runtime["device"])
    origin = provenance.origin(dataset, record.spec, recipe, runtime, record.seed)

    messages: list[tuple[str, dict[str, Any]]] = []
    last = checkpoint.load(run, lambda *message: messages.append(message))
    weights = run.read_start(record.start.sha256) if record.start and not last else None
    job = Job(record.spec, recipe, dataset, record.seed, settings.workers, weights, origin)
    if changes := _changes(run, record, last, origin, settings.force):
        provenance.check_fit(job.spec, dataset)
        messages.append(("forced", {"differences": changes}))
        forced = (*(record.forced or ()), Forced(time.time(), tuple(changes)))
        record = change(record, **provenance.described(dataset, provenance.source_of(record)), forced=forced)
        if last and not provenance.keeps_batches(last.origin, origin):  # the current epoch starts over
            last = replace(last, totals=NO_STEPS, seconds=0.0)

    rewind(run.events_path, last.epochs if last else ())

    def report(kind: str, fields: dict[str, Any]) -> object:
        if kind != "step":
            append_event(run.events_path, kind, fields)
        return notify(kind, fields)

    for message in messages:
        report(*message)
    said = ("name", "class_names", "sizes", "inferred", "remarks")
    lines = (
        *dataset.lines,
        *provenance.chosen_for_data(record.recipe, recipe),
        *([record.start.remark] if record.start else []),
    )
    notify("dataset", {"lines": lines, **{name: getattr(dataset, name) for name in said}})
    trainer = Trainer(engine, job, last)
    start = {"engine": settings.engine, "after_epoch": trainer.epoch - 1, "after_step": trainer.totals.steps}
    record = change(
        record,
        recipe_json=recipe_to_json(recipe),
        status="running",
        engines=(*record.engines, msgspec.convert({**start, **runtime}, EngineStart)),
        failure=msgspec.UNSET,
    )
    remove_files([run.manifest_path])  # before its files change
    run.write_record(record)
    notify("parameters", provenance.parameters(record))
    if last:
        trainer.is_ended = report("resume", start) is True
    saver = Saver(run, record.checkpoints.steps, record.checkpoints.keep, last)
    with _recorded_failure(run, record, report):
        remove_files([run.divergence_path, *leftovers(run.directory)])
        weights = trainer.fit(run, saver, report, stopping=stopping, stop_after=settings.stop_after)
        if settings.stop_after and settings.stop_after <= trainer.epoch - 1 < recipe.epochs and not trainer.is_ended:
            run.write_record(change(record, status="stopped"))
            return
        split, precision = dataset.splits[record.evaluates], provenance.evaluation_precision(recipe)
        logits_nk = provenance.predict_logits(engine, job.spec, weights, split.images, precision)
        write_json(run.metrics_path, evaluate_logits(logits_nk, split.labels, dataset.class_names))
        run.write_predictions(Predictions(logits_nk, split.labels, split.ids))
        facts = {"format": "pt", "model": job.spec.name, "classes": "\n".join(dataset.class_names)}
        write_arrays(run.model_path, weights, facts)
        run.write_record(change(record, status="finished", finished=time.time()))


@contextmanager
def _recorded_failure(run: Run, record: RunRecord, report: Notify) -> Iterator[None]:
    """Record how the training ended if it did not finish."""
    try:
        yield
    except Stopped:
        run.write_record(change(record, status="stopped"))
        raise
    except Exception as error:
        message = str(error) if isinstance(error, DiptychError) else in_one_line(error)
        if isinstance(error, Diverged):
            report("diverged", {"message": message})
        with suppress(DiptychError):  # the disk may be full
            status = "diverged" if isinstance(error, Diverged) else "failed"
            failure = message.encode(errors="replace").decode()
            run.write_record(change(record, status=status, failure=failure))
        raise


def _changes(run: Run, record: RunRecord, last: Checkpoint | None, origin: Mapping[str, Any], force: bool) -> list[str]:
    """Return what has changed since the last checkpoint, or since the run was created; raise without `force`."""
    created = {"fingerprint": record.data.fingerprint, "class_names": list(record.class_names)}
    changes = list(provenance.differences(last.origin if last else {**origin, **created}, origin))
    if not last and (num_logged := count_events(run.events_path, "epoch")):
        changes.append(f"there is no checkpoint, though {num_logged} epochs were logged, so it would start over")
    if changes and not force:
        raise ArtifactError(
            f"Cannot resume '{run.directory}': {'; '.join(changes)}. Undo the changes, remove the run and train again, "
            f"or resume anyway with `diptych train --resume {run.directory} --force`."
        )
    if force and record.status == "diverged":
        changes.append("it has diverged")
    return changes
