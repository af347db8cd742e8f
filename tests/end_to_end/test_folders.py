"""A folder of class folders trains and predicts, and what is chosen in a training never depends on its test split."""

import cv2
import numpy as np
import pytest
from commands import diptych, train

from diptych.artifacts.record import SplitSizes
from diptych.artifacts.store import read_arrays
from diptych.training import checkpoint

CLASSES = ("circle", "cross", "stripes")
PER_CLASS = {"train": 20, "val": 6, "test": 6}
CHOOSING = ("--keep-best", "--early-stopping", 2, "--schedule", "plateau", "--plateau-patience", 1)


def picture(kind, generator):
    """A bright shape on a dark, noisy ground: uint8, (20, 24, 3)."""
    image_hwc = generator.integers(0, 60, (20, 24, 3), dtype=np.uint8)
    colour = tuple(generator.integers(150, 255, 3).tolist())
    match kind:
        case "circle":
            cv2.circle(image_hwc, (12, 10), 6, colour, 2)
        case "cross":
            cv2.line(image_hwc, (4, 3), (20, 17), colour, 2)
            cv2.line(image_hwc, (20, 3), (4, 17), colour, 2)
        case "stripes":
            image_hwc[::4] = colour
    return image_hwc


def write(root, mislabel=0):
    """Write a folder with three splits; test images go `mislabel` classes further than they belong."""
    generator = np.random.default_rng(0)
    for split, number in PER_CLASS.items():
        for place, kind in enumerate(CLASSES):
            folder = root / split / CLASSES[(place + mislabel) % 3 if split == "test" else place]
            folder.mkdir(parents=True)
            for index in range(number):
                cv2.imwrite(str(folder / f"{index:02}.png"), picture(kind, generator))
    return root


def run_of(data, out):
    settings = ("--model", "fashion_cnn", "--image-size", 16, "--epochs", 6, "--precision", "float32", *CHOOSING)
    return train(data, *settings, "--batch-size", 16, "--out", out)[0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    return run_of(pictures, tmp_path_factory.mktemp("runs"))


def test_a_folder_of_class_folders_trains(run):
    record = run.read_record()
    assert tuple(CLASSES) == record.class_names
    assert SplitSizes(60, 18, 18) == record.split_sizes
    assert (16, 16, 3) == record.spec.input_shape
    assert "finished" == record.status


def test_images_are_predicted_from_any_working_directory(run, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = diptych("predict", run.directory, pictures / "test", "--json")
    truths = [answer["image"].split("/")[-2] for answer in result.json]
    answers = [answer["classes"][0][0] for answer in result.json]
    right = sum(truth == answer for truth, answer in zip(truths, answers, strict=True))
    assert 18 == len(answers)
    assert run.read_metrics()["accuracy"] == right / 18


def test_a_run_is_evaluated_from_any_working_directory(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = diptych("evaluate", run.directory, "--json")
    assert run.read_metrics()["accuracy"] == result.json["accuracy"]


def test_test_labels_do_not_affect_the_training(run, tmp_path):
    other = run_of(write(tmp_path / "pictures", mislabel=1), tmp_path)
    states = run.checkpoints_dir.rglob("*.safetensors")
    names = ["model.safetensors", *(path.relative_to(run.directory) for path in states)]
    assert 1 < len(names)
    for name in names:
        (ours, _), (theirs, _) = read_arrays(run.directory / name), read_arrays(other.directory / name)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    for name in ("learning_rate", "validation_loss", "validation_accuracy", "train_loss"):
        ours, theirs = ([epoch[name] for epoch in checkpoint.load(one).epochs] for one in (run, other))
        assert ours == theirs
    assert 1 >= other.read_metrics()["accuracy"] + run.read_metrics()["accuracy"]  # no image is right in both


def test_a_changed_folder_cannot_be_resumed(pictures, tmp_path):
    write(tmp_path / "pictures")
    settings = ("--model", "mlp", "--image-size", 8, "--epochs", 2, "--stop-after", 1)
    (run,) = train(tmp_path / "pictures", *settings, "--out", tmp_path / "runs")
    changed = tmp_path / "pictures" / "train" / "cross" / "00.png"
    cv2.imwrite(str(changed), 255 - cv2.imread(str(changed)))
    result = diptych("train", "--resume", run.directory)
    assert (2, "") == (result.code, result.out)
    assert "the data's fingerprint was " in result.err
    assert 1 == len(result.err.splitlines())
