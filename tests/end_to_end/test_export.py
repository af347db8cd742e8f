"""A run is exported to every format, each verified; a file that fails is not left looking finished."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from commands import ONE_THREAD, answered, assert_metrics_of, diptych, refused
from made import write_run

import diptych as package
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, read_npz, write_npz
from diptych.deployment import file_types, quantization
from diptych.deployment.formats import FORMATS
from diptych.engines.session import session

CHECK_YOURSELF = """
import json, sys
sys.modules["diptych"] = None
import cv2, numpy as np, onnxruntime
golden = json.load(open("golden.json"))
image = cv2.imread(golden["image"], cv2.IMREAD_UNCHANGED).reshape(golden["input"]["shape"])
(answer,) = onnxruntime.InferenceSession(sys.argv[1]).run(["probabilities"], {golden["input"]["name"]: image})
assert golden["class_names"][answer.argmax()] == golden["class"]
assert abs(answer[0] - golden["probabilities"]).max() <= golden["tolerance_of_probabilities"]["onnx"]
"""


@pytest.fixture(scope="module")
def entries(run):
    """The result for each format of `--to all`."""
    return {entry["form"]: entry for entry in answered("export", run.directory, "--to", "all", *ONE_THREAD)}


def test_every_format_passes_and_nothing_else_is_left(run, entries):
    assert dict.fromkeys(FORMATS, "ok") == {form: entry["status"] for form, entry in entries.items()}
    for form, entry in entries.items():
        assert entry["worst_difference"] <= FORMATS[form].tolerance
        assert entry["drop"] <= 1 - entry["agreement"] + 1e-9
    names = {Path(entry["path"]).name for entry in entries.values()} | {"golden.png", "golden.json", "export.json"}
    assert names == {path.name for path in run.export_dir.iterdir()}


def test_the_report_has_classes_and_calibration_of_integer_formats(run, entries):
    assert [10, 10] == [len(entries[form]["classes"]) for form in ("tflite-int8", "onnx-int8")]
    record = json.loads((run.export_dir / "export.json").read_text())["calibration"]
    assert ("digits", "train", 500) == (record["dataset"], record["split"], record["num_images"])
    assert 500 == len(record["indices"])


def test_every_file_has_a_card_of_the_same_model(run, entries):
    cards = {form: package.describe(run.export_dir / Path(entry["path"]).name) for form, entry in entries.items()}
    assert {form: form for form in FORMATS} == {form: card["format"] for form, card in cards.items()}
    assert 1 == len({card["parity"] for card in cards.values()})
    assert all(tuple("0123456789") == tuple(card["class_names"]) for card in cards.values())


def test_an_application_can_check_itself_without_diptych(run, entries):
    command = [sys.executable, "-c", CHECK_YOURSELF, "cnn.onnx"]
    finished = subprocess.run(command, cwd=run.export_dir, capture_output=True, text=True, check=False)
    assert 0 == finished.returncode, finished.stderr


@pytest.mark.parametrize("file", ["cnn.onnx", "cnn.tflite", "cnn.keras", "cnn.pt", "cnn.safetensors", "cnn_openvino"])
def test_a_file_has_the_metrics_of_its_run(run, entries, file):
    assert_metrics_of(run, answered("evaluate", run.export_dir / file))


@pytest.mark.parametrize("file", ["cnn.torchscript", "cnn.pt2", "cnn.h5", "cnn"])
def test_a_format_that_can_execute_code_needs_trust_and_predicts_as_its_run_does(run, entries, digit_files, file):
    assert "Add --trust" in refused("predict", run.export_dir / file, digit_files[0])
    told = answered("predict", run.export_dir / file, *digit_files[:5], "--trust")
    wanted = answered("predict", run.directory, *digit_files[:5])
    for one, other in zip(wanted, told, strict=True):
        assert (one["image"], one["classes"][0][0]) == (other["image"], other["classes"][0][0])
        assert pytest.approx(one["classes"][0][1], abs=1e-5) == other["classes"][0][1]


@pytest.fixture
def copy(made_run, tmp_path):
    """A run to damage."""
    return Run.open(shutil.copytree(made_run.directory, tmp_path / "run"))


def test_a_file_goes_to_failed_until_it_passes_and_never_replaces_one_that_did(copy):
    arrays = read_npz(copy.predictions_path)
    nudge = np.linspace(0, 1e-2, 10, dtype=np.float32)
    passed, failed = copy.export_dir / "cnn.safetensors", copy.export_dir / "failed" / "cnn.safetensors"
    for logits_nk, code, left in (
        (arrays["logits"] + nudge, 1, (False, True)),
        (arrays["logits"], 0, (True, False)),
        (arrays["logits"] + nudge, 1, (True, True)),
    ):
        write_npz(copy.predictions_path, {**arrays, "logits": logits_nk})
        copy.seal()
        told = diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD)
        assert (code, left) == (told.code, (passed.exists(), failed.exists()))
        assert ("safetensors: a probability differs by" in told.out) == bool(code)


def test_the_layer_that_integers_cannot_represent_is_named(copy, digits):
    """One channel of fc1 is 4,096 times larger, and its weights in fc2 as much smaller: an equal model."""
    weights, _ = read_arrays(copy.model_path)
    with session("torch", 1) as engine:
        engine.build(copy.read_record().spec, "float32")
        engine.load_weights(weights)
        loud = int(engine.layer_outputs(digits.test.images[:], training=False)["relu"].mean(0).argmax())
        weights["fc1.weight"][loud] *= 4096
        weights["fc1.bias"][loud] *= 4096
        weights["fc2.weight"][:, loud] /= 4096
        write_run(copy, engine, weights, digits.test)
    told = diptych("export", copy.directory, "--to", "tflite-int8", "onnx-int8", "safetensors", *ONE_THREAD)
    assert "tflite-int8 loses" in told.out
    assert "layer fc1 loses" in told.out
    entries = json.loads((copy.export_dir / "export.json").read_text())["formats"]
    assert "ok" == entries["safetensors"]["status"]
    for form in ("tflite-int8", "onnx-int8"):
        assert entries[form]["drop"] > 0.5
        assert "fc1" == entries[form]["layers"][0]["layer"]
        assert entries[form]["layers"][0]["lost"] > 15


def test_layers_are_measured_on_any_number_of_images(run, entries, digits):
    files, images_nhwc = [run.export_dir / name for name in ("cnn.tflite", "cnn.int8.tflite")], digits.test.images[:7]
    assert {7} == {len(values) for file in files for values in quantization._tensors(file, images_nhwc).values()}
    assert dict(quantization._tflite(run.read_record().spec, *files, images_nhwc))


def test_calibration_images_of_another_range_are_an_error(copy):
    (told,) = package.export(copy, "tflite-int8", calibration=np.zeros((50, 8, 8, 1), np.uint8), threads=1)
    assert ("impossible", True) == (told.status, "If they were scaled" in told.reason)


def test_a_file_is_checked_once(copy, digit_files, monkeypatch):
    (told,) = answered("export", copy.directory, "--to", "safetensors", "--no-verify", *ONE_THREAD)
    with patch.object(file_types, "file_type_of", wraps=file_types.file_type_of) as check:
        answered("predict", told["path"], digit_files[0])
    check.assert_called_once()


def test_a_foreign_folder_is_not_replaced(copy, tmp_path):
    mine = tmp_path / "out" / "cnn" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    told = diptych("export", copy.directory, "--to", "saved-model", "--out", tmp_path / "out", *ONE_THREAD)
    assert 1 == told.code
    assert "is a folder that diptych did not create" in " ".join(told.out.split())
    assert "mine" == mine.read_text()


def test_missing_data_is_an_error_before_anything_is_written(copy):
    record = json.loads(copy.record_path.read_text())
    copy.record_path.write_text(json.dumps({**record, "data": {**record["data"], "data": "gone"}}))
    copy.seal()
    told = refused("export", copy.directory, "--to", "safetensors", *ONE_THREAD)
    assert "Cannot verify without the test set" in told
    assert "--no-verify" in told
    assert 0 == diptych("export", copy.directory, "--to", "safetensors", "--no-verify", *ONE_THREAD).code


@pytest.mark.parametrize(
    ("form", "absent", "message", "extra"),
    [
        ("onnx", {"onnx"}, "writing it needs the package 'onnx'", "export"),
        ("safetensors", {"torch", "tensorflow"}, "PyTorch, eager needs the package 'torch'", "torch"),
    ],
    ids=["not written", "not verified"],
)
def test_a_missing_package_is_named_and_the_exit_code_is_1(copy, monkeypatch, form, absent, message, extra):
    monkeypatch.setattr("diptych.deployment.formats.find_spec", lambda name: None if name in absent else object())
    told = diptych("export", copy.directory, "--to", form, *ONE_THREAD)
    assert (1, "") == (told.code, told.err)
    assert f"\n{form}: {message}, which is not installed: pip install 'diptych[{extra}]'." in told.out
