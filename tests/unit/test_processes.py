"""Functions and engines that run in another process, and what becomes of those that fail."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import diptych
from diptych.comparison.parity import samples
from diptych.engines.session import Sessions, session
from diptych.errors import ArtifactError, DiptychError, EngineError, ImageError
from diptych.processes import ProcessFailed, Worker, engine_environment, num_threads
from diptych.spec import zoo


class Counter:
    """An object that lives in the process."""

    def __init__(self, start):
        self.value = start

    def add(self, number):
        self.value += number
        return self.value


class Ours(DiptychError):
    """An error that diptych.errors does not define."""


def same(value):
    return value


def raise_error(error):
    error.add_note("a note")
    raise error


def die(how):
    print("the last words")
    if how < 0:
        os.kill(os.getpid(), -how)
    os._exit(how)


def report(notify):
    return [notify("number", {"value": number}) for number in range(3)]


def report_and_wait(path, notify):
    notify("once", {})
    while not path.exists():
        time.sleep(0.01)


def wait_until_stopped(path, notify):
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        notify("ready", {})
        time.sleep(60)
    finally:
        path.write_text("saved")


@pytest.fixture
def env():
    """An environment in which the process can import this file."""
    env = engine_environment()
    return {**env, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])}


@pytest.fixture
def worker(env):
    with Worker("The worker", env=env) as worker:
        yield worker


def test_arrays_arrive_bit_for_bit(worker):
    array = np.array([[np.nan, -0.0, 1e-310]], np.float64).T
    arrived = worker.call(same, array)
    assert arrived.tobytes() == array.tobytes()
    assert (arrived.dtype, arrived.shape) == (array.dtype, array.shape)


def test_an_object_stays_in_the_process(worker):
    first, second = worker.create(Counter, 10), worker.create(Counter, 20)
    assert [first.add(1), second.add(1), first.add(number=2)] == [11, 21, 13]


def test_an_error_keeps_its_type_its_fields_and_its_notes(worker):
    with pytest.raises(ImageError) as caught:
        worker.call(raise_error, ImageError("It is torn.", kind="truncated"))
    assert (str(caught.value), caught.value.kind, caught.value.__notes__) == ("It is torn.", "truncated", ["a note"])
    with pytest.raises(Ours, match="Mine"):
        worker.call(raise_error, Ours("Mine."))


def test_another_error_comes_in_one_line_with_its_traceback_as_a_note(worker):
    with pytest.raises(ProcessFailed, match=r"^The worker failed: ValueError: too many\.\n") as caught:
        worker.call(raise_error, ValueError("too\nmany"))
    assert "in raise_error" in caught.value.__notes__[0]
    assert worker.call(same, 1) == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (7, "ended with code 7"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL, as the system does when memory runs out"),
        (143, "was ended by SIGTERM"),
    ],
)
def test_the_death_of_a_process_is_explained(worker, how, words):
    for _ in range(2):
        with pytest.raises(ProcessFailed) as caught:
            worker.call(die, how)
        assert str(caught.value) == f"The worker {words}: the last words"


def test_messages_arrive_in_order_and_are_answered(worker):
    messages = []

    def is_second(*message):
        messages.append(message)
        return len(messages) == 2 or "truthy"

    assert [False, True, False] == worker.call(report, notify=is_second)
    assert messages == [("number", {"value": number}) for number in range(3)]


def test_a_log_gets_what_is_printed_before_and_during_a_call(worker, tmp_path):
    worker.call(print, "before")
    path = tmp_path / "log.txt"
    path.write_text("an earlier line\n")
    with path.open("a+b") as log:
        worker.call(print, "during", log=log)
        worker.call(os.write, 1, b"from C\n")
        assert path.read_text() == "an earlier line\nbefore\nduring\nfrom C\n"
        with pytest.raises(ProcessFailed, match="code 3: the last words\n"):
            worker.call(die, 3)


def test_a_process_holds_the_files_that_it_is_given(worker, tmp_path):
    holder, other = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    fcntl.flock(holder, fcntl.LOCK_EX)

    def close_and_try(kind, fields):
        os.close(holder)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (tmp_path / "tried").touch()

    worker.call(report_and_wait, tmp_path / "tried", notify=close_and_try, pass_fds=[holder])
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_an_interruption_waits_until_the_function_has_ended(worker, tmp_path):
    def interrupt(kind, fields):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.call(wait_until_stopped, tmp_path / "state", notify=interrupt)
    assert (tmp_path / "state").read_text() == "saved"


def test_an_error_of_the_callback_is_not_taken_for_the_death_of_the_process(worker):
    def fail(kind, fields):
        raise BrokenPipeError("the terminal has gone")

    with pytest.raises(BrokenPipeError):
        worker.call(report, notify=fail)


def test_a_process_ends_when_its_parent_is_killed(env, tmp_path):
    script = """import test_processes as t, pathlib, os
with t.Worker() as worker:
    worker.call(t.wait_until_stopped, pathlib.Path("state"), notify=lambda *_: os.kill(os.getpid(), 9))"""
    subprocess.run([sys.executable, "-c", script], env=env, cwd=tmp_path, check=False)
    deadline = time.monotonic() + 20
    while not (tmp_path / "state").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_script_needs_no_guard_and_a_file_beside_it_stands_in_for_no_module(env, tmp_path):
    (tmp_path / "pickle.py").write_text("raise SystemExit('the wrong pickle')")
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "script.py"
    script.write_text(
        "import test_processes as t\nfrom diptych.processes import Worker\n"
        "with Worker() as worker:\n    print(worker.call(t.same, 'once'))\n"
    )
    done = subprocess.run([sys.executable, script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("once\n", "")


def test_a_module_that_cannot_be_imported_early_fails_no_other_call(env):
    with Worker(env=env, imports=["no.such.module", "diptych.spec"]) as worker:
        assert worker.call(same, 5) == 5


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=engine_environment("torch"), capture_output=True, text=True, check=True).stdout


def test_a_process_imports_the_diptych_that_started_it(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert f"{diptych.__file__}\n" == run("import diptych; print(diptych.__file__)")


def test_an_environment_respects_the_user_but_for_the_backend_of_keras(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "glibc.malloc.mmap_threshold=4294967296" in engine_environment("torch")["GLIBC_TUNABLES"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "glibc.malloc.arena_max=1" == engine_environment("torch")["GLIBC_TUNABLES"]
    assert ["tensorflow", "jax"] == [engine_environment(name)["KERAS_BACKEND"] for name in ("tensorflow", "torch")]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_threads_are_the_cores_that_the_process_may_use():
    bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert "1\n" == run(f"{bind}; from diptych.processes import num_threads; print(num_threads())")
    assert len(os.sched_getaffinity(0)) == num_threads()


SPEC = zoo.model("mlp", (4, 3, 1), num_classes=3)
WEIGHTS = samples.weights(SPEC, seed=0)


@pytest.fixture(scope="module")
def started(engine_name):
    with session(engine_name, threads=1) as started:
        yield started


@pytest.fixture
def loaded(started):
    started.build(SPEC, "float64")
    started.load_weights(WEIGHTS)
    return started


def test_an_engines_functions_get_the_sessions_model(loaded, engine_name):
    assert (engine_name, 1) == tuple(loaded.runtime()[name] for name in ("engine", "threads"))
    back = loaded.read_weights()
    assert WEIGHTS.keys() == back.keys()
    assert all(WEIGHTS[name].tobytes() == back[name].astype(WEIGHTS[name].dtype).tobytes() for name in WEIGHTS)
    (batch,) = samples.batches(SPEC, num_batches=1, batch_size=4, seed=0)
    outputs = loaded.layer_outputs(batch.images, training=False)
    np.testing.assert_allclose(loaded.predict(batch.images), outputs["fc3"], rtol=1e-12)


def test_a_session_survives_errors(loaded, engine_name):
    with pytest.raises(ArtifactError, match="Cannot load"):
        loaded.load_weights({})
    with pytest.raises(EngineError, match=f"^The {engine_name} process failed: .*Error: "):
        loaded.predict(np.zeros((2, 9, 9, 1), np.uint8))
    assert WEIGHTS.keys() == loaded.read_weights().keys()


def test_sessions_start_when_first_used_and_end_together(engine_name):
    prepared = []
    with Sessions(threads=1, prepare=prepared.append) as sessions:
        first = sessions[engine_name]
        assert first is sessions[engine_name]
        assert [first] == prepared
    with pytest.raises((EngineError, OSError, ValueError)):
        first.runtime()
