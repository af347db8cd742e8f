"""Trainings whose process sends itself a signal at a chosen moment, however fast or slow the machine is.

Run as a program, this does what the process that `diptych train` starts does, with a counter before one function.
"""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from itertools import count
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import numpy as np
from commands import SECONDS, assert_same_state

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.processes import engine_environment
from diptych.training import checkpoint, process, provenance, trainer

# The calls that a moment counts; "step" counts steps, and "delay" is seconds after the first one has begun.
CALLS = {
    "validated": (trainer, "log_softmax"),
    "evaluated": (process, "evaluate_logits"),
    "synced": (os, "fsync"),
    "renamed": (os, "replace"),
}


class Moment(NamedTuple):
    """Before which call of a place, or after how many seconds, a process sends itself a signal."""

    place: str
    number: float


def main(directory, settings, moment, which):
    """Train a run in this process, which at a moment says how many steps it has taken and gets a signal."""
    calls, trainers = count(1), []
    until, make = trainer._until, trainer.Trainer.__init__

    def send():
        print("steps:", trainers[-1].optimizer.step if trainers else 0, file=sys.stderr, flush=True)
        os.kill(os.getpid(), which)

    def counted(function):
        def call(*args, **named):
            if next(calls) == moment.number:
                send()
            return function(*args, **named)

        return call

    def watched(*args):
        for batch in until(*args):
            number = next(calls) if moment.place in ("step", "delay") else 0
            if moment.place == "delay" and number == 1:
                timer = Timer(moment.number, send)
                timer.daemon = True
                timer.start()
            if moment.place == "step" and number == moment.number:
                send()
            yield batch

    def noted(self, *args):
        make(self, *args)
        trainers.append(self)

    trainer._until, trainer.Trainer.__init__ = watched, noted
    if moment.place in CALLS:
        module, name = CALLS[moment.place]
        setattr(module, name, counted(getattr(module, name)))
    run = Run.open(Path(directory))
    dataset = provenance.load_data(run.read_record())
    process.train_run(run, process.Settings(**settings), dataset, lambda kind, fields: None)


def _trained(run, settings, moment, which):
    """Exit code and last output of a training that gets a signal."""
    arguments = json.dumps([str(run.directory), asdict(settings), moment, which])
    env = engine_environment(settings.engine) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)
    return done.returncode, done.stderr


def killed(run, settings, moment):
    """Whether a training was killed at a moment; else it ended before."""
    code, err = _trained(run, settings, moment, signal.SIGKILL)
    assert code in (0, -signal.SIGKILL), err
    return code != 0


def terminated(run, settings, moment):
    """Send a training SIGTERM at a moment; return how many steps it had taken then."""
    code, err = _trained(run, settings, moment, signal.SIGTERM)
    assert 128 + signal.SIGTERM == code, err
    return int(re.search(r"^steps: (\d+)$", err, re.MULTILINE)[1])


def assert_same_to_the_last_bit(expected, run):
    """Compare kept weights, the last state with its averages, test logits, metrics and the log of epochs."""
    assert expected.model_path.read_bytes() == run.model_path.read_bytes()
    ours, theirs = (checkpoint.load(one) for one in (expected, run))
    assert_same_state(ours, theirs)
    np.testing.assert_array_equal(expected.read_predictions().logits_nk, run.read_predictions().logits_nk)
    assert expected.metrics_path.read_bytes() == run.metrics_path.read_bytes()
    assert untimed(read_events(expected.events_path, "epoch")) == untimed(read_events(run.events_path, "epoch"))
    assert untimed(ours.epochs) == untimed(theirs.epochs)


def untimed(epochs):
    """Epochs' records without what a clock measured."""
    clock = ("time", "seconds", "images_per_second")
    return [{name: value for name, value in epoch.items() if name not in clock} for epoch in epochs]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(*given[:2], Moment(*given[2]), given[3])
