"""The card of an exported file is written and read back; an invalid one is an error."""

import json
from dataclasses import replace

import numpy as np
import pytest

from diptych.deployment.card import Card, parity_digest
from diptych.errors import ArtifactError
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
        (changed(version=2), "of version 2, expected 'diptych-model' of version 1"),
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
