"""A run becomes files of every kind, proved against what was trained; what fails is not left looking finished."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ONE_THREAD, diptych
from msgspec.structs import replace
from test_evaluate import assert_close, own

from diptych.artifacts import Run, read_arrays, read_npz, write_arrays, write_npz
from diptych.deployment import file_types
from diptych.deployment.formats import FORMATS
from diptych.engines import NAMES

pytestmark = pytest.mark.slow
CHECK_YOURSELF = """
import json, sys
sys.modules["diptych"] = None
import cv2, numpy as np, onnxruntime
golden = json.load(open("golden.json"))
image = cv2.imread(golden["image"], cv2.IMREAD_UNCHANGED).reshape(golden["input"]["shape"])
(found,) = onnxruntime.InferenceSession(sys.argv[1]).run(["probabilities"], {golden["input"]["name"]: image})
assert golden["class_names"][found.argmax()] == golden["class"]
assert abs(found[0] - golden["probabilities"]).max() <= golden["tolerance_of_probabilities"]["onnx"]
"""


@pytest.fixture(scope="module")
def shipped(digits_runs, tmp_path_factory):
    """Every format of the run that each engine trained, and what was said of it."""
    told = {}
    for name in NAMES:
        run = shutil.copytree(digits_runs[name].directory, tmp_path_factory.mktemp("shipped") / name)
        told[name] = (run, diptych("export", run, "--to", "all", "--json", *ONE_THREAD))
    return told


@pytest.fixture(params=NAMES)
def whole(request, shipped):
    """The run's directory, and each format's entry."""
    run, told = shipped[request.param]
    assert (0, "") == (told.code, told.err), told
    return run, {entry["form"]: entry for entry in told.json}


def test_every_format_is_ok_whichever_engine_trained(whole):
    _, entries = whole
    assert dict.fromkeys(FORMATS, "ok") == {form: entry["status"] for form, entry in entries.items()}
    for form, entry in entries.items():
        assert entry["worst_difference"] <= FORMATS[form].tolerance
        assert entry["drop"] <= 0.01


def test_integer_formats_are_told_class_by_class_and_with_their_calibration(whole):
    run, entries = whole
    assert [10, 10] == [len(entries[form]["classes"]) for form in ("tflite-int8", "onnx-int8")]
    record = json.loads((run / "export" / "export.json").read_text())["calibration"]
    assert ("digits", "train", 500, 500) == (
        record["dataset"],
        record["split"],
        record["num_images"],
        len(record["indices"]),
    )


def test_every_file_tells_what_it_is_and_all_are_one_model(whole):
    run, entries = whole
    cards = {
        form: diptych("describe", run / "export" / Path(entry["path"]).name, "--json").json
        for form, entry in entries.items()
    }
    assert {form: form for form in FORMATS} == {form: card["format"] for form, card in cards.items()}
    assert 1 == len({card["parity"] for card in cards.values()})
    assert all([str(digit) for digit in range(10)] == card["class_names"] for card in cards.values())


def test_nothing_hidden_or_half_written_is_left(whole):
    run, entries = whole
    names = {path.name for path in (run / "export").iterdir()}
    assert {Path(entry["path"]).name for entry in entries.values()} | {
        "golden.png",
        "golden.json",
        "export.json",
    } == names


def test_an_application_can_check_itself_without_diptych(whole):
    run, _ = whole
    command = [sys.executable, "-c", CHECK_YOURSELF, "cnn.onnx"]
    finished = subprocess.run(command, cwd=run / "export", capture_output=True, text=True, check=False)
    assert 0 == finished.returncode, finished.stderr


@pytest.mark.parametrize("file", ["cnn.onnx", "cnn.tflite", "cnn.keras", "cnn.pt", "cnn.safetensors", "cnn_openvino"])
def test_a_file_is_evaluated_as_its_run_is(whole, file):
    run, _ = whole
    told = diptych("evaluate", run / "export" / file, "--json")
    assert (0, "") == (told.code, told.err)
    assert_close(own(Run.open(run)), told.json)


def test_a_file_predicts_as_its_run_does(whole, digit_files):
    run, _ = whole
    answers = [
        diptych("predict", model, *digit_files[:5], "--json").json for model in (run, run / "export" / "cnn.onnx")
    ]
    for one, other in zip(*answers, strict=True):
        assert (one["image"], one["classes"][0][0]) == (other["image"], other["classes"][0][0])
        assert pytest.approx(one["classes"][0][1], abs=1e-5) == other["classes"][0][1]


@pytest.mark.parametrize("file", ["cnn.torchscript", "cnn.pt2", "cnn.h5", "cnn"])
def test_what_could_run_code_wants_trust(whole, digit_files, file):
    run, _ = whole
    refused = diptych("predict", run / "export" / file, digit_files[0])
    assert 2 == refused.code
    assert "Add --trust" in refused.err
    told = diptych("predict", run / "export" / file, digit_files[0], "--trust", "--json")
    assert (0, "") == (told.code, told.err)


@pytest.fixture
def copy(digits_runs, tmp_path):
    """A run of one's own to spoil."""
    return Run.open(shutil.copytree(digits_runs["torch"].directory, tmp_path / "run"))


def test_a_file_that_is_not_what_was_trained_goes_to_failed_until_it_passes(copy):
    arrays = read_npz(copy.predictions_path)
    write_npz(
        copy.predictions_path, {**arrays, "logits": arrays["logits"] + np.linspace(0, 1e-2, 10, dtype=np.float32)}
    )
    told = diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD)
    assert 1 == told.code
    assert "safetensors: a probability differs by" in told.out
    assert (copy.export_dir / "failed" / "cnn.safetensors").exists()
    assert not (copy.export_dir / "cnn.safetensors").exists()

    write_npz(copy.predictions_path, arrays)
    assert 0 == diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD).code
    assert (copy.export_dir / "cnn.safetensors").exists()
    assert not (copy.export_dir / "failed" / "cnn.safetensors").exists()


def test_a_layer_that_integers_cannot_hold_is_named(copy):
    """One of fc1's channels a thousand times larger, and fc2's weights for it as much smaller: the same function."""
    weights, metadata = read_arrays(copy.model_path)
    loud = int(weights["fc2.weight"].std(axis=0).argmax())
    weights["fc1.weight"][loud] *= 4096
    weights["fc1.bias"][loud] *= 4096
    weights["fc2.weight"][:, loud] /= 4096
    write_arrays(copy.model_path, weights, metadata)
    told = diptych("export", copy.directory, "--to", "tflite-int8", "onnx-int8", "safetensors", "--json", *ONE_THREAD)
    float_entry, *entries = told.json
    assert "ok" == float_entry["status"]
    for entry in entries:
        assert entry["drop"] > 0.01
        assert entry["layers"][0]["layer"] in ("fc1", "fc2")
        assert entry["layers"][0]["lost"] > 10
    shown = diptych("export", copy.directory, "--to", "tflite-int8", *ONE_THREAD).out
    assert "points of accuracy" in shown
    assert "layer fc" in shown


def test_calibration_images_of_another_range_are_refused(copy, tmp_path):
    import diptych as package

    told = package.export(copy, "tflite-int8", calibration=np.zeros((50, 8, 8, 1), np.uint8), threads=1)
    assert "impossible" == told[0].status
    assert "If they were scaled to 0–1" in told[0].reason


def test_unknown_formats_are_refused_with_what_may_have_been_meant(copy):
    told = diptych("export", copy.directory, "--to", "onxx")
    assert (2, "") == (told.code, told.out)
    assert "Unknown format 'onxx' (did you mean 'onnx'?)" in told.err


def test_a_folder_of_somebody_else_is_not_replaced(copy, tmp_path):
    mine = tmp_path / "shipped" / "cnn" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    told = diptych("export", copy.directory, "--to", "saved-model", "--out", tmp_path / "shipped", *ONE_THREAD)
    assert 1 == told.code
    assert "is a folder that diptych did not write" in " ".join(told.out.split())
    assert "mine" == mine.read_text()


def test_a_file_that_passed_stays_when_a_later_one_fails(copy):
    assert 0 == diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD).code
    arrays = read_npz(copy.predictions_path)
    write_npz(copy.predictions_path, {**arrays, "logits": arrays["logits"][:, ::-1].copy()})
    assert 1 == diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD).code
    assert (copy.export_dir / "cnn.safetensors").exists()
    assert (copy.export_dir / "failed" / "cnn.safetensors").exists()


def test_data_that_is_gone_is_told_before_anything_is_written(copy):
    record = copy.read_record()
    copy.write_record(replace(record, data=replace(record.data, data="gone")))
    told = diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD)
    assert (2, "") == (told.code, told.out)
    assert "Cannot verify without the test set" in told.err
    assert "--no-verify" in told.err
    assert 0 == diptych("export", copy.directory, "--to", "safetensors", "--no-verify", *ONE_THREAD).code


@pytest.mark.parametrize(
    ("form", "absent", "said"),
    [
        ("onnx", {"onnx"}, "onnx: writing it needs the package 'onnx', which is not installed: {} 'diptych[export]'."),
        (
            "safetensors",
            {"torch", "tensorflow"},
            "safetensors: PyTorch, eager needs the package 'torch', which is not installed: {} 'diptych[torch]'.",
        ),
    ],
    ids=["not written", "not checked"],
)
def test_what_needs_a_package_that_is_not_there_says_so_and_ends_with_1(copy, monkeypatch, form, absent, said):
    monkeypatch.setattr("diptych.deployment.formats.find_spec", lambda name: None if name in absent else object())
    told = diptych("export", copy.directory, "--to", form, *ONE_THREAD)
    assert (1, "") == (told.code, told.err)
    assert said.format("pip install") in told.out.splitlines()


def test_a_file_is_looked_over_once(copy, digit_files, monkeypatch):
    assert 0 == diptych("export", copy.directory, "--to", "safetensors", *ONE_THREAD, "--no-verify").code
    seen = []
    original = file_types.file_type_of
    monkeypatch.setattr(file_types, "file_type_of", lambda path: seen.append(path) or original(path))
    assert 0 == diptych("predict", copy.export_dir / "cnn.safetensors", digit_files[0]).code
    assert [copy.export_dir / "cnn.safetensors"] == seen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "onnx", "--threads", 0), "'threads' must be a whole number of at least 1, got 0"),
        (("--to", "onnx", "--to", "keras"), "--to is given twice; name all its values after one --to"),
    ],
)
def test_what_would_be_lost_or_makes_no_sense_is_refused(copy, arguments, said):
    told = diptych("export", copy.directory, *arguments)
    assert (2, "") == (told.code, told.out)
    assert said in told.err
