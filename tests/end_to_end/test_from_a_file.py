"""A transferred file is no dead end: it is described, checked, exported, measured, evaluated and trained further."""

import json
import shutil

import numpy as np
import pytest
import torch
from commands import ONE_THREAD, answered, diptych, refused, train, write_split

import diptych as package
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, write_arrays
from diptych.deployment.options import CardOptions
from diptych.deployment.transfer import read_weights
from diptych.errors import UsageError
from diptych.spec import zoo
from diptych.training.checkpoint import Start

SIZE = ("--model", "cnn", "--input-shape", 8, 8, 1)
DIGITS = "0123456789"
SCALING = ("--mean", 0.5, "--std", 0.25)
NO_STEP = ("--epochs", 1, "--learning-rate", 1e-30, "--precision", "float32")


@pytest.fixture(scope="module")
def plain(made_run, tmp_path_factory):
    """The made run's weights as a PyTorch user has them: a state dict, and nothing else."""
    path = tmp_path_factory.mktemp("plain") / "model.pth"
    weights, _ = read_arrays(made_run.model_path)
    torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, path)
    return path


@pytest.fixture(scope="module")
def files(plain):
    """Transferred files by suffix."""
    paths = {suffix: plain.parent / f"transferred{suffix}" for suffix in (".pt", ".keras", ".h5", ".safetensors")}
    for path in paths.values():
        assert 0 == diptych("transfer", plain, path, *SIZE, *SCALING, "--class-names", *DIGITS).code
    return paths


@pytest.fixture(scope="module")
def letters(digits, tmp_path_factory):
    """The digits with other names, as files."""
    folder = write_split(tmp_path_factory.mktemp("letters"), digits.test)
    for name in DIGITS:
        (folder / name).rename(folder / f"letter-{name}")
    return folder


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (SCALING, "check: 9"),  # 90 to 99 %
        (("--mean", 0.9, "--std", 0.05), "warning: check: "),
        ((*SCALING, "--class-names", *reversed(DIGITS)), "warning: check: "),
    ],
)
def test_a_check_says_whether_a_transferred_file_is_better_than_chance(plain, tmp_path, options, line):
    told = diptych("transfer", plain, tmp_path / "a.safetensors", *SIZE, *options, "--check", "digits")
    (found,) = [text for text in told.out.splitlines() if "check: " in text]
    assert (0, "", True) == (told.code, told.err, found.startswith(line)), found
    assert ("(--class-names)" in found) == line.startswith("warning")


def test_a_check_with_other_classes_says_what_was_written(plain, tmp_path):
    names = ("--class-names", *"abcdefghij")
    told = refused("transfer", plain, tmp_path / "a.pt", *SIZE, *names, "--check", "digits")
    assert (
        f"'{tmp_path / 'a.pt'}' is written, but cannot be checked (--class-names names its classes): 'digits': " in told
    )


def test_names_and_scaling_are_written_into_the_file(plain, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\ufeffnull\neins\nzwei\ndrei\nvier\nfünf\nsechs\nsieben\nacht\nneun\n", encoding="utf-8")
    diptych("transfer", plain, tmp_path / "a.keras", *SIZE, "--class-names", names, "--mean", 0.1, "--std", 0.3)
    card = package.describe(tmp_path / "a.keras")
    assert names.read_text("utf-8-sig").split() == list(card["class_names"])
    assert ([0.1], [0.3]) == tuple(card["spec"]["layers"][0][name] for name in ("mean", "std"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mean", 127.5), "--mean must be a number in [0, 1], got 127.5"),
        (("--std", 0, "--mean", 0.5), "--std must be a number in (0, 1], got 0"),
        (("--mean", 0.5), "--mean and --std must both have 1 numbers"),
        (("--mean", 0.5, 0.5, 0.5, "--std", 0.5, 0.5, 0.5), "--mean and --std must both have 1 numbers"),
        (("--class-names", "cat"), "--class-names must have 10 different names, got 1"),
        (("--class-names", *"0000000000"), "--class-names must have 10 different names, got 10"),
        (("--class-names", *"012345678", "a\x1b[1m"), "--class-names must have 10 different names, got 10"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(plain, tmp_path, options, message):
    assert message in refused("transfer", plain, tmp_path / "a.pt", *SIZE, *options)
    assert not (tmp_path / "a.pt").exists()


def test_a_run_is_a_source_whose_card_cannot_be_contradicted(made_run, tmp_path):
    done = package.transfer(made_run.directory, tmp_path / "a.keras")
    assert ("cnn", (0.5,), ()) == (done.model, done.mean, done.remarks)
    assert list(DIGITS) == list(package.describe(tmp_path / "a.keras")["class_names"])
    for source in (made_run.directory, made_run.model_path, tmp_path / "a.keras"):
        assert "has a card, with mean (0.5,)" in refused(
            "transfer", source, tmp_path / "b.pt", "--class-names", *"abcdefghij"
        )
    with pytest.raises(UsageError, match="--class-names, --mean and --std are for other files"):
        package.transfer(made_run.directory, tmp_path / "b.pt", mean=[0.4], std=[0.25])
    assert CardOptions(class_names=list("ab")).class_names == ("a", "b")


@pytest.mark.parametrize("suffix", [".pt", ".keras", ".h5", ".safetensors"])
def test_a_transferred_file_is_exported_with_a_test_set(files, made_run, suffix, tmp_path):
    told = answered(
        "export", files[suffix], "--to", "onnx", "tflite-int8", "--data", "digits", "--out", tmp_path, *ONE_THREAD
    )
    assert ["ok", "ok"] == [entry["status"] for entry in told]
    assert made_run.read_metrics()["accuracy"] == told[0]["accuracy"] == told[0]["trained_accuracy"]
    assert "359 test images, digits" == json.loads((tmp_path / "export.json").read_text())["verified_on"]


def test_without_test_images_random_ones_are_used_and_a_line_says_so(files):
    told = diptych("export", files[".pt"], "--to", "onnx", "tflite-dynamic", "tflite-int8", *ONE_THREAD)
    assert "No test images (--data DATA): verified with 256 random images; accuracy is unknown." in told.err
    report = json.loads((files[".pt"].parent / "export" / "export.json").read_text())
    entries = report["formats"]
    assert {"onnx": "ok", "tflite-dynamic": "unverified", "tflite-int8": "impossible"} == {
        name: entry["status"] for name, entry in entries.items()
    }
    assert ("256 test images, random, without labels", False) == (report["verified_on"], "accuracy" in entries["onnx"])
    assert "add --calibration DATA" in entries["tflite-int8"]["reason"]
    advice = ("--calibration", "digits", *ONE_THREAD)
    assert 0 == diptych("export", files[".pt"], "--to", "tflite-dynamic", "tflite-int8", *advice).code


def test_calibration_pixels_are_enough_to_write_an_integer_file(files, digits, tmp_path):
    options = {"calibration": digits.train.images[:99], "out": tmp_path, "threads": 1}
    with pytest.warns(package.errors.Remark, match="No test images"):
        (told,) = package.export(files[".keras"], "tflite-int8", **options)
    assert ("unverified", True) == (told.status, "with --data DATA" in told.reason)


def test_an_exported_file_is_exported_again(made_run, tmp_path):
    package.export(made_run, "weights-h5", out=tmp_path, threads=1)
    (told,) = package.export(
        tmp_path / "cnn.weights.h5", "safetensors", out=tmp_path / "again", data="digits", threads=1
    )
    assert ("ok", made_run.read_metrics()["accuracy"]) == (told.status, told.accuracy)
    package.export(made_run, "onnx", out=tmp_path, threads=1)
    assert "weights are read from PyTorch state dicts, safetensors" in refused(
        "export", tmp_path / "cnn.onnx", "--to", "keras"
    )


def test_a_run_whose_data_is_gone_is_exported_with_other_data(made_run, letters, tmp_path):
    assert "has classes that" in refused("export", made_run.directory, "--to", "onnx", "--data", letters)
    told = answered("export", made_run.directory, "--to", "onnx", "--data", "digits", "--out", tmp_path, *ONE_THREAD)
    assert ["ok"] == [entry["status"] for entry in told]


def test_a_transferred_file_is_measured(files, tmp_path):
    options = ("--to", "onnx", "--seconds", 0.1, "--out", tmp_path, *ONE_THREAD)
    told = diptych("benchmark", files[".pt"], *options, "--fail-under", "accuracy=0.5")
    assert 1 == told.code
    assert "accuracy is unknown; at least 0.5 is required" in told.err
    assert 0 == diptych("benchmark", files[".pt"], *options, "--fail-under", "accuracy=0.5", "--data", "digits").code


@pytest.mark.parametrize("suffix", [".pt", ".keras", ".safetensors"])
def test_a_changed_weight_is_noticed_by_the_card(files, digit_files, tmp_path, suffix):
    path = tmp_path / f"changed{suffix}"
    weights = read_weights(files[suffix], zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,)))
    (array,) = [array for name, array in weights.items() if name == "fc2.bias"]
    content = bytearray(files[suffix].read_bytes())
    content[content.index(array.tobytes())] ^= 1
    path.write_bytes(content)
    for command in (("evaluate", path, "digits"), ("predict", path, digit_files[0]), ("export", path, "--to", "onnx")):
        assert str(path) in refused(*command)


@pytest.mark.parametrize("suffix", [".pt", ".keras", ".safetensors"])
def test_training_starts_from_a_file_in_both_engines(files, made_run, suffix, tmp_path):
    runs = train("digits", "--from", files[suffix], *NO_STEP, "--engine", "both", "--out", tmp_path)
    for run in runs:
        expected, _ = read_arrays(made_run.model_path)
        found, _ = read_arrays(run.model_path)
        for name in ("fc1.weight", "fc2.weight", "fc2.bias"):
            np.testing.assert_allclose(expected[name], found[name], atol=1e-7)
        assert f"started from all weights of '{files[suffix]}'" == run.read_record().start.remark
        run.verify()


def test_other_classes_get_a_new_last_layer_which_is_said(files, letters, made_run, tmp_path):
    told = diptych("train", letters, "--from", made_run.directory, *NO_STEP, "--out", tmp_path, *ONE_THREAD)
    (run,) = (Run(path.parent) for path in tmp_path.glob("*/run.json"))
    line = f"started from '{made_run.directory}' with a new last layer 'fc2': it has the classes 0, 1, 2, and 7 more"
    assert (0, True) == (told.code, f"{line}, the data letter-0, letter-1, letter-2, and 7 more\n" in told.err)
    assert run.read_record().start.remark.startswith(line)
    expected, found = read_arrays(made_run.model_path)[0], read_arrays(run.model_path)[0]
    np.testing.assert_allclose(expected["fc1.weight"], found["fc1.weight"], atol=1e-7)
    assert np.abs(expected["fc2.weight"] - found["fc2.weight"]).max() > 0.1


def test_an_interrupted_start_resumes_from_the_same_weights(files, tmp_path, monkeypatch):
    (run,) = train("digits", "--from", files[".pt"], *NO_STEP, "--out", tmp_path)
    shutil.rmtree(run.checkpoints_dir)
    run.manifest_path.unlink()
    run.events_path.unlink()
    expected = run.model_path.read_bytes()
    assert 0 == diptych("train", "--resume", run.directory, *ONE_THREAD).code
    assert expected == run.model_path.read_bytes()
    shutil.rmtree(run.checkpoints_dir)
    run.manifest_path.unlink()
    run.events_path.unlink()
    write_arrays(run.start_path, read_arrays(run.start_path)[0], {"changed": "yes"})
    assert f"'{run.start_path}' has changed" in refused("train", "--resume", run.directory, *ONE_THREAD)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "FILE", "--model", "mlp"), "contains the model 'cnn', but --model names another"),
        (("--from", "PLAIN"), "has no card"),
        (("--from", "nowhere"), "'nowhere' is not a run"),
        (("--resume", "nowhere", "--from", "FILE"), "cannot be changed by --resume"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(files, plain, tmp_path, arguments, message):
    places = {"FILE": files[".pt"], "PLAIN": plain}
    data = () if "--resume" in arguments else ("digits",)
    assert message in refused("train", *data, *(places.get(word, word) for word in arguments), "--out", tmp_path)


def test_the_last_layer_follows_the_order_of_the_classes():
    spec = zoo.model("resnet20", (8, 8, 1), 3)
    weights = {array.name: np.arange(array.size, dtype=np.float32).reshape(array.shape) for array in spec.arrays}
    start = Start.of("file", spec, ("a", "b", "c"), weights, ("c", "a", "b"), 0)
    np.testing.assert_array_equal(weights["linear.weight"][[2, 0, 1]], start.weights["linear.weight"])
    np.testing.assert_array_equal(weights["conv1.weight"], start.weights["conv1.weight"])
    assert 2 == Start.of("file", spec, ("a", "b", "c"), weights, ("a", "b"), 0).spec.num_classes
