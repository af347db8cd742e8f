"""The validation split decides early stopping, the best checkpoint and the plateau; the test split decides nothing."""

import numpy as np
import pytest
from commands import diptych, train, write_image

from diptych import engines
from diptych.artifacts.events import read_events
from diptych.artifacts.record import SplitSizes
from diptych.artifacts.store import read_arrays
from diptych.training import checkpoint, provenance

PATIENCE = 4
CLASSES = ("blue", "green", "red")  # OpenCV's order of channels
PER_CLASS = {"train": 20, "val": 6, "test": 6}
CHOOSING = ("--keep-best", "--early-stopping", 2, "--schedule", "plateau", "--plateau-patience", 1)


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


def write(root, mislabel=0):
    """Write noisy images of three colors in three splits; test labels are `mislabel` classes off."""
    generator = np.random.default_rng(0)
    for split, number in PER_CLASS.items():
        for channel in range(3):
            folder = root / split / CLASSES[(channel + mislabel) % 3 if split == "test" else channel]
            for index in range(number):
                image_hwc = generator.integers(0, 100, (20, 24, 3), dtype=np.uint8)
                image_hwc[..., channel] += 100
                write_image(folder / f"{index:02}.png", image_hwc)
    return root


def run_of(data, out):
    settings = ("--model", "fashion_cnn", "--image-size", 16, "--epochs", 4, "--precision", "float32", *CHOOSING)
    return train(data, *settings, "--batch-size", 16, "--out", out)[0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def folder_run(pictures, tmp_path_factory):
    return run_of(pictures, tmp_path_factory.mktemp("runs"))


def test_a_folder_of_class_folders_trains_predicts_and_evaluates_from_any_working_directory(
    folder_run, pictures, tmp_path, monkeypatch
):
    record = folder_run.read_record()
    assert (CLASSES, (16, 16, 3), "finished") == (record.class_names, record.spec.input_shape, record.status)
    assert SplitSizes(60, 18, 18) == record.split_sizes
    monkeypatch.chdir(tmp_path)
    result = diptych("predict", folder_run.directory, pictures / "test", "--json")
    right = [answer["image"].split("/")[-2] == answer["classes"][0][0] for answer in result.json]
    assert 18 == len(right)
    accuracy = diptych("evaluate", folder_run.directory, "--json").json["accuracy"]
    assert accuracy == folder_run.read_metrics()["accuracy"] == sum(right) / 18


def test_test_labels_do_not_affect_the_training(folder_run, tmp_path):
    run, other = folder_run, run_of(write(tmp_path / "pictures", mislabel=1), tmp_path)
    last = max(run.checkpoints_dir.iterdir())  # when the one before was saved depends on time
    names = ["model.safetensors", *(path.relative_to(run.directory) for path in last.glob("*.safetensors"))]
    assert 3 == len(names)
    for name in names:
        (ours, _), (theirs, _) = read_arrays(run.directory / name), read_arrays(other.directory / name)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    for name in ("learning_rate", "validation_loss", "validation_accuracy", "train_loss"):
        ours, theirs = ([epoch[name] for epoch in checkpoint.load(one).epochs] for one in (run, other))
        assert ours == theirs
    assert 1 >= other.read_metrics()["accuracy"] + run.read_metrics()["accuracy"]  # no image is right in both
