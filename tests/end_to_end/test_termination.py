"""Signals, as terminals, schedulers and containers send them, end a command cleanly and leave no process behind."""

import os
import signal
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from commands import SECONDS, child_of, hidden, num_living, refused, started, train, wait_until_all_ended, write_image

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.training import checkpoint

SETTINGS = ("digits", "--model", "mlp", "--precision", "float32")


@contextmanager
def training(out):
    """A training that has finished an epoch, and its run."""
    run = Run(out / "digits-mlp-torch")
    args = ("train", *SETTINGS, "--epochs", 100_000, "--out", out)
    with started(*args, until=lambda: run.events_path.exists() and read_events(run.events_path, "epoch")) as process:
        yield process, run


def assert_ended(process, code, last_line):
    """The command ends with a code and a line, and its processes have ended."""
    out, err = process.communicate(timeout=SECONDS)
    assert (code, "", last_line) == (process.returncode, out, err.splitlines()[-1])
    assert 0 == num_living(process.pid)


def assert_saved_once(run):
    """The run stopped, and its log and checkpoint hold the same epochs."""
    assert "stopped" == run.read_record().status
    assert [] == hidden(run)
    assert 0 < len(read_events(run.events_path, "epoch")) == len(checkpoint.load(run).epochs)


@pytest.mark.parametrize(
    ("form", "begun"),
    [("state-dict", ".staging-*"), ("safetensors", ".staging-*/cnn.safetensors")],
    ids=["while it is written", "while it is checked"],
)
def test_an_export_leaves_nothing_behind(made_run, tmp_path, form, begun):
    target, scratch = tmp_path / "shipped", tmp_path / "scratch"
    scratch.mkdir()
    args = ("export", made_run.directory, "--to", form, "--out", target)
    with started(*args, until=lambda: list(target.glob(begun)), TMPDIR=str(scratch)) as process:
        process.terminate()
        assert_ended(process, 143, "diptych: interrupted.")
    assert [] == [*target.iterdir(), *scratch.iterdir()]


def test_a_training_that_still_reads_its_data_names_no_run(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    write_image(data / "cat" / "000.png", noise)
    (data / "dog").mkdir()
    for place in range(1, 200):
        (data / ("cat", "dog")[place % 2] / f"{place:03}.png").hardlink_to(data / "cat" / "000.png")
    args = ("train", data, "--image-size", 32, "--workers", 1, "--out", tmp_path / "runs")
    with started(*args, until=lambda: list(cache.rglob(".staging-*")), DIPTYCH_CACHE=str(cache)) as process:
        process.terminate()
        assert_ended(process, 143, "diptych: interrupted.")
    assert not (tmp_path / "runs").exists()
    assert [] == list(cache.rglob(".staging-*"))


def test_a_training_that_ended_before_its_first_step_starts_with_resume(tmp_path):
    run = Run(tmp_path / "digits-mlp-torch")
    args = ("train", *SETTINGS, "--epochs", 1, "--checkpoint-steps", 1, "--out", tmp_path)
    with started(*args, until=run.record_path.exists) as process:
        os.killpg(process.pid, signal.SIGTERM)
        assert_ended(process, 143, f"diptych: interrupted. Resume with: diptych train --resume {run.directory}")
    assert (None, "created") == (checkpoint.load(run), run.read_record().status)
    train("--resume", run.directory)
    assert [1] == [event["epoch"] for event in read_events(run.events_path, "epoch")]
    assert [] == hidden(run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signaled_training_saves_its_state_once_and_resumes(tmp_path, number):
    with training(tmp_path) as (process, run):
        os.kill(process.pid, number)
        os.killpg(process.pid, number)  # at once to its group, too, as `timeout` does
        assert_ended(
            process, 128 + number, f"diptych: interrupted. Resume with: diptych train --resume {run.directory}"
        )
    assert_saved_once(run)
    assert f"Resume it with: diptych train --resume {run.directory}" in refused("evaluate", run.directory)
    state = checkpoint.load(run)
    train("--resume", run.directory, "--stop-after", len(state.epochs) + 1)
    assert len(state.epochs) + 1 == len(checkpoint.load(run).epochs)
    (resume,) = read_events(run.events_path, "resume")
    assert state.place == (resume["after_epoch"], resume["after_step"])


def test_a_training_whose_process_is_killed_names_the_signal_and_how_to_resume(tmp_path):
    with training(tmp_path) as (process, run):
        os.kill(child_of(process), signal.SIGKILL)
        _, err = process.communicate(timeout=SECONDS)
    last = err.splitlines()[-1]
    assert 2 == process.returncode
    assert last.startswith("diptych: The torch training was killed by SIGKILL, as the system does when memory runs out")
    assert f"Resume with: diptych train --resume {run.directory}." in last


def test_a_second_signal_ends_it_at_once(tmp_path):
    with training(tmp_path) as (process, _):
        os.kill(child_of(process), signal.SIGSTOP)  # as if its step took for ever
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.terminate()
        assert 143 == process.wait(SECONDS)
        wait_until_all_ended(process)


def test_a_training_holds_its_lock_until_its_last_process_ends(tmp_path):
    with training(tmp_path) as (process, run):
        child = child_of(process)
        os.kill(child, signal.SIGSTOP)  # as if its step took long
        for end in (lambda: None, process.kill):
            end()
            line = refused("train", "--resume", run.directory)
            assert f"'{run.directory}' is in use: process {process.pid} on " in line
            assert "Wait until it and its child processes end" in line
        os.kill(child, signal.SIGCONT)
        wait_until_all_ended(process)
    assert_saved_once(run)
