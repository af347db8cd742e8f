"""Specs and recipes survive JSON, and an invalid one is rejected with the layer, the field and the value."""

import json
from functools import partial

import pytest
from commands import GOLDEN, golden

from diptych.errors import SpecError
from diptych.spec import Recipe, codec
from diptych.spec import layers as L
from diptych.spec.codec import model_from_json, model_to_json, recipe_from_json, recipe_to_json
from diptych.spec.zoo import Graph

MODEL = {
    "format": "diptych-model",
    "version": 1,
    "name": "tiny",
    "input_shape": [8, 8, 1],
    "layers": [
        {"type": "Normalize", "name": "normalize", "inputs": ["input"], "mean": [0.5], "std": [0.25]},
        {"type": "Conv", "name": "conv", "inputs": ["normalize"], "filters": 4, "kernel": [3, 3]},
        {"type": "Flatten", "name": "flatten", "inputs": ["conv"]},
        {"type": "Dense", "name": "head", "inputs": ["flatten"], "units": 3},
    ],
}
RECIPE = {"format": "diptych-recipe", "version": 1}
# Pairs of lines: what is changed in MODEL, in one of its layers or in RECIPE (null removes a field); the error.
CASES = (GOLDEN / "spec_errors.txt").read_text(encoding="utf-8").splitlines()[::2]


def error(read, data):
    with pytest.raises(SpecError) as caught:
        read(data)
    return str(caught.value)


def changed(entries, changes):
    return {key: value for key, value in {**entries, **changes}.items() if value is not None}


def error_of(case):
    where, changes = case[: case.index("{") - 1], json.loads(case[case.index("{") :])
    if where == "recipe":
        return error(recipe_from_json, changed(RECIPE, changes))
    if where == "model":
        return error(model_from_json, changed(MODEL, changes))
    layers, place = [*MODEL["layers"]], int(where.removeprefix("layer "))
    layers[place] = changed(layers[place], changes)
    return error(model_from_json, {**MODEL, "layers": layers})


def test_every_error_is_one_known_line():
    assert 4 * 9 + 4 + 144 * 3 + 3 == model_from_json(MODEL).num_parameters  # unchanged, it is valid
    text = "".join(f"{case}\n    {error_of(case)}\n" for case in CASES)
    assert golden("spec_errors.txt", text) == text


@pytest.mark.parametrize("convert", [model_from_json, recipe_from_json])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xfe\x00", "'{}' is not JSON"),
        (b'{"format": "diptych-x"}', "'{}': Expected a JSON object with "),
        (b"[7]", "'{}': Expected a JSON object with "),
    ],
    ids=["not text", "another format", "a list"],
)
def test_an_error_of_a_file_names_the_file(tmp_path, convert, content, expected):
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    assert error(partial(codec.read, convert=convert), path).startswith(expected.format(path))


def test_missing_fields_of_a_recipe_take_their_defaults_and_integers_become_floats():
    recipe = recipe_from_json({**RECIPE, "epochs": 3, "learning_rate": 1})
    assert Recipe(epochs=3, learning_rate=1.0) == recipe
    assert isinstance(recipe.learning_rate, float)


# Every layer, with another value than the default in each field that it has of its own.
LAYERS = {
    L.Conv: {
        "filters": 4,
        "kernel": (3, 2),
        "strides": (2, 1),
        "padding": (1, 2, 0, 1),
        "groups": 1,
        "use_bias": False,
    },
    L.BatchNorm: {"decay": 1 / 3, "epsilon": 1e-9, "running_variance": "biased"},
    L.Activation: {"function": "leaky_relu", "slope": 0.1},
    L.MaxPool: {"kernel": (3, 3), "strides": (1, 2), "padding": (1,) * 4},
    L.AvgPool: {"kernel": (2, 2), "strides": (1, 1), "padding": (1, 1, 0, 0)},
    L.Dropout: {"rate": 0.0},
    L.Add: {},
    L.Concat: {},
    L.PadChannels: {"before": 1, "after": 2},
    L.Flatten: {},
    L.Dense: {"units": 5, "use_bias": False, "initializer": "glorot_uniform", "bias_initializer": "uniform_fan_in"},
}


@pytest.mark.parametrize("last", [L.Flatten, L.GlobalAvgPool])
def test_a_model_of_every_layer_survives_json(last):
    graph = Graph((9, 7, 3), (0.1, 0.2, 1 / 3), (1e-9, 0.25, 1e3))
    for kind, fields in LAYERS.items():
        inputs = (graph.layers[-1].name,) * (2 if kind in (L.Add, L.Concat) else 1)
        graph.add(last if kind is L.Flatten else kind, kind.__name__, inputs=inputs, **fields)
    spec = graph.model("every-layer_1.0")
    found = model_from_json(json.loads(json.dumps(model_to_json(spec))))
    assert spec == found
    assert spec.arrays == found.arrays


def test_a_recipe_with_a_field_of_each_type_survives_json():
    fields = {
        "optimizer": "rmsprop",
        "learning_rate": 1e-9,
        "nesterov": False,
        "cutout": 16,
        "validation_fraction": 1 / 3,
    }
    fields |= {"no_decay": (), "step_epochs": (300, 7), "class_weights": (1e3, 0.1)}
    for recipe in (Recipe(**fields), Recipe(class_weights="balanced")):
        assert recipe == recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))
