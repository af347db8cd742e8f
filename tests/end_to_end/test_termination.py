"""SIGTERM, as schedulers and containers send it, ends a command as Ctrl-C does: cleaned up, and nobody left running."""

import os
import signal
import subprocess
import sys
import time

import pytest
from commands import train

from diptych.artifacts import Run, read_events
from diptych.training import checkpoint

pytestmark = pytest.mark.slow
SETTINGS = ("digits", "--model", "mlp", "--precision", "float32")
SECONDS = 60


def start(*arguments, **environment):
    """A command in a process group of its own."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments), "--threads", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, env={**os.environ, **environment}, **pipes)


def num_living(group):
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return sum(int(pgid) == group and not state.startswith("Z") for pgid, state in map(str.split, listed.splitlines()))


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


def test_a_training_can_go_on(tmp_path, engine_name):
    started = start("train", *SETTINGS, "--epochs", 1000, "--engine", engine_name, "--out", tmp_path)
    directory = tmp_path / f"digits-mlp-{engine_name}"
    events = directory / "events.jsonl"
    told = told_when_terminated(started, lambda: events.exists() and read_events(events, "epoch"))
    assert (143, "", "diptych: interrupted. The training goes on with --resume.\n") == told
    assert [] == [*directory.rglob(".*")]
    num_epochs = len(checkpoint.load(Run.open(directory)).epochs)
    assert num_epochs >= len(read_events(events, "epoch")) > 0
    (gone_on,) = train("--resume", directory, "--stop-after", num_epochs + 1)
    assert num_epochs + 1 == len(checkpoint.load(gone_on).epochs)
