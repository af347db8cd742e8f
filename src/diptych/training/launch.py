"""Starts a training in a process of its own and passes on what it reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from diptych import errors
from diptych.artifacts.run import Run
from diptych.artifacts.store import refusal
from diptych.errors import DiptychError, EngineError
from diptych.processes import engine_environment
from diptych.training.execute import Settings
from diptych.training.fit import Notify
from diptych.training.stopping import TERMINATED


def train_in_process(run: Run, settings: Settings, notify: Notify, holds: Sequence[int] = ()) -> None:
    """Train a run in a process of its own; what its framework prints goes to `log.txt` in the run.

    Ctrl-C, SIGTERM and SIGHUP are passed on, and waited for: the training takes its step to the end and saves its
    state. When another comes meanwhile, the process is killed.

    Args:
        run: a created or interrupted run.
        settings: how to go on with it.
        notify: told of all that the training tells.
        holds: file descriptors that the process holds until it ends, such as the run's lock.

    Raises:
        DiptychError: as the training raised it, or an EngineError when its process died.
    """
    command = [sys.executable, "-m", "diptych.training.child", str(run.directory), json.dumps(asdict(settings))]
    log_path = run.directory / "log.txt"
    with (
        _opened(log_path) as log,
        subprocess.Popen(
            command,
            env=engine_environment(settings.engine),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=holds,
        ) as child,
    ):
        said_before = log.tell()
        try:
            try:
                failure = _relayed(child, notify)
            except BaseException:  # an interruption among them
                child.terminate()
                failure = _relayed(child, lambda kind, fields: None)
                if failure is None:
                    raise
        finally:
            child.kill()  # nothing, when it has ended
    if failure:
        raise _as_raised(failure)
    if child.returncode:
        hint = "" if settings.replays else f"`diptych train --resume {run.directory}` goes on with it. "
        raise EngineError(
            f"The {settings.engine} training {_how(child.returncode)}{_last_line(log_path, said_before)} "
            f"{hint}All it said is in '{log_path}'."
        )


def replay_in_process(run: Run, settings: Settings, holds: Sequence[int] = ()) -> dict[str, Any]:
    """What `replay` finds of a run, in a process of its own; `holds` as for `train_in_process`.

    Raises:
        DiptychError: as `train_in_process` does.
    """
    found: dict[str, Any] = {}
    train_in_process(run, replace(settings, replays=True), lambda kind, fields: found.update(fields), holds)
    return found


def _relayed(child: subprocess.Popen[str], notify: Notify) -> dict[str, Any] | None:
    """Pass on what a process tells until it ends; the error that it told of, if any."""
    assert child.stdout is not None
    failure = None
    for line in child.stdout:
        if not line.endswith("\n"):  # the process was killed as it wrote
            break
        message = json.loads(line)
        if message["kind"] == "error":
            failure = message
        else:
            notify(message.pop("kind"), message)
    child.wait()
    return failure


def _as_raised(failure: dict[str, Any]) -> DiptychError:
    kind = getattr(errors, failure["type"], EngineError)
    return kind(failure["message"])


def _opened(path: Path) -> BinaryIO:
    """A log that goes on at its end."""
    try:
        log = path.open("ab")
        log.seek(0, os.SEEK_END)
    except OSError as error:
        raise refusal(path, error) from error
    return log


def _how(code: int) -> str:
    """How a process ended, by its exit code."""
    if code == TERMINATED:
        return "was ended by SIGTERM"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL, as the system does where memory has run out"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _last_line(path: Path, start: int) -> str:
    """The last that was said to a log since it had `start` bytes, after a colon; a full stop when there is nothing."""
    try:
        said = path.read_bytes()[start:].decode(errors="replace")
    except OSError:
        return "."
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else "."
