"""Evaluate a run or an exported file: on its own test split by default, on all that fits of other data."""

import csv
import shutil

import cv2
import numpy as np
import pytest
from commands import diptych, train

from diptych.data.images import StoredImages

CLASSES = tuple(map(str, range(10)))  # those of the published digits, too
SMALL = ("--model", "mlp", "--image-size", 8, "--channels", 1, "--epochs", 1, "--precision", "float32")


def write_images(folder, names, seed=0):
    generator = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), generator.integers(0, 256, (8, 8, 1), dtype=np.uint8))


def write_table(path, rows, columns=("path", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """A run on a folder that is called digits and holds other images than those that are published so."""
    folder = tmp_path_factory.mktemp("sub") / "digits"
    write_images(folder, [f"{name}/{place}.png" for name in CLASSES for place in range(6)])
    return folder, train(folder, *SMALL, "--out", tmp_path_factory.mktemp("runs"))[0]


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    """A run on a table whose paths are relative to another folder."""
    home = tmp_path_factory.mktemp("table")
    names = [f"{place}.png" for place in range(24)]
    write_images(home / "images", names)
    table = write_table(home / "pets.csv", [(name, "cat" if place % 2 else "dog") for place, name in enumerate(names)])
    return home, train(table, *SMALL, "--root", home / "images", "--seed", 3, "--out", home / "runs")[0]


def shipped(run, tmp_path):
    result = diptych("export", run.directory, "--to", "safetensors", "--no-verify", "--out", tmp_path, "--json")
    assert 0 == result.code, result.err
    return tmp_path / "mlp.safetensors"


def test_a_folder_named_like_a_published_dataset_is_not_that_dataset(folder_run, tmp_path):
    path = shipped(folder_run[1], tmp_path)
    result = diptych("evaluate", path)
    assert (2, "") == (result.code, result.out)
    assert f"'{path}' was trained on 'digits', which has no public source: add the DATA." in result.err


def test_an_exported_file_recognizes_the_test_split_of_its_data(folder_run, tmp_path):
    folder, run = folder_run
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    found = diptych("evaluate", shipped(run, tmp_path), moved, "--json").json
    assert ("test split", 10) == (found["data"]["used"], found["num_samples"])
    assert pytest.approx(run.read_metrics()["loss"], abs=1e-5) == found["loss"]


def test_published_data_of_the_same_name_are_other_data(folder_run, tmp_path):
    found = diptych("evaluate", shipped(folder_run[1], tmp_path), "digits", "--json").json
    assert ({"name": "digits", "used": "every image"}, 1797) == (found["data"], found["num_samples"])


def test_an_exported_file_finds_published_data(digits_runs, tmp_path):
    run = digits_runs["torch"]
    diptych("export", run.directory, "--to", "safetensors", "--no-verify", "--out", tmp_path)
    found = diptych("evaluate", next(tmp_path.glob("*.safetensors")), "--json").json
    assert {"name": "digits", "used": "test split"} == found["data"]
    assert pytest.approx(run.read_metrics()["accuracy"]) == found["accuracy"]


@pytest.mark.parametrize("option", [("--bad-images", "skip"), ("--data-dir", "anywhere"), ("--engine", "torch")])
def test_an_option_keeps_the_other_options_of_the_run(table_run, option):
    _, run = table_run
    result = diptych("evaluate", run.directory, *option, "--json")
    assert (0, "") == (result.code, result.err)
    assert (run.read_metrics()["loss"], "test split") == (result.json["loss"], result.json["data"]["used"])


def test_the_data_of_a_run_are_read_with_its_options(table_run):
    home, run = table_run
    result = diptych("evaluate", run.directory, home / "pets.csv", "--json")
    assert (0, "") == (result.code, result.err)
    assert run.read_metrics()["loss"] == result.json["loss"]


def test_other_images_below_another_root_are_an_error(table_run, tmp_path):
    _, run = table_run
    write_images(tmp_path, [f"{place}.png" for place in range(24)], seed=1)
    result = diptych("evaluate", run.directory, "--root", tmp_path)
    assert (2, "") == (result.code, result.out)
    assert "has changed since this run began" in result.err


def test_images_damaged_since_training_are_an_error_when_skipped(table_run, tmp_path):
    home, run = table_run
    shutil.copytree(home / "images", tmp_path / "images")
    (tmp_path / "images" / "7.png").write_bytes(b"no image")
    result = diptych("evaluate", run.directory, "--root", tmp_path / "images", "--bad-images", "skip")
    assert (2, "") == (result.code, result.out)
    assert "1 images that cannot be decoded were skipped now, 0 then." in result.err


@pytest.fixture
def others(tmp_path):
    """Six new images of each pet."""
    names = [f"{place}.png" for place in range(12)]
    write_images(tmp_path, names, seed=2)
    return tmp_path, [(name, "dog" if place % 2 else "cat") for place, name in enumerate(names)]


def evaluate(run, data):
    result = diptych("evaluate", run.directory, data, "--json")
    assert (0, "") == (result.code, result.err)
    return result.json["data"]["used"], result.json["num_samples"], [row["support"] for row in result.json["per_class"]]


def test_a_table_of_test_rows_is_a_test_split(table_run, others):
    folder, rows = others
    table = write_table(folder / "new.csv", [(*row, "test") for row in rows], ("path", "label", "split"))
    assert ("test split", 12, [6, 6]) == evaluate(table_run[1], table)


def test_data_without_a_test_split_are_used_whole_and_the_output_says_so(table_run, others):
    folder, rows = others
    table = write_table(folder / "new.csv", rows)
    assert ("every image", 12, [6, 6]) == evaluate(table_run[1], table)
    assert "images 12 (every image of new)" in diptych("evaluate", table_run[1].directory, table).out


def test_data_with_some_of_the_classes_are_mapped_by_name(folder_run, tmp_path):
    _, run = folder_run
    write_images(tmp_path, [f"{name}/{place}.png" for name in "73" for place in range(4)], seed=2)
    assert ("every image", 8, [0, 0, 0, 4, 0, 0, 0, 4, 0, 0]) == evaluate(run, tmp_path)


def test_a_class_unknown_to_the_model_is_an_error_with_its_name(folder_run, tmp_path):
    _, run = folder_run
    write_images(tmp_path, [f"{name}/{place}.png" for name in ("7", "eleven") for place in range(4)], seed=2)
    result = diptych("evaluate", run.directory, tmp_path)
    assert (2, "") == (result.code, result.out)
    assert f"has classes that '{run.directory}' was not trained on: eleven…; expected some of 0, 1, 2…" in result.err


def test_no_test_split_is_loaded_whole(folder_run, tmp_path, monkeypatch):
    folder, run = folder_run
    path = shipped(run, tmp_path)

    def refuse(*_arguments, **_options):
        raise AssertionError("a whole split was loaded")

    monkeypatch.setattr(StoredImages, "__array__", refuse)
    assert 0 == diptych("evaluate", path, folder).code
    (other,) = train(folder, *SMALL, "--optimizer", "sgd", "--out", tmp_path)
    result = diptych("compare", run.directory, other.directory, "--out", tmp_path / "compared")
    assert 0 == result.code, result.err
    assert "data:image/png" in (tmp_path / "compared" / "report.html").read_text()


def test_calibration_data_are_read_with_their_options(table_run, others):
    run, (folder, rows) = table_run[1], others
    tables = folder / "tables"
    tables.mkdir()
    table = write_table(tables / "new.csv", [*rows, ("broken.png", "cat")])
    (folder / "broken.png").write_bytes(b"no image")
    reading = ("--root", folder, "--bad-images", "skip")
    arguments = ("export", run.directory, "--to", "onnx-int8", "--no-verify", "--out", folder / "out", "--json")
    result = diptych(*arguments, "--calibration", table, *reading)
    assert 0 == result.code, result.err
    assert "unverified" == result.json[0]["status"], result.json
    refused = diptych(*arguments, *reading)
    assert (2, "") == (refused.code, refused.out)
    assert "'bad_images' is for calibration data; also set 'calibration' to a dataset." in refused.err
