"""Trainings whose process sends itself a signal at a chosen moment, however fast or slow the machine is.

The process does what the one that `diptych train` starts does, with a counter before one function.
"""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from diptych.artifacts.events import read_events
from diptych.processes import engine_environment
from diptych.training import checkpoint

PLACES = {
    "step": "before a step",
    "validated": "in a validation, when its logits are there",
    "evaluated": "in the final evaluation",
    "synced": "before an fsync: in a save, or as an event is written",
    "renamed": "before a rename: in a save",
    "moved": "after a rename",
    "delay": "so many seconds after the first step has begun",
    "never": "not at all",
}
SCRIPT = """
import json, os, sys, threading, time
from pathlib import Path

from diptych.artifacts.run import Run
from diptych.training import process, provenance, trainer

place, number, which = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
calls, sent, optimizers = 0, None, []

def steps():
    return optimizers[-1].step if optimizers else 0

def send():
    global sent
    sent = {"steps_before": steps(), "time": time.perf_counter()}
    os.kill(os.getpid(), which)

def count():
    global calls
    calls += 1
    if calls == number:
        send()

def counted(module, name, after=False):
    function = getattr(module, name)
    def call(*args, **settings):
        if not after:
            count()
        result = function(*args, **settings)
        if after:
            count()
        return result
    setattr(module, name, call)

def watched(batches):
    timer = threading.Timer(number, send)
    timer.daemon = True
    def generate(*args):
        for batch in batches(*args):
            if place == "delay" and not timer.ident:
                timer.start()
            if place == "step":
                count()
            yield batch
    return generate

def noted(make):
    def new(self, *args):
        make(self, *args)
        optimizers.append(self.optimizer)
    return new

trainer.Trainer.__init__ = noted(trainer.Trainer.__init__)
trainer._until = watched(trainer._until)
functions = {
    "validated": (trainer, "log_softmax"),
    "evaluated": (process, "evaluate_logits"),
    "synced": (os, "fsync"),
    "renamed": (os, "replace"),
    "moved": (os, "replace", True),
}
if place in functions:
    counted(*functions[place])

run = Run.open(Path(sys.argv[4]))
dataset = provenance.load_data(run.read_record())
code = 0
try:
    process.train_run(run, process.Settings(**json.loads(sys.argv[5])), dataset, lambda kind, fields: None)
except SystemExit as ended:
    code = ended.code
if sent:
    seconds = time.perf_counter() - sent["time"]
    print(json.dumps({"steps_before": sent["steps_before"], "steps": steps(), "seconds": seconds}), file=sys.stderr)
sys.exit(code)
"""


class Moment(NamedTuple):
    """When a process sends itself a signal: see `PLACES`; the `number` of the call, or the seconds."""

    place: str
    number: float


class Stop(NamedTuple):
    """How a process took SIGTERM: steps that were taken before the signal and in all, and how long it took."""

    steps_before: int
    steps: int
    seconds: float


def _trained(run, settings, moment, which):
    command = [sys.executable, "-c", SCRIPT, moment.place, str(moment.number), str(int(which))]
    command += [str(run.directory), json.dumps(asdict(settings))]
    return subprocess.run(command, env=engine_environment(settings.engine), capture_output=True, text=True, check=False)


def killed(run, settings, moment):
    """Whether a training was killed at a moment; else it ended before."""
    done = _trained(run, settings, moment, signal.SIGKILL)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def terminated(run, settings, moment):
    """Send a training SIGTERM at a moment."""
    done = _trained(run, settings, moment, signal.SIGTERM)
    assert 128 + signal.SIGTERM == done.returncode, done.stderr
    return Stop(**json.loads(done.stderr.splitlines()[-1]))


def finish(run, settings):
    """Train to the end."""
    assert not killed(run, settings, Moment("never", 0))


def assert_same_to_the_last_bit(expected, run):
    """Compare kept weights, the last state with its averages, test logits, metrics and the log of epochs."""
    assert expected.model_path.read_bytes() == run.model_path.read_bytes()
    ours, theirs = (checkpoint.load(one) for one in (expected, run))
    for name in ("weights", "optimizer", "best"):
        first, second = (getattr(state, name) or {} for state in (ours, theirs))
        assert first.keys() == second.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(array, second[key], strict=True, err_msg=f"{name} {key}")
    assert ours.best_epoch == theirs.best_epoch
    np.testing.assert_array_equal(expected.read_predictions().logits_nk, run.read_predictions().logits_nk)
    assert expected.metrics_path.read_bytes() == run.metrics_path.read_bytes()
    assert untimed(read_events(expected.events_path, "epoch")) == untimed(read_events(run.events_path, "epoch"))
    assert untimed(ours.epochs) == untimed(theirs.epochs)


def untimed(epochs):
    """Epochs' records without what a clock measured."""
    clock = ("time", "seconds", "images_per_second")
    return [{name: value for name, value in epoch.items() if name not in clock} for epoch in epochs]
