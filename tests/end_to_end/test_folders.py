"""A folder of class folders trains and predicts, and its test split affects no choice that the training makes."""

import numpy as np
import pytest
from commands import diptych, train, write_image

from diptych.artifacts.record import SplitSizes
from diptych.artifacts.store import read_arrays
from diptych.training import checkpoint

CLASSES = ("blue", "green", "red")  # OpenCV's order of channels
PER_CLASS = {"train": 20, "val": 6, "test": 6}
CHOOSING = ("--keep-best", "--early-stopping", 2, "--schedule", "plateau", "--plateau-patience", 1)


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
def run(pictures, tmp_path_factory):
    return run_of(pictures, tmp_path_factory.mktemp("runs"))


def test_a_folder_of_class_folders_trains_predicts_and_evaluates_from_any_working_directory(
    run, pictures, tmp_path, monkeypatch
):
    record = run.read_record()
    assert (CLASSES, (16, 16, 3), "finished") == (record.class_names, record.spec.input_shape, record.status)
    assert SplitSizes(60, 18, 18) == record.split_sizes
    monkeypatch.chdir(tmp_path)
    result = diptych("predict", run.directory, pictures / "test", "--json")
    right = [answer["image"].split("/")[-2] == answer["classes"][0][0] for answer in result.json]
    assert 18 == len(right)
    accuracy = diptych("evaluate", run.directory, "--json").json["accuracy"]
    assert accuracy == run.read_metrics()["accuracy"] == sum(right) / 18


def test_test_labels_do_not_affect_the_training(run, tmp_path):
    other = run_of(write(tmp_path / "pictures", mislabel=1), tmp_path)
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
