"""Cards are read back, files recognized and compared with the trained model, and calibration images checked."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from diptych.artifacts.run import Predictions
from diptych.data import datasets
from diptych.data.datasets import Split
from diptych.deployment import formats, quantization
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.file_types import find_card, open_artifact, open_zip
from diptych.deployment.formats import FORMATS
from diptych.deployment.verify import Exported, Reference, class_changes, judge, write_golden
from diptych.errors import ArtifactError, DataError, MissingEngine
from diptych.evaluation import softmax
from diptych.spec import init, zoo

SPEC = zoo.model("mlp", (4, 4, 1), 3)
CARD = Card("onnx", SPEC, ("cat", "dog", "emu"), "area when shrinking", "pets", ("torch",), "0" * 64)


def changed(**entries):
    return json.dumps({**json.loads(CARD.to_text()), **entries})


@pytest.mark.parametrize("entries", [{}, {"is_published": True, "test_fingerprint": "f" * 64}])
def test_a_card_reads_back_equal(entries):
    card = replace(CARD, **entries)
    assert card == Card.from_text(card.to_text(), "here")


def test_a_card_describes_inputs_and_outputs_for_other_programs():
    card = json.loads(CARD.to_text())
    expected = {"name": "images", "dtype": "uint8", "layout": "NHWC", "range": [0, 255], "height": 4, "channels": 1}
    assert expected == {key: card["input"][key] for key in expected}
    expected = {"outputs": ["logits", "probabilities"], "class_names": ["cat", "dog", "emu"], "opset": 18}
    assert expected == {key: card[key] for key in expected}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no JSON", "JSON is malformed"),
        ("[]", "expected `object`, got `array`"),
        ("{}", "'kind' is missing"),
        (changed(version=2), "unsupported version 2"),
        (changed(class_names=["cat"]), "it has 1 class names, its model has 3"),
        (changed(class_names=[1, 2, 3]), "'class_names[0]': expected `str`, got `int`"),
        (changed(class_names=["a\x1b[2J", "b", "c"]), "'a\\x1b[2J' has a control character"),
        (changed(spec={"layers": []}), "SpecError"),
        (changed(test_fingerprint=7), "'test_fingerprint': expected `str | null`, got `int`"),
        ('{"spec":{"a":' + "[" * 100_000, "RecursionError"),
    ],
)
def test_an_invalid_card_is_an_error_in_one_line(text, message):
    with pytest.raises(ArtifactError) as raised:
        Card.from_text(text, "'model.onnx'")
    assert str(raised.value).startswith("Cannot read the card in 'model.onnx': ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_equal_models_have_one_parity_digest_and_others_another():
    weights = {name: array.astype(np.float32) for name, array in init.initial_weights(SPEC.arrays, 0).items()}
    assert parity_digest(SPEC, weights) == parity_digest(SPEC, {name: weights[name] for name in reversed(weights)})
    nudged = {**weights, "fc3.bias": np.nextafter(weights["fc3.bias"], np.float32(1))}
    renamed = replace(SPEC, name="other")
    others = {parity_digest(SPEC, weights), parity_digest(SPEC, nudged), parity_digest(renamed, weights)}
    assert 3 == len(others)


@pytest.mark.parametrize(
    ("name", "content", "package", "extra"),
    [("model.onnx", b"\x08\x08\x12", "onnx", "export"), ("model.h5", b"\x89HDF\r\n\x1a\n", "h5py", "tensorflow")],
)
def test_a_missing_package_is_named_with_how_to_install_it(tmp_path, monkeypatch, name, content, package, extra):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(MissingEngine, match=rf"needs the package '{package}', .*pip install 'diptych\[{extra}\]'"):
        open_artifact(tmp_path / name)


def test_a_folder_that_is_not_a_model_is_not_walked(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), "rglob", None)
    with pytest.raises(ArtifactError, match="is not a SavedModel"):
        find_card(tmp_path)


def test_a_folder_of_more_than_a_hundred_files_is_refused(tmp_path):
    for name in ("model.xml", *map(str, range(99))):
        (tmp_path / name).touch()
    assert find_card(tmp_path) is None
    (tmp_path / "99").touch()
    with pytest.raises(ArtifactError, match="more than 100 files"):
        find_card(tmp_path)


@pytest.mark.parametrize("read", [find_card, open_zip])
def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, monkeypatch, read):
    monkeypatch.setattr(type(tmp_path), "open", lambda *_: (tmp_path / "gone").stat())
    with pytest.raises(ArtifactError, match=r"^Cannot read '.*': No such file or directory\.$"):
        read(type(tmp_path)(__file__))


@pytest.mark.parametrize("name", ["absent.onnx", "no\0name.onnx", "long" * 2000])
def test_a_path_that_cannot_exist_is_missing(tmp_path, name):
    with pytest.raises(ArtifactError, match=r"No file or folder|File name too long"):
        find_card(tmp_path / name)


def reference_of(num_images, noise):
    labels_n = np.arange(num_images) % 4
    logits_nk = 4 * np.eye(4)[labels_n] + np.random.default_rng(0).normal(0, noise, (num_images, 4))
    split = Split(np.random.default_rng(1).integers(0, 256, (num_images, 2, 2, 3), np.uint8), labels_n, labels_n)
    return Reference.of(split, Predictions(logits_nk, labels_n, labels_n), tuple("abcd"))


@pytest.fixture
def reference():
    return reference_of(400, noise=1.3)


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_the_same_probabilities_pass(reference, form):
    verdict = judge(Exported(form.name, "unverified"), reference, reference.probabilities_nk)
    assert (None, 0.0, 1.0) == (verdict.reason, verdict.worst_difference, verdict.agreement)
    assert reference.accuracy == verdict.accuracy


def test_a_probability_beyond_the_tolerance_of_the_format_fails(reference):
    nudged_nk = reference.probabilities_nk.copy()
    nudged_nk[reference.golden_g[0], 0] += 2e-5
    onnx = judge(Exported("onnx", "unverified"), reference, nudged_nk)
    assert "differs by 2e-05; at most 1e-05 is allowed" in onnx.reason
    assert judge(Exported("tflite-fp16", "unverified"), reference, nudged_nk).reason is None


@pytest.mark.parametrize(("num_other", "status"), [(0, "ok"), (1, "ok"), (2, "failed")])
def test_one_image_of_a_small_test_set_may_get_another_class(num_other, status):
    small = reference_of(20, noise=0)
    turned_nk = small.probabilities_nk.copy()
    turned_nk[:num_other] = np.roll(turned_nk[:num_other], 1, axis=1)
    verdict = judge(Exported("tflite-dynamic", "unverified"), small, turned_nk)
    assert (status, 1 - num_other / 20) == (verdict.status, verdict.agreement)
    assert (status == "ok") or "90.00% of the images get the trained model's class; at least 97.0%" in verdict.reason


@pytest.mark.parametrize("spoil", [lambda p: p[:-1], lambda p: p[:, :3], lambda p: np.where(p > 0.9, np.nan, p)])
def test_outputs_of_another_shape_or_with_nan_fail(reference, spoil):
    verdict = judge(Exported("tflite-int8", "unverified"), reference, spoil(reference.probabilities_nk))
    assert "expected finite ones" in verdict.reason
    assert (0.0, 0.0) == (verdict.agreement, verdict.accuracy)


def test_predictions_for_another_test_set_are_an_error(reference):
    predictions = Predictions(reference.logits_nk, reference.labels_n, reference.labels_n)
    rolled = Split(reference.images, np.roll(reference.labels_n, 1), reference.labels_n)
    with pytest.raises(ArtifactError, match="for a different test set"):
        Reference.of(rolled, predictions, tuple("abcd"))


def test_the_golden_image_has_the_colors_of_a_test_image(reference, tmp_path):
    write_golden(tmp_path, SimpleNamespace(parity="", class_names="abcd"), reference)
    golden_hwc = cv2.imread(str(tmp_path / "golden.png"))[..., ::-1]
    assert (reference.images == golden_hwc).all((1, 2, 3)).any()


def test_the_accuracy_of_each_class_is_reported_before_and_after(reference):
    blind_nk = reference.logits_nk.copy()
    blind_nk[:, 2] = -100
    entries = class_changes(reference, blind_nk)
    assert ["a", "b", "c", "d"] == [entry["class"] for entry in entries]
    assert entries[2]["trained"] > 0.9 > 0.0 == entries[2]["shipped"]
    assert softmax(blind_nk).argmax(1).max() == 3


@pytest.fixture(scope="module")
def train():
    return datasets.load("digits").train


def test_every_class_has_the_same_share_of_a_repeatable_draw(train):
    drawn = quantization.draw(train, "digits", num_images=50)
    labels = train.labels[drawn.record["indices"]]
    assert [5] * 10 == np.bincount(labels).tolist()
    np.testing.assert_array_equal(train.images[drawn.record["indices"]], drawn.images_nhwc)
    assert drawn.record == quantization.draw(train, "digits", num_images=50).record
    assert drawn.record["sha256"] != quantization.draw(train, "digits", 50, seed=1).record["sha256"]


def test_a_small_class_contributes_all_its_images(train):
    assert len(train) == quantization.draw(train, "digits", num_images=10**6).record["num_images"]


def test_images_like_the_training_images_pass(train):
    quantization.check(datasets.load("digits").test.images, train.images)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images / 255.0, "got float64 of shape .* from 0 to 1"),
        (lambda images: (images / 255.0).astype(np.uint8), "If they were scaled"),
        (lambda images: 255 - images, "If they were scaled"),
        (lambda images: np.full_like(images, 77), "If they were scaled"),
        (lambda images: images[:, :4], r"of shape \(N, 8, 8, 1\); got uint8 of shape \(.*, 4, 8, 1\)"),
        (lambda images: images[:0], r"got uint8 of shape \(0, 8, 8, 1\)"),
    ],
)
def test_images_of_another_range_are_an_error(train, spoil, message):
    with pytest.raises(DataError, match=message):
        quantization.check(spoil(train.images), train.images)
