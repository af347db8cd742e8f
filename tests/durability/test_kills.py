"""A process that is killed while it saves, again and again, loses no checkpoint that it has saved."""

import os
import random
import signal
import time

import faults
import pytest
import states
from finished import record_of

from diptych.artifacts.run import Run
from diptych.training import checkpoint

MOST_SECONDS = 0.2


def saved(number):
    """The checkpoint with a number: every third epoch is a new best one."""
    return states.state(number, 10 * number, 1 + number // 3)


def save_for_ever(run, told):
    """Go on from the newest checkpoint and save one after the other, telling of each."""
    number, _ = states.load(run, saved)
    while True:
        number += 1
        checkpoint.save(run, saved(number))
        os.write(told, number.to_bytes(4, "little"))


def killed_after(seconds, run):
    """Kill a process that saves; the number of the last checkpoint that it told of, 0 if none."""
    reader, writer = os.pipe()
    pid = faults.start(lambda: save_for_ever(run, writer))
    os.close(writer)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(reader, "rb") as pipe:
        return int.from_bytes(pipe.read()[-4:], "little")


@pytest.mark.parametrize("num_kills", [10, pytest.param(100, marks=pytest.mark.long)])
def test_a_process_that_is_killed_at_a_random_moment_loses_no_checkpoint(tmp_path, num_kills):
    moments, run, returned, num_cut = random.Random(num_kills), Run.create(tmp_path, "run", record_of()), 0, 0
    for _ in range(num_kills):
        returned = max(returned, killed_after(moments.uniform(0, MOST_SECONDS), run))
        found, told = states.load(run, saved)
        assert (found in {returned, returned + 1}, []) == (True, told)
        returned, num_cut = found, num_cut + (len(list(run.directory.rglob(".*"))) > 0)
    print(f"\n{num_kills} kills in {returned} saves, {num_cut} of them in the middle of a file: 0 checkpoints lost")
    checkpoint.save(run, saved(returned + 1))
    states.assert_tidy(run)
