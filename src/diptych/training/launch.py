"""Starts a training in a process of its own and passes on what it reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from typing import Any

from diptych import errors
from diptych.artifacts.run import Run
from diptych.engines.worker import environment
from diptych.errors import DiptychError, EngineError
from diptych.training.fit import Notify

SECONDS_TO_END = 5


def train_in_process(run: Run, engine: str, threads: int, notify: Notify, stop_after: int | None = None) -> None:
    """Train a run in a process of its own; what its framework prints goes to `log.txt` in the run.

    Raises:
        DiptychError: as the training raised it, or an EngineError when its process died.
    """
    command = [sys.executable, "-m", "diptych.training.child", str(run.directory), engine, str(threads)]
    command += [str(stop_after)] if stop_after else []
    log_path = run.directory / "log.txt"
    with (
        log_path.open("ab") as log,
        subprocess.Popen(
            command,
            env=environment(engine),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        failure: dict[str, Any] | None = None
        try:
            for line in child.stdout:
                message = json.loads(line)
                if message["kind"] == "error":
                    failure = message
                else:
                    notify(message.pop("kind"), message)
        except BaseException:  # an interruption among them
            _end(child)
            raise
    if failure:
        raise _as_raised(failure)
    if child.returncode:
        raise EngineError(
            f"The {engine} training ended with code {child.returncode}: {_last_line(run)} "
            f"All it said is in '{log_path}'."
        )


def _end(child: subprocess.Popen[str]) -> None:
    """End a process, which may finish the file that it is writing."""
    child.terminate()
    try:
        child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()


def _as_raised(failure: dict[str, Any]) -> DiptychError:
    kind = getattr(errors, failure["type"], EngineError)
    return kind(failure["message"])


def _last_line(run: Run) -> str:
    text = (run.directory / "log.txt").read_text(encoding="utf-8", errors="replace")
    lines = deque((line.strip() for line in text.splitlines() if line.strip()), maxlen=1)
    return lines[0] if lines else "it said nothing."
