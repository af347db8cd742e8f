"""A training whose numbers break stops at that very step, and keeps its last good state."""

import json
from functools import cache

import numpy as np
import pytest
from commands import ONE_THREAD, diptych

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.data.batches import batch_bounds, order
from diptych.training import checkpoint, provenance

# Decay that overshoots: each step turns weights over and makes them larger, until they overflow in the second epoch.
DECAY = ("--l2", 21, "--learning-rate", 0.1, "--momentum", 0, "--schedule", "constant", "--warmup-epochs", 0)
ASKED = ("--model", "mlp", "--optimizer", "sgd", "--epochs", 3, "--precision", "float32", "--mixup", 0.2, *DECAY)
ASKED += ("--batch-size", 128)


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A function that gives an engine's run that diverged, and what was told."""

    @cache
    def train(engine):
        out = tmp_path_factory.mktemp("runs")
        told = diptych("train", "digits", *ASKED, "--engine", engine, "--out", out, *ONE_THREAD, "--json")
        return Run.open(out / f"digits-mlp-{engine}"), told

    return train


@pytest.fixture
def found(diverged, engine_name):
    return json.loads((diverged(engine_name)[0].directory / "diverged.json").read_text())


def files_of(run):
    """All that a run holds, but for what the framework printed and who held its lock."""
    files = (path for path in run.directory.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock"))
    return {path: path.read_bytes() for path in files}


def test_it_ends_with_one_line_that_names_epoch_step_loss_and_file(diverged, engine_name, found):
    run, told = diverged(engine_name)
    print(f"\n{told.err.strip()}")
    assert (2, "") == (told.code, told.out)
    place = f"diptych: The training diverged in epoch 2 at step {found['step']} of 11: its loss is {found['loss']}. "
    assert told.err.startswith(place)
    assert f"'{run.directory / 'diverged.json'}' lists the samples or arrays" in told.err
    assert "diverged" == run.read_record().status
    assert 1 == len(read_events(run.events_path, "diverged"))


def test_the_last_good_state_stays(diverged, engine_name, found):
    run, _ = diverged(engine_name)
    state = checkpoint.load(run)
    assert all(np.isfinite(array).all() for array in (*state.weights.values(), *state.optimizer.values()))
    assert found["global_step"] == 11 + found["step"] > state.optimizer["step"]


def test_the_samples_of_the_batch_are_named(diverged, engine_name, found):
    run, _ = diverged(engine_name)
    split = provenance.load_data(run.read_record()).train
    chosen = order(len(split), 0, 2)[batch_bounds(len(split), 128)[found["step"] - 1]]
    assert [split.ids[index] for index in chosen] == [sample["id"] for sample in found["samples"]]
    assert [str(split.labels[index]) for index in chosen] == [sample["class"] for sample in found["samples"]]
    assert all(sample["partner"] in split.ids for sample in found["samples"])


def test_it_is_not_gone_on_with_unless_forced(diverged, engine_name, found):
    run, _ = diverged(engine_name)
    told = diptych("train", "--resume", run.directory)
    assert (2, "") == (told.code, told.out)
    assert "has diverged" in told.err
    again = diptych("train", "--resume", run.directory, "--force")
    assert 2 == again.code
    assert "The training diverged in epoch 2 at step " in again.err
    assert [("it has diverged",)] == [forced.differences for forced in run.read_record().forced]


def test_weights_that_break_after_a_finite_loss_are_never_saved(tmp_path, engine_name):
    settings = ("--model", "mlp", "--optimizer", "sgd", "--momentum", 0, "--learning-rate", 3e38)
    settings += ("--schedule", "constant", "--warmup-epochs", 0, "--precision", "float32", "--l2", 1e3)
    options = ("--engine", engine_name, "--checkpoint-steps", 1, "--out", tmp_path, *ONE_THREAD)
    told = diptych("train", "digits", *settings, *options)
    assert 2 == told.code
    assert "The training diverged in epoch 1 by step 1 of 21: its weights are not finite (" in told.err
    run = Run.open(tmp_path / f"digits-mlp-{engine_name}")
    assert checkpoint.load(run) is None


def test_an_optimizer_that_overflows_under_finite_weights_is_never_saved(tmp_path, engine_name):
    settings = ("--model", "mlp", "--optimizer", "adam", "--l2", 1e22, "--precision", "float32")
    options = ("--engine", engine_name, "--checkpoint-steps", 1, "--out", tmp_path, *ONE_THREAD)
    told = diptych("train", "digits", *settings, *options)
    assert 2 == told.code
    assert (
        "diverged in epoch 1 by step 1 of 21: its optimizer's numbers are not finite (optimizer/second_mom" in told.err
    )
    run = Run.open(tmp_path / f"digits-mlp-{engine_name}")
    assert checkpoint.load(run) is None
