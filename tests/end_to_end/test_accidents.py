"""Accidents of a real `diptych train`: nothing saved is lost, and the resumed run ends as if undisturbed."""

import shutil
from functools import cache

import numpy as np
import pytest
from commands import ONE_THREAD, SECONDS, answered, diptych, hidden, started, train, write_split
from killing import assert_same_to_the_last_bit

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.training import checkpoint, provenance

EPOCHS = 5
# Dropout, batch norm and averages: all that a state could forget.
LEARNING = ("--model", "cnn", "--epochs", EPOCHS, "--batch-size", 64, "--precision", "float32", "--average-decay", 0.9)
ARGS = ("train", "digits", *LEARNING, "--checkpoint-steps", 5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function that trains an engine's run without an accident."""
    return cache(lambda engine: train(*ARGS[1:], "--engine", engine, "--out", tmp_path_factory.mktemp("runs"))[0])


def assert_resumes_to(expected, run):
    """`diptych train --resume` ends as an undisturbed training, sealed and with nothing left over."""
    summaries = answered("train", "--resume", run.directory, *ONE_THREAD)
    assert_same_to_the_last_bit(expected, run)
    assert ["finished"] == [summary["status"] for summary in summaries]
    assert not run.read_record().failure
    assert [] == hidden(run)
    run.verify()


def test_the_averages_are_the_weights_that_are_kept(undisturbed, engine_name):
    kept, _ = read_arrays(undisturbed(engine_name).model_path)
    state = checkpoint.load(undisturbed(engine_name))
    for name, array in kept.items():
        np.testing.assert_array_equal(state.optimizer[f"average/{name}"], array)
    assert not np.array_equal(state.weights["fc1.weight"], kept["fc1.weight"])


def test_a_disk_that_fills_up_costs_no_checkpoint(mounted, undisturbed):
    expected = undisturbed("torch")
    saved = sum(path.stat().st_size for path in expected.checkpoints_dir.rglob("*.*")) / 2
    disk = mounted(f"size={int(2.5 * saved)}")  # two checkpoints have room, the third has not
    run = Run(disk / expected.directory.name)
    full = f"diptych: Cannot write '{run.checkpoints_dir}/.step-00000015/state.safetensors': No space left on device"
    for args in ((*ARGS, "--out", disk), ("train", "--resume", run.directory)):
        result = diptych(*args, *ONE_THREAD)
        assert (2, "", full) == (result.code, result.out, result.err.splitlines()[-1][: len(full)]), result
        assert ("failed", f"diptych: {run.read_record().failure}") == (
            run.read_record().status,
            result.err.splitlines()[-1],
        )
        assert [] == hidden(run)
        assert 10 == checkpoint.load(run).optimizer["step"]
    mounted(f"remount,size={int(20 * saved)}")
    assert_resumes_to(expected, run)


def test_a_failed_training_records_why_and_resumes_when_that_is_fixed(tmp_path, digits):
    folder = write_split(tmp_path / "digits-as-files", digits.train)
    streamed = ("--image-size", 8, "--channels", 1, "--cache", "never", "--workers", 1, "--checkpoint-steps", 5)
    args = ("train", folder, *LEARNING, *streamed, "--out")
    (expected,) = train(*args[1:], tmp_path / "undisturbed")
    broken = folder / provenance.load_data(expected.read_record()).train.ids[0]
    whole, other = shutil.copy(broken, tmp_path / "whole.png"), tmp_path / "other.png"
    other.write_bytes(b"not an image")
    run = Run(tmp_path / "out" / expected.directory.name)

    def has_begun():
        return run.events_path.exists() and read_events(run.events_path, "epoch")

    with started(*args, tmp_path / "out", until=has_begun) as process:
        other.replace(broken)
        _, err = process.communicate(timeout=SECONDS)
    last = err.splitlines()[-1]
    assert 2 == process.returncode
    assert broken.name in last
    assert "changed while in use" in last
    assert ("failed", last) == (run.read_record().status, f"diptych: {run.read_record().failure}")
    assert 0 < checkpoint.load(run).optimizer["step"] < EPOCHS * 21
    shutil.copy(whole, broken)
    assert_resumes_to(expected, run)
