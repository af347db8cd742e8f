"""What diptych decides about data is said once before the first step, with every result, and recorded."""

import json
import re

import numpy as np
import pytest
from commands import ONE_THREAD, answered, diptych, write_image
from odd_data import CASES, write

import diptych as package
from diptych.artifacts.run import Run
from diptych.training.provenance import load_data

SMALL = ("--model", "mlp", "--image-size", 8, "--epochs", 4, "--batch-size", 8, "--precision", "float32")
CLASSES = {"daisy": 40, "rose": 4, "tulip": 1}
LINES = [
    "flowers: 3 classes from folder names: daisy, rose, tulip; train 20, validation 3, test 22; "
    "no test split: 22 of 45 training images were held out for the test; "
    "no validation split: 3 of 23 training images were held out for validation",
    "Imbalanced classes: daisy has 40 images, 40 times as many as tulip (1).",
    "Tiny classes (2): rose: 4 for training; tulip: 1 for training.",
    "Classes missing from a split: tulip: none for validation and test.",
]
CLAUSES = LINES[0].removeprefix("flowers: ").split("; ")
INFERRED = [CLAUSES[0], *CLAUSES[2:]]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A folder with few images of some classes."""
    folder, generator = tmp_path_factory.mktemp("data") / "flowers", np.random.default_rng(0)
    for name, count in CLASSES.items():
        for place in range(count):
            write_image(folder / name / f"{place}.png", generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def trained(flowers, tmp_path_factory):
    """A training in two engines, stopped after an epoch and resumed in one, on half of the images."""
    out = tmp_path_factory.mktemp("runs")
    return diptych("train", flowers, *SMALL, "--test-fraction", 0.5, "--engine", "both", "--out", out, *ONE_THREAD), out


def test_data_are_described_once_before_the_first_step_and_in_the_record(trained):
    result, out = trained
    chosen = "chosen for the data and number of epochs: flip none, crop_padding 0"
    assert (0, [*LINES, chosen]) == (result.code, result.err.splitlines())
    assert "images: train 20, validation 3, test 22\n" in result.out
    for folder in out.iterdir():
        record = json.loads((folder / "run.json").read_text())
        assert INFERRED == record["data"]["inferred"]
        assert LINES[1:] == record["data"]["remarks"]
        assert {"train": 20, "validation": 3, "test": 22} == record["split_sizes"]
        assert 0.5 == record["data"]["test_fraction"]


def test_every_result_says_what_accuracy_hides(trained):
    run = Run.open(next(trained[1].glob("*torch")))
    metrics = run.read_metrics()
    assert metrics["never_predicted"]
    said = (
        f"accuracy {metrics['accuracy']:.2%}, balanced accuracy {metrics['balanced_accuracy']:.2%}, never predicted: "
    )
    assert f"torch: test {said}" in trained[0].out
    evaluated = diptych("evaluate", run.directory)
    assert said in evaluated.out
    assert [*INFERRED, *LINES[1:]] == evaluated.err.splitlines()[:-1]
    assert "No test images, and so no part in the averages (1): tulip." == evaluated.err.splitlines()[-1]
    compared = diptych("compare", *trained[1].iterdir())
    assert f"PyTorch: {said}" in compared.out
    assert "images: train 20, validation 3, test 22\n" in compared.out
    assert all(remark in compared.out for remark in LINES[1:])
    report = next(trained[1].glob("compare-*/report.html")).read_text()
    assert all(
        text in report for text in (f"PyTorch: {said}", LINES[1], "20 training, 3 validation and 22 test images")
    )
    assert 'data-class="1"' in report
    assert not re.search(r"[> (]nan[<%) ]", report, re.IGNORECASE)
    assert '<button type="button" class="class-button" aria-pressed="false" data-class="2"' not in report  # no images


@pytest.mark.parametrize("name", ["train and val", "test without a class", "a cut file, skipped", "an empty file"])
def test_odd_data_are_trained_on_or_refused_in_one_line(name, tmp_path):
    case = CASES[name]
    options = [text for key, value in case.options.items() for text in (f"--{key.replace('_', '-')}", value)]
    result = diptych("train", write(case, tmp_path / "case"), *SMALL, *options, "--out", tmp_path / "runs", *ONE_THREAD)
    assert re.search(case.said, result.err)
    assert (2 if case.refused else 0) == result.code
    if case.refused:
        assert (1, []) == (len(result.err.splitlines()), list(tmp_path.glob("runs/*")))
        return
    record = Run.open(tmp_path / "runs").read_record()
    sizes, (learned, tested) = record.split_sizes, case.sizes
    assert case.classes.split() == list(record.class_names)
    assert (learned - (tested is None) * sizes.test, tested or sizes.test) == (
        sizes.train + sizes.validation,
        sizes.test,
    )
    assert result.err.startswith(f"case: 2 classes from folder names: cat, dog; {sizes}; ")


def test_resume_and_python_say_it_too_and_json_has_it(flowers, tmp_path):
    summary = answered("train", flowers, *SMALL, "--epochs", 2, "--stop-after", 1, "--out", tmp_path, *ONE_THREAD)[0]
    sizes = {"train": 32, "validation": 4, "test": 9}
    assert sizes == summary["split_sizes"]
    assert "no test split: 9 of 45 training images were held out for the test" == summary["data"]["inferred"][1]
    told = []
    run = package.resume(summary["run"], callbacks=lambda *event: told.append(event), threads=1)
    ((said,), place) = [fields for kind, fields in told if kind == "dataset"], [kind for kind, _ in told]
    assert place.index("dataset") < place.index("epoch")
    assert summary["data"]["remarks"] == list(said["remarks"])
    assert said["lines"][0] == load_data(run.read_record()).lines[0]
    assert "train 32, validation 4, test 9" in said["lines"][0]


def test_an_exported_file_knows_the_share_of_its_test_and_says_on_how_many_images_it_was_verified(trained, tmp_path):
    run = Run.open(next(trained[1].glob("*torch")))
    result = diptych("export", run.directory, "--to", "safetensors", "--out", tmp_path)
    assert (0, True) == (result.code, "verified on 22 test images, " in result.out), result
    found = answered("evaluate", next(tmp_path.glob("*.safetensors")), run.read_record().data.data)
    assert ("test split", 22) == (found["data"]["used"], found["num_samples"])
