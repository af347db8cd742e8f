"""Functions that run in another process, and what becomes of those that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.errors import DiptychError, ImageError
from diptych.processes import Notify, ProcessFailed, Worker, engine_environment


class Counter:
    """An object that lives in the process."""

    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, number: int) -> int:
        self.value += number
        return self.value


class Ours(DiptychError):
    """An error that diptych.errors does not define."""


def same(value: Any) -> Any:
    return value


def raise_error(error: Exception) -> None:
    error.add_note("a note")
    raise error


def die(how: int) -> None:
    print("the last words")
    if how < 0:
        os.kill(os.getpid(), -how)
    os._exit(how)


def report(notify: Notify) -> str:
    for number in range(3):
        notify("number", {"value": number})
    return "done"


def report_and_wait(path: Path, notify: Notify) -> None:
    notify("once", {})
    while not path.exists():
        time.sleep(0.01)


def wait_until_stopped(path: Path, notify: Notify) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        notify("ready", {})
        time.sleep(60)
    finally:
        path.write_text("saved")


@pytest.fixture
def env() -> dict[str, str]:
    """An environment in which the process can import this file."""
    env = engine_environment()
    return {**env, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])}


@pytest.fixture
def worker(env: dict[str, str]) -> Iterator[Worker]:
    with Worker("The worker", env=env) as worker:
        yield worker


def test_arrays_arrive_bit_for_bit(worker: Worker) -> None:
    array = np.array([[np.nan, -0.0, 1e-310]], np.float64).T
    arrived = worker.call(same, array)
    assert arrived.tobytes() == array.tobytes()
    assert (arrived.dtype, arrived.shape) == (array.dtype, array.shape)


def test_an_object_stays_in_the_process(worker: Worker) -> None:
    first, second = worker.create(Counter, 10), worker.create(Counter, 20)
    assert [first.add(1), second.add(1), first.add(number=2)] == [11, 21, 13]


def test_an_error_keeps_its_type_its_fields_and_its_notes(worker: Worker) -> None:
    with pytest.raises(ImageError) as caught:
        worker.call(raise_error, ImageError("It is torn.", kind="truncated"))
    assert (str(caught.value), caught.value.kind, caught.value.__notes__) == ("It is torn.", "truncated", ["a note"])
    with pytest.raises(Ours, match="Mine"):
        worker.call(raise_error, Ours("Mine."))


def test_another_error_comes_in_one_line_with_its_traceback_as_a_note(worker: Worker) -> None:
    with pytest.raises(ProcessFailed, match=r"^The worker failed: ValueError: too many\.\n") as caught:
        worker.call(raise_error, ValueError("too\nmany"))
    assert "in raise_error" in caught.value.__notes__[0]
    assert worker.call(same, 1) == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (7, "ended with code 7: the last words"),
        (-signal.SIGSEGV, "was killed by SIGSEGV: the last words"),
        (-signal.SIGKILL, "was killed by SIGKILL, as the system does when memory runs out: the last words"),
        (143, "was ended by SIGTERM: the last words"),
    ],
)
def test_the_death_of_a_process_is_explained(worker: Worker, how: int, words: str) -> None:
    for _ in range(2):
        with pytest.raises(ProcessFailed) as caught:
            worker.call(die, how)
        assert str(caught.value) == f"The worker {words}"


def test_messages_arrive_in_order(worker: Worker) -> None:
    messages = []
    assert worker.call(report, notify=lambda kind, fields: messages.append((kind, fields["value"]))) == "done"
    assert messages == [("number", 0), ("number", 1), ("number", 2)]


def test_a_log_gets_what_is_printed_before_and_during_a_call(worker: Worker, tmp_path: Path) -> None:
    worker.call(print, "before")
    path = tmp_path / "log.txt"
    path.write_text("an earlier line\n")
    with path.open("a+b") as log:
        worker.call(print, "during", log=log)
        assert path.read_text() == "an earlier line\nbefore\nduring\n"
        with pytest.raises(ProcessFailed, match="code 3: the last words\n"):
            worker.call(die, 3)


def test_a_process_holds_the_files_that_it_is_given(worker: Worker, tmp_path: Path) -> None:
    import fcntl

    holder = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)

    def close_and_try(kind: str, fields: dict[str, Any]) -> None:
        os.close(holder)
        other = os.open(tmp_path / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        (tmp_path / "tried").touch()

    worker.call(report_and_wait, tmp_path / "tried", notify=close_and_try, pass_fds=[holder])
    freed = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(freed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(freed)


def test_an_interruption_waits_until_the_function_has_ended(worker: Worker, tmp_path: Path) -> None:
    def interrupt(kind: str, fields: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.call(wait_until_stopped, tmp_path / "state", notify=interrupt)
    assert (tmp_path / "state").read_text() == "saved"


def test_an_error_of_the_callback_is_not_taken_for_the_death_of_the_process(worker: Worker) -> None:
    def fail(kind: str, fields: dict[str, Any]) -> None:
        raise BrokenPipeError("the terminal has gone")

    with pytest.raises(BrokenPipeError):
        worker.call(report, notify=fail)


def test_a_process_ends_when_its_parent_is_killed(env: dict[str, str], tmp_path: Path) -> None:
    script = (
        "import test_processes as t, pathlib, os, signal\n"
        "with t.Worker() as worker:\n"
        "    worker.call(t.wait_until_stopped, pathlib.Path('state').absolute(),\n"
        "                notify=lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    subprocess.run([sys.executable, "-c", script], env=env, cwd=tmp_path, check=False)
    deadline = time.monotonic() + 20
    while not (tmp_path / "state").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_script_needs_no_guard_and_a_file_beside_it_stands_in_for_no_module(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('the wrong pickle')")
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "script.py").write_text(
        "from diptych.processes import call\nfrom test_processes import same\nprint(call(same, 'once'))\n"
    )
    finished = subprocess.run(
        [sys.executable, "scripts/script.py"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (finished.stdout, finished.stderr) == ("once\n", "")


def test_a_module_that_cannot_be_imported_early_fails_no_other_call(env: dict[str, str]) -> None:
    with Worker(env=env, imports=["no.such.module", "diptych.spec"]) as worker:
        assert worker.call(same, 5) == 5
