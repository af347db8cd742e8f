"""Early stopping, the best checkpoint and the plateau schedule follow the validation split."""

import numpy as np
import pytest
from commands import train

from diptych import engines
from diptych.artifacts.events import read_events
from diptych.artifacts.store import read_arrays
from diptych.training import checkpoint, provenance

PATIENCE = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training with a rate so high that it overfits long before its last epoch."""
    choosing = ("--early-stopping", PATIENCE, "--keep-best", "--schedule", "plateau", "--plateau-patience", 1)
    choosing += ("--stop-after", 50)  # later than the early stop, which finishes the run
    settings = ("--model", "mlp", "--optimizer", "adam", "--learning-rate", 0.01, "--crop-padding", 0, "--epochs", 60)
    return train("digits", *settings, *choosing, "--precision", "float32", "--out", tmp_path_factory.mktemp("runs"))[0]


@pytest.fixture(scope="module")
def epochs(run):
    return read_events(run.events_path, "epoch")


def test_it_stops_patience_epochs_after_the_lowest_validation_loss(run, epochs):
    losses = [epoch["validation_loss"] for epoch in epochs]
    assert PATIENCE == len(losses) - 1 - int(np.argmin(losses))
    assert len(losses) < 60
    (stop,) = read_events(run.events_path, "early_stop")
    assert len(losses) == stop["epoch"]
    assert "finished" == run.read_record().status


def test_the_rate_falls_after_every_epoch_without_a_new_lowest_loss(epochs):
    lowest, rate, expected = float("inf"), 0.01, []
    for epoch in epochs:
        expected.append(rate)
        if epoch["validation_loss"] >= lowest:
            rate *= 0.1
        lowest = min(lowest, epoch["validation_loss"])
    assert pytest.approx(expected) == [epoch["learning_rate"] for epoch in epochs]


def test_the_kept_weights_are_from_the_first_epoch_with_the_best_validation_accuracy_and_have_it(run, epochs):
    accuracies = [epoch["validation_accuracy"] for epoch in epochs]
    state = checkpoint.load(run)
    kept, _ = read_arrays(run.model_path)
    assert 1 + int(np.argmax(accuracies)) == state.best_epoch
    assert all(np.array_equal(state.best[name], kept[name]) for name in kept)
    is_last = state.best_epoch == len(epochs)
    assert is_last == np.array_equal(state.weights["fc1.weight"], kept["fc1.weight"])

    record = run.read_record()
    split = provenance.load_data(record).validation
    logits_nk = provenance.predict_logits(engines.get("torch"), record.spec, kept, split.images, "float32")
    assert pytest.approx(max(accuracies)) == (logits_nk.argmax(1) == split.labels).mean()
