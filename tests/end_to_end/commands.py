"""Run the command line in this process, or in one of its own."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from diptych.artifacts.run import Run
from diptych.cli import main

# PyTorch's threads become fifty times slower if they wait for a core that another process uses.
ONE_THREAD = ("--threads", 1)
# Limit for a command that should end soon, on a machine that is busy.
SECONDS = 120
GOLDEN = Path(__file__).parents[1] / "golden"
NUMBER = re.compile(r"-?\d[\d.e-]*")
PROGRESS = re.compile(r"^[^:\n]+: epoch \d+/\d+, .*\n", re.MULTILINE)


class Result(NamedTuple):
    """Exit code and output of a command; `err` leaves out the lines of progress."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def diptych(*arguments):
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
    return Result(code, out.getvalue(), PROGRESS.sub("", err.getvalue()))


def answered(*arguments):
    """The JSON that a command prints, and nothing else."""
    result = diptych(*arguments, "--json")
    assert (0, "") == (result.code, result.err), result
    return result.json


def refused(*arguments):
    """The line by which a command says why it does nothing."""
    result = diptych(*arguments)
    assert (2, "", 1) == (result.code, result.out, len(result.err.splitlines())), result
    return result.err.rstrip()


def process(*arguments, **settings):
    """Run `python -m diptych ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, **{"env": environment, **settings}, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, PROGRESS.sub("", done.stderr))


def train(*arguments):
    """Train, and return the runs."""
    return [Run.open(Path(summary["run"])) for summary in answered("train", *arguments, *ONE_THREAD)]


@contextmanager
def started(*arguments, until, **environment):
    """A command in a process group of its own that has come to a point; all its processes end with the block."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments), "--threads", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, **environment}, **pipes)
    try:
        while process.poll() is None and not until():
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        if num_living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def num_living(group):
    """Number of running processes in a group; a process runs until all of its threads have ended."""
    command = ["ps", "-A", "-L", "-o", "pid=,pgid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    threads = map(str.split, listed.splitlines())
    return len({pid for pid, pgid, state in threads if int(pgid) == group and not state.startswith("Z")})


def child_of(started):
    """PID of the process that a command started."""
    return int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(started.pid)]))


def wait_until_all_ended(started):
    """Wait until every process of a command's group has ended."""
    end = time.monotonic() + SECONDS
    while num_living(started.pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def hidden(run):
    """Hidden files except the lock."""
    return [path for path in run.directory.rglob(".*") if path.name != ".lock"]


def assert_metrics_of(run, metrics):
    """Compare metrics with the run's own: floats to 1e-5, everything else exactly."""
    assert ("digits", "test split") == (metrics["data"]["name"], metrics["data"]["used"])
    own = {**run.read_metrics(), "data": metrics["data"]}
    texts = [NUMBER.sub("", json.dumps(one, sort_keys=True)) for one in (own, metrics)]
    numbers = [list(map(float, NUMBER.findall(json.dumps(one, sort_keys=True)))) for one in (own, metrics)]
    assert texts[0] == texts[1]
    np.testing.assert_allclose(numbers[1], numbers[0], rtol=0, atol=1e-5)


def assert_same_state(expected, found):
    """Two checkpoints have the same arrays to the last bit, and the same best epoch."""
    assert expected.best_epoch == found.best_epoch
    for name in ("weights", "optimizer", "best"):
        ours, theirs = (getattr(state, name) or {} for state in (expected, found))
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            np.testing.assert_array_equal(array, theirs[key], strict=True, err_msg=f"{name} {key}")


def write_image(path, image_hwc):
    """Write an image, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image_hwc)


def write_split(folder, split):
    """Write a split as a folder of class folders; return it."""
    for place, (image_hwc, label) in enumerate(zip(split.images, split.labels, strict=True)):
        write_image(folder / str(label) / f"{place:04}.png", image_hwc)
    return folder


def golden(name, now):
    """Return the content of `tests/golden/<name>`; DIPTYCH_UPDATE_GOLDEN=1 writes `now` there before."""
    path = GOLDEN / name
    if os.environ.get("DIPTYCH_UPDATE_GOLDEN"):
        path.write_text(now, encoding="utf-8")
    return path.read_text(encoding="utf-8")
