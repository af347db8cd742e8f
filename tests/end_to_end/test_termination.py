"""SIGTERM, as schedulers and containers send it, ends a command as Ctrl-C does: cleaned up, and nobody left running."""

import os
import shutil
import signal
import subprocess
import time

import cv2
import numpy as np
import pytest
from commands import SECONDS, child_of, diptych, hidden, num_living, start, train, wait_until_nobody_lives

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.training import checkpoint

pytestmark = pytest.mark.slow
SETTINGS = ("digits", "--model", "mlp", "--precision", "float32")


def told_when_terminated(started, is_time):
    """Exit code, output and errors of a command that, alone in its group, gets SIGTERM once it is time and has help."""
    try:
        while started.poll() is None and not (is_time() and num_living(started.pid) > 1):
            time.sleep(0.02)
        started.terminate()
        out, err = started.communicate(timeout=SECONDS)
        assert 0 == num_living(started.pid)
    finally:
        if num_living(started.pid):
            os.killpg(started.pid, signal.SIGKILL)
    return started.returncode, out, err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    (trained,) = train(*SETTINGS, "--epochs", 1, "--engine", "torch", "--out", tmp_path_factory.mktemp("runs"))
    return trained


@pytest.mark.parametrize(
    ("form", "begun"),
    [("torchscript", ".staging-*"), ("keras", ".staging-*"), ("safetensors", ".staging-*/mlp.safetensors")],
    ids=["written in PyTorch", "written in TensorFlow", "checked"],
)
def test_an_export_leaves_nothing_behind(run, tmp_path, form, begun):
    target, scratch = tmp_path / "shipped", tmp_path / "scratch"
    scratch.mkdir()
    started = start("export", run.directory, "--to", form, "--out", target, TMPDIR=str(scratch))
    assert (143, "", "diptych: interrupted.\n") == told_when_terminated(started, lambda: list(target.glob(begun)))
    assert [] == [*target.iterdir(), *scratch.iterdir()]


def test_a_command_that_has_made_no_run_yet_speaks_of_none(tmp_path):
    data, kept = tmp_path / "data", tmp_path / "kept"
    for name in ("cat", "dog"):
        (data / name).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    cv2.imwrite(str(data / "cat" / "000.png"), noise)
    for place in range(1, 200):
        shutil.copy(data / "cat" / "000.png", data / ("cat", "dog")[place % 2] / f"{place:03}.png")
    settings = ("--image-size", 32, "--workers", 1, "--out", tmp_path / "runs")
    started = start("train", data, *settings, DIPTYCH_CACHE=str(kept))
    try:
        while started.poll() is None and not list(kept.rglob(".staging-*")):  # until images are decoded
            time.sleep(0.02)
        started.terminate()
        out, err = started.communicate(timeout=SECONDS)
    finally:
        started.kill()
    assert (143, "diptych: interrupted.") == (started.returncode, err.strip().splitlines()[-1])
    assert not (tmp_path / "runs").exists()
    assert [] == list(kept.rglob(".staging-*"))
    assert (143, "") == (started.returncode, out)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the command", "to the whole group"])
def test_a_training_that_was_ended_before_its_first_step_begins_with_resume(tmp_path, engine_name, send):
    asked = ("train", *SETTINGS, "--epochs", 1, "--checkpoint-steps", 1, "--engine", engine_name, "--out", tmp_path)
    started = start(*asked)
    run = Run(tmp_path / f"digits-mlp-{engine_name}")
    try:
        while started.poll() is None and not (run.record_path.exists() and num_living(started.pid) > 1):
            time.sleep(0.02)
        send(started.pid, signal.SIGTERM)
        _, err = started.communicate(timeout=SECONDS)
    finally:
        started.kill()
    print(f"\n{err.strip()}")
    said = f"diptych: interrupted. Resume with: diptych train --resume {run.directory}\n"
    assert 143 == started.returncode
    assert err.endswith(said)
    assert 0 == num_living(started.pid)
    assert checkpoint.load(run) is None
    assert "created" == run.read_record().status
    (resumed,) = train("--resume", run.directory, "--stop-after", 1)
    assert [1] == [event["epoch"] for event in read_events(resumed.events_path, "epoch")]
    assert [] == hidden(resumed)


@pytest.fixture
def training(tmp_path, engine_name):
    """A training in a process group of its own, and its run; both are there, and steps are taken."""
    started = start("train", *SETTINGS, "--epochs", 100_000, "--engine", engine_name, "--out", tmp_path)
    directory = tmp_path / f"digits-mlp-{engine_name}"
    events = directory / "events.jsonl"
    try:
        while started.poll() is None and not (events.exists() and read_events(events, "epoch")):
            time.sleep(0.02)
        assert started.poll() is None
        yield started, Run.open(directory)
    finally:
        if num_living(started.pid):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the command", "to the whole group"])
def test_a_training_can_go_on(training, send):
    started, run = training
    sent = time.monotonic()
    send(started.pid, signal.SIGTERM)
    out, err = started.communicate(timeout=SECONDS)
    print(f"\nSIGTERM {send.__name__}: ended after {time.monotonic() - sent:.2f} s")
    said = f"diptych: interrupted. Resume with: diptych train --resume {run.directory}\n"
    assert (143, "") == (started.returncode, out)
    assert err.endswith(said)  # after lines of progress
    assert 0 == num_living(started.pid)
    assert [] == hidden(run)
    state, events = checkpoint.load(run), read_events(run.events_path, "epoch")
    assert "stopped" == run.read_record().status
    assert len(events) == len(state.epochs) > 0
    (gone_on,) = train("--resume", run.directory, "--stop-after", len(events) + 1)
    assert len(events) + 1 == len(checkpoint.load(gone_on).epochs)
    (resume,) = read_events(run.events_path, "resume")
    assert (len(events), state.position) == (resume["after_epoch"], resume["after_step"])


def as_timeout_sends(number):
    """A function that sends a signal as coreutils' `timeout` does: to the command, and then at once to its group."""

    def send(pid):
        os.kill(pid, number)
        os.killpg(pid, number)

    return send


@pytest.mark.parametrize(
    ("send", "code"),
    [
        (as_timeout_sends(signal.SIGTERM), 143),
        (as_timeout_sends(signal.SIGINT), 130),
        (as_timeout_sends(signal.SIGHUP), 129),
        (lambda pid: os.kill(pid, signal.SIGHUP), 129),
        (lambda pid: os.killpg(pid, signal.SIGHUP), 129),
    ],
    ids=["SIGTERM twice", "SIGINT twice", "SIGHUP twice", "SIGHUP", "SIGHUP to the whole group"],
)
def test_its_state_is_saved_once_for_signals_that_come_together(training, send, code):
    started, run = training
    send(started.pid)
    _, err = started.communicate(timeout=SECONDS)
    said = f"diptych: interrupted. Resume with: diptych train --resume {run.directory}\n"
    assert code == started.returncode
    assert err.endswith(said)
    assert 0 == num_living(started.pid)
    assert "stopped" == run.read_record().status
    assert len(read_events(run.events_path, "epoch")) == len(checkpoint.load(run).epochs)


def test_a_training_whose_process_is_killed_says_by_what_and_how_to_go_on(training):
    started, run = training
    with (run.directory / "log.txt").open("a") as log:
        log.write("a line of an earlier process\n")
    os.kill(child_of(started), signal.SIGKILL)
    _, err = started.communicate(timeout=SECONDS)
    print(f"\n{err.strip()}")
    assert 2 == started.returncode
    assert err.splitlines()[-1].startswith("diptych: The ")
    assert "training was killed by SIGKILL, as the system does when memory runs out" in err
    assert f"Resume with: diptych train --resume {run.directory}." in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_leaves_at_once(training, number, code):
    started, _ = training
    os.kill(child_of(started), signal.SIGSTOP)  # as if its step took for ever
    os.kill(started.pid, number)
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(1.0)
    os.kill(started.pid, number)
    assert code == started.wait(SECONDS)
    wait_until_nobody_lives(started)


def test_a_training_whose_command_was_killed_holds_the_lock_until_it_ends(training):
    started, run = training
    child = child_of(started)
    os.kill(child, signal.SIGSTOP)  # as if its step took long
    started.kill()
    told = diptych("train", "--resume", run.directory)
    assert (2, "") == (told.code, told.out)
    assert f"'{run.directory}' is in use: process {started.pid} on " in told.err
    assert "Wait until it and all it started end" in told.err
    os.kill(child, signal.SIGCONT)
    wait_until_nobody_lives(started)
    assert "stopped" == run.read_record().status
    assert len(read_events(run.events_path, "epoch")) == len(checkpoint.load(run).epochs)
    train("--resume", run.directory, "--stop-after", len(checkpoint.load(run).epochs) + 1)


def test_a_second_training_in_the_same_folder_is_refused_at_once(training):
    started, run = training
    told = diptych("train", "--resume", run.directory)
    assert (2, "") == (told.code, told.out)
    assert f"'{run.directory}' is in use: process {started.pid} on " in told.err
    assert started.poll() is None
