"""A folder is one process's at a time, and nobody's as soon as that process has ended, however it ended."""

import os
import re
import signal
import subprocess
import sys

import pytest

from diptych.artifacts.locks import locked
from diptych.errors import ArtifactError

HOLD = """
import sys
from pathlib import Path
from diptych.artifacts.locks import locked
with locked(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path` until its input ends."""
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert "held\n" == started.stdout.readline()
        yield started


def take(folder):
    with locked(folder, "training"):
        return (folder / ".lock").read_text()


def test_the_second_is_refused_and_told_who_holds_the_lock(tmp_path, holder):
    with pytest.raises(ArtifactError) as raised:
        take(tmp_path)
    who = rf"process {holder.pid} on \S+, training since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    wanted = rf"'{re.escape(str(tmp_path))}' is in use: {who}\. Wait until it and all it started end, or end them\."
    assert re.fullmatch(wanted, str(raised.value))


def test_a_lock_is_taken_over_when_its_holder_was_killed(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert f"process {holder.pid} on" in (tmp_path / ".lock").read_text()
    assert f"process {os.getpid()} on" in take(tmp_path)


def test_a_lock_is_not_free_in_its_own_process(tmp_path):
    with locked(tmp_path, "training"), pytest.raises(ArtifactError, match=f"is in use: process {os.getpid()}"):
        take(tmp_path)


def test_a_folder_that_is_not_there_cannot_be_locked(tmp_path):
    with pytest.raises(ArtifactError, match=r"Cannot write '.*absent/\.lock': No such file"):
        take(tmp_path / "absent")
