"""A training that was stopped or interrupted goes on, in the same engine, bit for bit as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from functools import cache

import numpy as np
import pytest
from commands import diptych, train
from killing import assert_same_to_the_last_bit

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.training import checkpoint

EPOCHS = 4
# Dropout, batch norm and averaged weights: all that a state could forget.
ASKED = ("digits", "--model", "cnn", "--epochs", EPOCHS, "--precision", "float32", "--average-decay", 0.9)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def unbroken(out):
    """A function that gives the training of an engine that nothing stopped."""
    return cache(lambda engine: train(*ASKED, "--engine", engine, "--out", out)[0])


def test_a_stopped_tensorflow_training_goes_on_bit_for_bit(out, unbroken):
    (run,) = train(*ASKED, "--engine", "tensorflow", "--out", out, "--stop-after", 2)
    assert "stopped" == run.read_record().status
    assert not run.model_path.exists()
    train("--resume", run.directory)
    assert_same_to_the_last_bit(unbroken("tensorflow"), run)
    assert list(range(1, EPOCHS + 1)) == [epoch["epoch"] for epoch in read_events(run.events_path, "epoch")]
    run.verify()


def test_the_averages_are_what_is_kept(unbroken, engine_name):
    run = unbroken(engine_name)
    kept, _ = read_arrays(run.model_path)
    state = checkpoint.load(run)
    for name, array in kept.items():
        np.testing.assert_array_equal(state.optimizer[f"average/{name}"], array)
    assert not np.array_equal(state.weights["fc1.weight"], kept["fc1.weight"])


@pytest.fixture(scope="module")
def interrupted(out):
    """A PyTorch training that Ctrl-C ended after its first epoch, with its exit code and what it said."""
    parent = out / "interrupted"
    command = [sys.executable, "-m", "diptych", "train", *map(str, ASKED), "--out", str(parent), "--threads", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as started:
        events = parent / "digits-cnn-torch" / "events.jsonl"
        while started.poll() is None and not (events.exists() and read_events(events, "epoch")):
            time.sleep(0.01)
        os.killpg(started.pid, signal.SIGINT)
        out, err = started.communicate(timeout=60)
    return Run.open(parent / "digits-cnn-torch"), (started.returncode, out, err)


def test_ctrl_c_ends_a_training_with_one_line_and_130(interrupted):
    run, told = interrupted
    assert (130, "", f"diptych: interrupted. Resume with: diptych train --resume {run.directory}\n") == told


def test_a_run_that_has_not_finished_answers_nothing_yet(interrupted):
    run, _ = interrupted
    told = diptych("evaluate", run.directory)
    assert (2, "") == (told.code, told.out)
    assert f"Resume it with: diptych train --resume {run.directory}" in told.err


def test_an_interrupted_pytorch_training_goes_on_bit_for_bit(interrupted, unbroken):
    run, _ = interrupted
    train("--resume", run.directory)
    assert_same_to_the_last_bit(unbroken("torch"), run)
    run.verify()
