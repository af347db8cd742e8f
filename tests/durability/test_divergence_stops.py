"""Wherever a training that diverges stops, its last good state is there, and how it diverged, or is found again."""

import os
from itertools import count
from pathlib import Path

import faults
import pytest
import states

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_json
from diptych.errors import EngineError
from diptych.processes import call, engine_environment
from diptych.spec import Recipe, zoo
from diptych.training import checkpoint, provenance
from diptych.training.process import Settings, execute
from diptych.training.trainer import Diverged, Stopping

# Decay that overshoots: each step flips weights and makes them larger, until they overflow in the second epoch.
OVERSHOOT = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "l2": 21.0, "schedule": "constant"}
RECIPE = Recipe(**OVERSHOOT, warmup_epochs=0.0, epochs=3, batch_size=128, precision="float32")


def diverge(root):
    """Train a new run until it diverges; return the files before its second epoch and every change since."""
    run, dataset = create(root)
    train(run, dataset, stop_after=1)
    before = faults.read_files(run.directory)
    with faults.watched(run.directory) as changes, pytest.raises(Diverged):
        train(run, dataset)
    # Nothing depends on curves, and removing what is not there changes nothing.
    return before, [change for change in changes if change.path and not change.path.startswith("tensorboard")]


def create(root):
    source = provenance.DataSource("digits")
    dataset = source.load()
    spec = zoo.model("mlp", dataset.image_shape, dataset.num_classes)
    return provenance.create(root, "run", source, dataset, spec, RECIPE, 0, "torch"), dataset


def train(run, dataset, **settings):
    execute(run, Settings("torch", 1, **settings), dataset, lambda kind, fields: None, Stopping())


def train_again(run):
    train(run, provenance.load_data(run.read_record()))


@pytest.mark.slow
def test_a_power_loss_at_any_change_leaves_a_good_state_and_what_happened(tmp_path):
    env = engine_environment("torch")
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])
    before, changes = call(diverge, tmp_path, env=env)
    whole, folders = Run.open(tmp_path / "run"), (tmp_path / f"state{number}" for number in count())
    good, details = checkpoint.load(whole), read_json(whole.divergence_path)
    num_states, undetected = 0, None
    for _, files in faults.power_losses(before, changes):
        run, num_states, messages = Run(next(folders)), num_states + 1, []
        run.directory.mkdir()
        faults.write_files(run.directory, files)
        states.assert_equal(good, checkpoint.load(run, lambda *message, to=messages: to.append(message)))
        assert [] == messages
        if run.divergence_path.exists():
            assert details == read_json(run.divergence_path)
        else:
            assert run.read_record().status in {"stopped", "running"}
            provenance.check_unfinished(run, force=False)  # so that it can be found again
            undetected = run
    renames = [change.to for change in changes if change.kind == "rename" and change.to != "events.jsonl"]
    assert ["run.json", "diverged.json", "run.json"] == renames
    assert num_states > len(changes)
    with pytest.raises(EngineError, match=f"diverged in epoch 2 at step {details['step']} of"):
        call(train_again, undetected, env=env)
    assert details == read_json(undetected.divergence_path)
    assert ("diverged", 1) == (undetected.read_record().status, len(read_events(undetected.events_path, "diverged")))
