"""Ways to call the command line: in this process, or in one of its own where that matters."""

import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from diptych.artifacts import Run
from diptych.cli import main

# PyTorch's threads become fifty times slower when they wait for a core that another process has.
ONE_THREAD = ("--threads", 1)
# How long what should end soon may take on a machine that others use, too.
SECONDS = 120
PROGRESS = re.compile(r"^[^:\n]+: epoch \d+/\d+, .*\n", re.MULTILINE)


class Told(NamedTuple):
    """What a command said; `err` leaves out the lines of progress."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def diptych(*arguments):
    """The command line, called in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
    return Told(code, out.getvalue(), PROGRESS.sub("", err.getvalue()))


def process(*arguments, python=sys.executable, **settings):
    """`python -m diptych ARGUMENTS`, in a process of its own."""
    command = [python, "-m", "diptych", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, **{"env": environment, **settings}, capture_output=True, text=True, check=False)
    return Told(done.returncode, done.stdout, PROGRESS.sub("", done.stderr))


def train(*arguments):
    """The runs of one training command."""
    told = diptych("train", *arguments, *ONE_THREAD, "--json")
    assert (0, "") == (told.code, told.err), told
    return [Run.open(Path(summary["run"])) for summary in told.json]


def start(*arguments, **environment):
    """A command in a process group of its own."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments), "--threads", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, env={**os.environ, **environment}, **pipes)


def num_living(group):
    """Processes of a group that have not ended; one whose first thread has ended holds its files until all have."""
    command = ["ps", "-A", "-L", "-o", "pid=,pgid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    threads = map(str.split, listed.splitlines())
    return len({pid for pid, pgid, state in threads if int(pgid) == group and not state.startswith("Z")})


def child_of(started):
    """The process that a command has started."""
    command = ["ps", "-o", "pid=", "--ppid", str(started.pid)]
    (found,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(found)


def wait_until_nobody_lives(started):
    """Wait for every process of a command's group to end."""
    end = time.monotonic() + SECONDS
    while num_living(started.pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def hidden(run):
    """Hidden files, but for the lock."""
    return [path for path in run.directory.rglob(".*") if path.name != ".lock"]
