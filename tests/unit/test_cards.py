"""Cards are written, read back and found; invalid ones, and files that are no models, are errors."""

import json
from dataclasses import replace

import numpy as np
import pytest

from diptych.deployment import formats
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.file_types import find_card, open_artifact
from diptych.errors import ArtifactError, MissingEngine
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
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `kind`"),
        (changed(version=2), "Invalid enum value 2 - at `$.version`"),
        (changed(class_names=["cat"]), "it has 1 class names, its model has 3"),
        (changed(class_names=[1, 2, 3]), "Expected `str`, got `int` - at `$.class_names[0]`"),
        (changed(class_names=["a\x1b[2J", "b", "c"]), "'a\\x1b[2J' has a control character"),
        (changed(spec={"layers": []}), "SpecError"),
        (changed(test_fingerprint=7), "Expected `str | null`, got `int` - at `$.test_fingerprint`"),
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
    [("model.onnx", b"", "onnx", "export"), ("model.h5", b"\x89HDF\r\n\x1a\n", "h5py", "tensorflow")],
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


@pytest.mark.parametrize("name", ["absent.onnx", "no\0name.onnx", "long" * 2000])
def test_a_path_that_cannot_exist_is_missing(tmp_path, name):
    with pytest.raises(ArtifactError, match="No file or folder"):
        find_card(tmp_path / name)
