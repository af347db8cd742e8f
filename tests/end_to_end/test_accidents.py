"""What befalls a real `diptych train`, by its own command line: it loses nothing, and ends as if nothing had been."""

import os
import re
import shutil
import signal
import time
from contextlib import contextmanager
from functools import cache

import cv2
import pytest
from commands import SECONDS, hidden, num_living, process, start, train, wait_until_nobody_lives
from killing import assert_same_to_the_last_bit

from diptych.artifacts.events import read_events
from diptych.artifacts.locks import locked
from diptych.artifacts.run import Run
from diptych.training import checkpoint, provenance

pytestmark = pytest.mark.slow
EPOCHS = 8
NUM_STEPS = EPOCHS * 21
# Dropout, batch norm and averages: all that a state could forget.
LEARNING = ("--model", "cnn", "--epochs", EPOCHS, "--precision", "float32", "--average-decay", 0.9)
ASKED = ("train", "digits", *LEARNING, "--checkpoint-steps", 5)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A function that gives the run of an engine that nothing befell."""

    @cache
    def trained(engine):
        return train(*ASKED[1:], "--engine", engine, "--out", tmp_path_factory.mktemp("unbroken"))[0]

    return trained


@pytest.fixture
def training(tmp_path, engine_name):
    """A training in a process group of its own, and its run: its first epoch is over."""
    with begun(*ASKED, "--engine", engine_name, "--out", tmp_path) as found:
        yield found


@contextmanager
def begun(*arguments):
    """A command that trains, and its run, when its first epoch is over; the folder of runs is the last argument."""
    started, out = start(*arguments), arguments[-1]
    try:
        while started.poll() is None and not (logs := list(out.glob("*/events.jsonl"))):
            time.sleep(0.02)
        while started.poll() is None and not read_events(logs[0], "epoch"):
            time.sleep(0.02)
        assert started.poll() is None, started.communicate()
        yield started, Run.open(logs[0].parent)
    finally:
        if num_living(started.pid):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def assert_goes_on_to(expected, run):
    """`diptych train --resume` ends as an undisturbed training, sealed and with nothing left over."""
    told = process("train", "--resume", run.directory, "--json")
    assert (0, "") == (told.code, told.err)
    num_arrays = assert_same_to_the_last_bit(expected, run)
    print(f"{num_arrays} arrays, predictions, metrics and log of epochs equal to the last bit")
    assert ["finished"] == [summary["status"] for summary in told.json]
    assert not run.read_record().failure
    assert [] == hidden(run)
    run.verify()


@pytest.mark.parametrize(
    ("send", "status"),
    [(os.killpg, "running"), (os.kill, "stopped")],
    ids=["the whole group", "the command alone"],
)
def test_what_sigkill_ended_goes_on_bit_for_bit(training, unbroken, engine_name, send, status):
    started, run = training
    sent = time.monotonic()
    send(started.pid, signal.SIGKILL)
    assert -signal.SIGKILL == started.wait(SECONDS)
    wait_until_nobody_lives(started)
    state = checkpoint.load(run)
    print(
        f"\n{engine_name}, SIGKILL {send.__name__}: nobody lived after {time.monotonic() - sent:.2f} s; "
        f"{state.optimizer['step']} of {NUM_STEPS} steps were saved"
    )
    assert status == run.read_record().status
    assert 0 < state.optimizer["step"] < NUM_STEPS
    # The lock's file is still there, and nobody's.
    assert (run.directory / ".lock").exists()
    with locked(run.directory, "looking"):
        pass
    assert_goes_on_to(unbroken(engine_name), run)


FULL = re.compile(
    r"diptych: (Cannot write '([^']+)': No space left on device after ([\d,]+) of ([\d,]+) bytes\. "
    r"[\d,]+ bytes are free there; make room, or raise the quota\. The training continues with --resume\.)\n"
)


def test_a_disk_that_fills_up_costs_no_checkpoint(mounted, unbroken, engine_name):
    expected = unbroken(engine_name)
    saved = sum(path.stat().st_size for path in expected.checkpoints_dir.rglob("*.*")) / 2
    disk = mounted(f"size={int(2.5 * saved)}")  # two checkpoints have room, the third has not
    run = Run(disk / expected.directory.name)
    names = {f"step-{step:08}" for step in (5, 10)}
    begun = (*ASKED, "--engine", engine_name, "--out", disk, "--threads", 1)
    for command in (begun, ("train", "--resume", run.directory)):  # before there is room, it ends in the same way
        told = process(*command)
        print(f"\n{told.err.strip()}")
        assert (2, "") == (told.code, told.out)
        said = FULL.fullmatch(told.err)
        assert said, told.err
        assert str(run.checkpoints_dir / ".step-00000015" / "state.safetensors") == said[2]
        written, wanted = (int(number.replace(",", "")) for number in said.group(3, 4))
        assert 0 < written < wanted
        assert ("failed", said[1]) == (run.read_record().status, run.read_record().failure)
        assert [] == hidden(run)
        assert names == {path.name for path in run.checkpoints_dir.iterdir()}
        assert 10 == checkpoint.load(run).optimizer["step"]
    mounted(f"remount,size={int(20 * saved)}")
    assert_goes_on_to(expected, run)


@pytest.fixture(scope="module")
def digit_folder(tmp_path_factory, digits):
    """Every training image of digits as a PNG, in class folders."""
    folder = tmp_path_factory.mktemp("data") / "digits-as-files"
    for place, (image_hwc, label) in enumerate(zip(digits.train.images, digits.train.labels, strict=True)):
        path = folder / str(label) / f"{place:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image_hwc)
    return folder


def test_a_training_that_failed_says_why_and_goes_on_when_that_is_mended(digit_folder, tmp_path, engine_name):
    streamed = (
        "train",
        digit_folder,
        *LEARNING,
        "--image-size",
        8,
        "--channels",
        1,
        "--cache",
        "never",
        "--workers",
        1,
    )
    streamed += ("--engine", engine_name, "--checkpoint-steps", 5, "--out")
    (expected,) = train(*streamed[1:], tmp_path / "unbroken")
    broken = digit_folder / provenance.load_data(expected.read_record()).train.ids[0]
    whole, other = shutil.copy(broken, tmp_path / "whole.png"), tmp_path / "other.png"
    other.write_bytes(b"no image any more")
    with begun(*streamed, tmp_path / "out") as (started, run):
        other.replace(broken)
        _, err = started.communicate(timeout=SECONDS)
    print(f"\n{engine_name}: {err.strip()}")
    assert (2, 1) == (started.returncode, len(err.splitlines()))
    assert broken.name in err
    assert "changed while it was in use" in err
    record = run.read_record()
    assert ("failed", err) == (record.status, f"diptych: {record.failure}\n")
    assert 0 < checkpoint.load(run).optimizer["step"] < NUM_STEPS
    shutil.copy(whole, broken)
    assert_goes_on_to(expected, run)
