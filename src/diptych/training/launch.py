"""Starts a training in a process of its own and passes on what it reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from diptych import errors
from diptych.artifacts.run import Run
from diptych.engines.worker import environment
from diptych.errors import DiptychError, EngineError
from diptych.training.execute import Settings
from diptych.training.fit import Notify
from diptych.training.stopping import TERMINATED


def train_in_process(run: Run, settings: Settings, notify: Notify, holds: Sequence[int] = ()) -> None:
    """Train a run in a process of its own; what its framework prints goes to `log.txt` in the run.

    Ctrl-C and SIGTERM are passed on, and waited for: the training takes its step to the end and saves its state. When
    another comes meanwhile, the process is killed.

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
        log_path.open("ab") as log,
        subprocess.Popen(
            command,
            env=environment(settings.engine),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=holds,
        ) as child,
    ):
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
    if child.returncode == TERMINATED:
        raise EngineError(
            f"The {settings.engine} training was ended by SIGTERM; "
            f"`diptych train --resume {run.directory}` goes on with it."
        )
    if child.returncode:
        raise EngineError(
            f"The {settings.engine} training ended with code {child.returncode}: {_last_line(run)} "
            f"All it said is in '{log_path}'."
        )


def replay_in_process(run: Run, settings: Settings) -> dict[str, Any]:
    """What `replay` finds of a run, in a process of its own.

    Raises:
        DiptychError: as `train_in_process` does.
    """
    found: dict[str, Any] = {}
    train_in_process(run, replace(settings, replays=True), lambda kind, fields: found.update(fields))
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


def _last_line(run: Run) -> str:
    text = (run.directory / "log.txt").read_text(encoding="utf-8", errors="replace")
    lines = deque((line.strip() for line in text.splitlines() if line.strip()), maxlen=1)
    return lines[0] if lines else "it said nothing."
