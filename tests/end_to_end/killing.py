"""Trainings whose process kills itself with SIGKILL at a chosen moment, however fast or slow the machine is.

The process is the one that `diptych train` starts; only its `main` is called by a script that has put a counter before
one function. What is counted is named in `PLACES`; a `delay` is in seconds.
"""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from diptych.artifacts import read_events
from diptych.engines.worker import environment
from diptych.training import checkpoint

# Each with how many calls there are at least in a run of a dozen steps.
PLACES = {
    "step": "before a step",
    "validated": "in a validation, when its logits are there",
    "synced": "before an fsync: in a save, or as an event is written",
    "renamed": "before a rename: in a save",
    "moved": "after a rename",
    "evaluated": "in the final evaluation",
    "delay": "after so many seconds from the first step",
}
SCRIPT = """
import os, signal, sys, threading

place, number = sys.argv[1], float(sys.argv[2])
calls = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def count():
    global calls
    calls += 1
    if calls == number:
        die()

def before(function):
    def call(*arguments, **settings):
        count()
        return function(*arguments, **settings)
    return call

def after(function):
    def call(*arguments, **settings):
        answer = function(*arguments, **settings)
        count()
        return answer
    return call

from diptych.training import child, execute, fit, learner

def watched(batches):
    def give(*arguments):
        for batch in batches(*arguments):
            if place == "step":
                count()
            elif place == "delay" and not calls:
                threading.Timer(number, die).start()
            yield batch
    return give

match place:
    case "step" | "delay":
        fit._until = watched(fit._until)
    case "validated":
        learner.log_softmax = before(learner.log_softmax)
    case "evaluated":
        execute.evaluate_logits = before(execute.evaluate_logits)
    case "synced":
        os.fsync = before(os.fsync)
    case "renamed":
        os.replace = before(os.replace)
    case "moved":
        os.replace = after(os.replace)

sys.exit(child.main(sys.argv[3:]))
"""


class Moment(NamedTuple):
    """When a process kills itself."""

    place: str
    number: float


def killed(run, settings, moment):
    """Whether a training, begun or gone on with, came to a moment and was killed there; else it ended."""
    command = [sys.executable, "-c", SCRIPT, moment.place, str(moment.number)]
    command += [str(run.directory), json.dumps(asdict(settings))]
    done = subprocess.run(command, env=environment(settings.engine), capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def finish(run, settings):
    """Go on with a training to its end."""
    assert not killed(run, settings, Moment("never", 0))


def record_of(epoch):
    """An epoch's record without what a clock measured."""
    return {name: value for name, value in epoch.items() if name not in ("time", "seconds", "images_per_second")}


def assert_same_to_the_last_bit(expected, run):
    """Kept weights, last state with its averages, test logits, metrics, and the log of epochs; how many arrays it was."""
    assert expected.model_path.read_bytes() == run.model_path.read_bytes()
    ours, theirs = (checkpoint.load(one) for one in (expected, run))
    num_arrays = 0
    for name in ("weights", "optimizer", "best"):
        first, second = (getattr(state, name) or {} for state in (ours, theirs))
        assert first.keys() == second.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(array, second[key], strict=True, err_msg=f"{name} {key}")
            num_arrays += 1
    assert ours.best_epoch == theirs.best_epoch
    np.testing.assert_array_equal(expected.read_predictions().logits_nk, run.read_predictions().logits_nk)
    assert expected.metrics_path.read_bytes() == run.metrics_path.read_bytes()
    logs = [[record_of(epoch) for epoch in read_events(one.events_path, "epoch")] for one in (expected, run)]
    assert logs[0] == logs[1]
    assert [record_of(epoch) for epoch in ours.epochs] == [record_of(epoch) for epoch in theirs.epochs]
    return num_arrays
