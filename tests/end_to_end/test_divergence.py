"""A training whose numbers are no longer finite stops at that step and keeps its last good state."""

import json
from functools import cache

import numpy as np
import pytest
from commands import ONE_THREAD, diptych, refused

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.data.batches import batch_bounds, order
from diptych.training import checkpoint, provenance

PLAIN = ("--model", "mlp", "--precision", "float32", "--warmup-epochs", 0, "--schedule", "constant", "--momentum", 0)
# Decay that overshoots: each step flips weights and makes them larger, until they overflow in the second epoch.
OVERSHOOT = ("--optimizer", "sgd", "--l2", 21, "--learning-rate", 0.1, "--mixup", 0.2, "--batch-size", 128)


def train(out, engine, *args):
    line = refused("train", "digits", *PLAIN, *args, "--engine", engine, "--out", out, *ONE_THREAD, "--json")
    return Run.open(out / f"digits-mlp-{engine}"), line


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A function that returns an engine's run whose loss diverged, and the error."""
    return cache(lambda engine: train(tmp_path_factory.mktemp("runs"), engine, *OVERSHOOT, "--epochs", 3))


def test_a_loss_that_diverges_is_reported_with_its_step_and_samples(diverged, engine_name):
    run, err = diverged(engine_name)
    found = json.loads((run.directory / "diverged.json").read_text())
    place = f"diptych: The training diverged in epoch 2 at step {found['step']} of 11: its loss is {found['loss']}. "
    assert err.startswith(place)
    assert f"'{run.directory / 'diverged.json'}' lists the samples or arrays" in err
    assert "diverged" == run.read_record().status
    assert 1 == len(read_events(run.events_path, "diverged"))
    split = provenance.load_data(run.read_record()).train
    chosen = order(len(split), 0, 2)[batch_bounds(len(split), 128)[found["step"] - 1]]
    assert [split.ids[index] for index in chosen] == [sample["id"] for sample in found["samples"]]
    assert [str(split.labels[index]) for index in chosen] == [sample["class"] for sample in found["samples"]]
    assert all(sample["partner"] in split.ids for sample in found["samples"])
    state = checkpoint.load(run)
    assert all(np.isfinite(array).all() for array in (*state.weights.values(), *state.optimizer.values()))
    assert found["global_step"] == 11 + found["step"] > state.optimizer["step"]


def test_a_diverged_training_resumes_only_with_force(diverged):
    run, _ = diverged("torch")
    assert "it diverged and would diverge again" in refused("train", "--resume", run.directory)
    again = diptych("train", "--resume", run.directory, "--force")
    assert (2, True) == (again.code, "The training diverged in epoch 2 at step " in again.err)
    assert [("it has diverged",)] == [forced.differences for forced in run.read_record().forced]


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--optimizer", "sgd", "--learning-rate", 3e38, "--l2", 1e3), "weights are not finite ("),
        (("--optimizer", "adam", "--l2", 1e22), "optimizer state is not finite (optimizer/second_mom"),
    ],
    ids=["weights", "optimizer"],
)
def test_numbers_that_overflow_after_a_finite_loss_are_never_saved(tmp_path, engine_name, args, what):
    run, err = train(tmp_path, engine_name, *args, "--batch-size", 64, "--checkpoint-steps", 1)
    assert f"The training diverged in epoch 1 by step 1 of 21: its {what}" in err
    assert checkpoint.load(run) is None
