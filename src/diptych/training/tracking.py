"""Log trainings to MLflow, W&B and TensorBoard, each from a process of its own.

`Tracker` is a callback like a user's. A thread passes the events on, so a tracker that is slow, fails, hangs or dies
neither delays nor stops the training. `tracking.json` in the run records the tracked run, and why logging stopped.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from diptych.artifacts.run import Run
from diptych.artifacts.store import parse_json, read_bytes, write_json
from diptych.errors import DiptychError, UrgentRemark, in_one_line, remark, why_not_installed
from diptych.processes import Worker, engine_environment

SECONDS_TO_FINISH, SECONDS_IF_STOPPED = 60.0, 15.0
"""How long to wait at the end of a training for each answer of a tracker; an interrupted command must end soon."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""Defaults of the environment: report nothing to the makers of a tracker."""
Fields: TypeAlias = Mapping[str, Any]
Tracked: TypeAlias = dict[str, str]


class Logger(Protocol):
    """The API of a tracker, for one training at a time."""

    def begin(self, run: Run, known: str | None, group: str | None, parameters: Fields) -> tuple[Tracked, bool]:
        """Continue the tracked run `known`, or start one; return what `tracking.json` records, and if it is new."""

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of an epoch."""

    def end(self, run: Run, status: str, failure: str, metrics: Mapping[str, float]) -> None:
        """Log test metrics and files, and end the tracked run with the status of the run."""


class _MLflow:
    def __init__(self) -> None:
        self._mlflow: Any = import_module("mlflow")

    def begin(self, run: Run, known: str | None, group: str | None, parameters: Fields) -> tuple[Tracked, bool]:
        mlflow, logged = self._mlflow, self._parameters(known)
        tags = {"run_folder": str(run.directory.resolve()), "mlflow.source.name": "diptych"}
        tags |= {"group": group} if group else {}
        if logged is None:
            started = mlflow.start_run(run_name=run.directory.name, tags=tags)
            mlflow.log_params(parameters)
            for name in ("spec", "recipe"):
                mlflow.log_dict(getattr(run.read_record(), f"{name}_json"), f"{name}.json")
        else:  # what is logged cannot be changed
            changed = {f"resumed_{name}": one for name, one in parameters.items() if logged.get(name) != str(one)}
            started = mlflow.start_run(known, tags={**tags, **changed})
        return {"id": started.info.run_id, "place": mlflow.get_tracking_uri()}, logged is None

    def _parameters(self, known: str | None) -> dict[str, str] | None:
        """Return the parameters of a tracked run, or None if there is no such run."""
        try:
            found = self._mlflow.get_run(known) if known else None
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            found = None
        return found.data.params if found and found.info.lifecycle_stage == "active" else None

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(numbers, step=epoch)

    def end(self, run: Run, status: str, failure: str, metrics: Mapping[str, float]) -> None:
        self._mlflow.set_tags({"status": status, "failure": failure})
        self._mlflow.log_metrics(metrics, step=len(run.history))
        if metrics:
            self._mlflow.log_artifact(str(run.metrics_path))
            if run.plots_dir.exists():  # the trials of a study have none
                self._mlflow.log_artifacts(str(run.plots_dir), "plots")
        self._mlflow.end_run({"finished": "FINISHED", "stopped": "KILLED"}.get(status, "FAILED"))


class _WandB:
    def begin(self, run: Run, known: str | None, group: str | None, parameters: Fields) -> tuple[Tracked, bool]:
        wandb: Any = import_module("wandb")
        config = {**parameters, "spec": run.read_record().spec_json, "run_folder": str(run.directory.resolve())}
        self._run = wandb.init(
            id=known,
            resume="allow" if known else None,
            name=run.directory.name,
            group=group,
            config=config,
            allow_val_change=True,
            settings=wandb.Settings(console="off"),
        )
        place = self._run.url or f"{Path(self._run.dir).parent} (offline; to upload it: wandb sync)"
        return {"id": self._run.id, "place": place}, not known

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers}, step=epoch, commit=True)

    def end(self, run: Run, status: str, failure: str, metrics: Mapping[str, float]) -> None:
        self._run.summary.update({**metrics, "status": status, "failure": failure})
        if metrics:
            for path in (run.metrics_path, *sorted(run.plots_dir.glob("*"))):
                self._run.save(str(path), base_path=str(run.directory), policy="now", glob=False)
        self._run.finish(exit_code={"finished": 0, "stopped": 128 + signal.SIGINT}.get(status, 1))
        import_module("wandb").teardown()  # ends its own process


class _TensorBoard:
    def begin(self, run: Run, known: str | None, group: str | None, parameters: Fields) -> tuple[Tracked, bool]:
        self._parameters = parameters
        return {"place": str(run.tensorboard_dir)}, False

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Do nothing: the training itself writes its curves."""

    def end(self, run: Run, status: str, failure: str, metrics: Mapping[str, float]) -> None:
        from diptych.training.tensorboard import write_result

        if status == "finished":
            write_result(run.tensorboard_dir, self._parameters, metrics, len(run.history))


_LOGGERS: dict[str, type[Logger]] = {"mlflow": _MLflow, "wandb": _WandB, "tensorboard": _TensorBoard}


def prepare(name: str) -> None:
    """Import a tracker in this process, which has a lower priority than the training and ends with its parent.

    PyTorch's threads become many times slower if another process competes for their cores.
    """
    parent = os.getppid()

    def end_with_parent(*_: object) -> None:
        time.sleep(0.1)  # a process that ends closes its files, which sends the signal, before it is gone
        if os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGTERM, end_with_parent)
    os.nice(5)
    import_module("diptych.training.tensorboard" if name == "tensorboard" else name)


@dataclass
class _Training:
    """A training that one tracker logs."""

    run: Run
    group: str | None
    entry: Tracked
    """What `tracking.json` is to record: `id` and `place` of the tracked run, `failure`."""
    written: Tracked = field(default_factory=dict)
    is_begun: bool = False
    steps: list[Future[None]] = field(default_factory=list)

    def begin(self, logger: Logger, parameters: Fields, history: Sequence[Fields]) -> None:
        """Start or continue the tracked run, and log earlier epochs in a new one."""
        self.entry, is_new = logger.begin(self.run, self.entry.get("id"), self.group, parameters)
        for row in history if is_new else ():
            logger.epoch(row["epoch"], _numbers(row))

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Keep the first error as the failure."""
        try:
            yield
        except Exception as error:
            text = str(error) if isinstance(error, DiptychError) else in_one_line(error)
            self.entry = {"failure": text.rstrip("."), **self.entry}


class Tracker:
    """A callback that logs to one tracker; a failure is a warning, once per training."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread = ThreadPoolExecutor(1)
        self._process: Worker | None = None
        self._training: _Training | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and the thread."""
        self._end_process()
        self._thread.shutdown()

    def __call__(self, kind: str, fields: dict[str, Any]) -> None:
        """Pass on an event: `start`, `parameters`, `epoch` or `end`."""
        if kind == "start":
            self._training = self._started(Run(Path(fields["run"])), fields.get("group"))
        if (training := self._training) is None:
            return
        with training.caught():
            self._pass_on(training, kind, fields)
        self._record(training)

    def _record(self, training: _Training) -> None:
        """Write what has changed to `tracking.json`, while the training waits: its folder has one writer at a time."""
        before, now = training.written, {name: _clean(text) for name, text in training.entry.items()}
        if now != before:
            training.written = now
            with training.caught():
                write_json(training.run.tracking_path, {**tracked(training.run), self.name: now})
        if "failure" in now.keys() - before.keys():
            self._end_process()
            text = f"Logging to {self.name} stopped, which does not affect the training: {now['failure']}"
            remark(text, UrgentRemark)

    def _started(self, run: Run, group: str | None) -> _Training:
        training = _Training(run, group, {})
        with training.caught():
            known = tracked(run).get(self.name, {})
            training.entry = {name: text for name, text in known.items() if name != "failure"}
            if not self._process:
                self._process = Worker(self.name, imports=[__name__], env={**_QUIET, **engine_environment()})
                self._logger = self._process.create(_LOGGERS[self.name])
                self._send(training, partial(self._process.call, prepare, self.name))
        return training

    def _pass_on(self, training: _Training, kind: str, fields: dict[str, Any]) -> None:
        if kind == "parameters" and not training.is_begun:  # it is if the training's process died and was replaced
            training.is_begun = True
            history = training.run.history  # before there are more epochs
            self._send(training, partial(training.begin, self._logger, fields, history))
        elif kind == "epoch":
            self._send(training, partial(self._logger.epoch, fields["epoch"], _numbers(fields)))
        elif kind == "end" and training.is_begun:
            status, ending = fields["status"], (_clean(fields["failure"]), _metrics(training.run, fields["metrics"]))
            self._send(training, partial(self._logger.end, training.run, status, *ending))
            seconds = SECONDS_IF_STOPPED if status == "stopped" else SECONDS_TO_FINISH
            if any(wait([step], seconds).not_done for step in training.steps):
                raise TimeoutError(f"no answer within {seconds:g} seconds")

    def _send(self, training: _Training, step: Callable[[], None]) -> None:
        """Take a step in the thread, after the earlier ones and unless one has failed."""

        def take() -> None:
            with training.caught():
                if "failure" not in training.entry:
                    step()

        training.steps.append(self._thread.submit(take))

    def _end_process(self) -> None:
        if self._process:
            self._process.close()
        self._process = None


def tracked(run: Run) -> dict[str, Tracked]:
    """Return what `tracking.json` records of a run, by tracker."""
    path = run.tracking_path
    return parse_json(path, read_bytes(path), dict[str, Tracked]) if path.exists() else {}


def resumed(names: Sequence[str], run: Run) -> list[str]:
    """Return trackers, and those that logged a run before; a remark names one that is not installed any more."""
    before = [name for name in tracked(run) if name in _LOGGERS and name not in names]
    for why in filter(None, map(why_not_installed, before)):
        remark(f"Not logged any more: {why}")
    return [*names, *(name for name in before if not why_not_installed(name))]


def _clean(text: str) -> str:
    """Remove names and passwords from URLs, also from one that is cut off."""
    return re.sub(r"//[^/\s@]+@|//[^/\s@:]+:(?!\d+$)[^/\s@]+$", "//***@", text)


def _numbers(fields: Fields) -> dict[str, float]:
    return {name: one for name, one in fields.items() if isinstance(one, int | float) and name != "epoch"}


def _metrics(run: Run, metrics: Fields | None) -> dict[str, float]:
    """Return the numbers of `metrics.json` by name, such as `test_accuracy` and `test_macro_f1`."""
    if not metrics:
        return {}
    split = run.read_record().evaluates
    start = split if split == "test" else f"final_{split}"  # epochs have a `validation_accuracy`, too
    means = {f"{mean}_{name}": one for mean in ("macro", "weighted") for name, one in metrics[mean].items()}
    return {f"{start}_{name}": one for name, one in {**metrics, **means}.items() if isinstance(one, float)}
