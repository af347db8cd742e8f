"""Evaluate a run or an exported file: on its own test split by default, on all that fits of other data."""

import csv
import shutil

import numpy as np
import pytest
from commands import answered, diptych, refused, train, write_image

from diptych.data.images import StoredImages

CLASSES = tuple(map(str, range(10)))  # those of the published digits, too
SMALL = ("--model", "mlp", "--image-size", 8, "--channels", 1, "--epochs", 1, "--precision", "float32")


def write_images(folder, names, seed=0):
    generator = np.random.default_rng(seed)
    for name in names:
        write_image(folder / name, generator.integers(0, 256, (8, 8, 1), dtype=np.uint8))


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
    answered("export", run.directory, "--to", "safetensors", "--no-verify", "--out", tmp_path)
    return next(tmp_path.glob("*.safetensors"))


def used(run, data):
    """Evaluate a run on other data; return what was used, how many images, and how many of each class."""
    found = answered("evaluate", run.directory, data)
    return found["data"]["used"], found["num_samples"], [row["support"] for row in found["per_class"]]


def test_a_folder_named_like_a_published_dataset_is_not_that_dataset(folder_run, tmp_path):
    path = shipped(folder_run[1], tmp_path)
    assert f"'{path}' was trained on 'digits', which has no public source: add DATA." in refused("evaluate", path)


def test_an_exported_file_recognizes_the_test_split_of_its_data(folder_run, tmp_path):
    folder, run = folder_run
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    found = answered("evaluate", shipped(run, tmp_path), moved)
    assert ("test split", 10) == (found["data"]["used"], found["num_samples"])
    assert pytest.approx(run.read_metrics()["loss"], abs=1e-5) == found["loss"]


def test_published_data_of_the_same_name_are_other_data(folder_run, tmp_path):
    found = answered("evaluate", shipped(folder_run[1], tmp_path), "digits")
    assert ("digits", "every image", 1797) == (found["data"]["name"], found["data"]["used"], found["num_samples"])


@pytest.mark.parametrize("option", [("--bad-images", "skip"), ("--data-dir", "anywhere"), ("--engine", "torch"), ()])
def test_the_data_of_a_run_are_read_with_its_options_unless_others_are_given(table_run, option):
    home, run = table_run
    found = answered("evaluate", run.directory, *option or [home / "pets.csv"])
    assert (run.read_metrics()["loss"], "test split") == (found["loss"], found["data"]["used"])


def test_other_images_below_another_root_are_an_error(table_run, tmp_path):
    write_images(tmp_path, [f"{place}.png" for place in range(24)], seed=1)
    assert "has changed since this run began" in refused("evaluate", table_run[1].directory, "--root", tmp_path)


def test_data_that_moved_are_an_error_with_an_advice_that_works(table_run):
    home, run = table_run
    moved = (home / "pets.csv").rename(home / "moved.csv")
    try:
        advice = f"name its new place (`diptych evaluate RUN DATA`), or link it (`ln -s NEW {home / 'pets.csv'}`)"
        assert advice in refused("evaluate", run.directory)
        found = answered("evaluate", run.directory, moved, "--root", home / "images")
        assert (run.read_metrics()["loss"], "test split") == (found["loss"], found["data"]["used"])
    finally:
        moved.rename(home / "pets.csv")


def test_images_damaged_since_training_are_an_error_when_skipped(table_run, tmp_path):
    home, run = table_run
    shutil.copytree(home / "images", tmp_path / "images")
    (tmp_path / "images" / "7.png").write_bytes(b"no image")
    error = refused("evaluate", run.directory, "--root", tmp_path / "images", "--bad-images", "skip")
    assert "Skipped images that cannot be decoded: 1 now, 0 then." in error


@pytest.fixture
def others(tmp_path):
    """Six new images of each pet."""
    names = [f"{place}.png" for place in range(12)]
    write_images(tmp_path, names, seed=2)
    return tmp_path, [(name, "dog" if place % 2 else "cat") for place, name in enumerate(names)]


def test_a_table_of_test_rows_is_a_test_split(table_run, others):
    folder, rows = others
    table = write_table(folder / "new.csv", [(*row, "test") for row in rows], ("path", "label", "split"))
    assert ("test split", 12, [6, 6]) == used(table_run[1], table)


def test_data_without_a_test_split_are_used_whole_and_the_output_says_so(table_run, others):
    folder, rows = others
    table = write_table(folder / "new.csv", rows)
    assert ("every image", 12, [6, 6]) == used(table_run[1], table)
    assert "images 12 (every image of new)" in diptych("evaluate", table_run[1].directory, table).out


def test_data_with_some_of_the_classes_are_mapped_by_name(folder_run, tmp_path):
    write_images(tmp_path, [f"{name}/{place}.png" for name in "73" for place in range(4)], seed=2)
    assert ("every image", 8, [0, 0, 0, 4, 0, 0, 0, 4, 0, 0]) == used(folder_run[1], tmp_path)


def test_classes_that_the_model_does_not_know_are_named_and_their_images_left_out_on_request(table_run, others):
    folder, rows = others
    names = [f"bird{place}" for place in range(7)]
    write_images(folder, [f"{name}.png" for name in names], seed=3)
    table = write_table(folder / "new.csv", [row for row in rows if row[1] == "cat"] + [(f"{n}.png", n) for n in names])
    fault = "7 of 13 images are of classes that the model lacks: bird0, bird1, bird2, bird3, bird4, and 2 more"
    advice = "It has cat, dog. Rename or remove them, or use --bad-images skip."
    assert f"diptych: 'new': {fault}. {advice}" == refused("evaluate", table_run[1].directory, table)
    found = answered("evaluate", table_run[1].directory, table, "--bad-images", "skip")
    assert [6, 0] == [row["support"] for row in found["per_class"]]
    missing = "No test images, and so no part in the averages (1): dog."
    assert [f"Left out: {fault}.", missing] == [one for one in found["data"]["remarks"] if "no row names" not in one]
    assert found["macro"]["recall"] == found["per_class"][0]["recall"] == found["balanced_accuracy"]


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
    arguments = ("export", run.directory, "--to", "onnx-int8", "--no-verify", "--out", folder / "out")
    (entry,) = answered(*arguments, "--calibration", table, *reading)
    assert "unverified" == entry["status"]
    fault = "'bad_images' is for other data; also set 'data' or 'calibration' to a dataset."
    assert fault in refused(*arguments, *reading)
