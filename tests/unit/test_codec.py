"""Specs and recipes survive JSON, recipes have the right defaults, and an error names the layer, field and value."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commands import GOLDEN, golden

from diptych.errors import SpecError
from diptych.spec import Recipe, codec
from diptych.spec import layers as L
from diptych.spec.codec import model_from_json, model_to_json, recipe_from_json, recipe_to_json
from diptych.spec.recipe import RECIPES, recipe_named
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
        (b"[" * 100_000, "'{}' is not JSON: maximum recursion depth exceeded"),
    ],
    ids=["not text", "another format", "a list", "deep lists"],
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
    L.Conv: {"filters": 4, "kernel": (3, 2), "strides": (2, 1), "padding": (1, 2, 0, 1), "use_bias": False},
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
    fields = {"optimizer": "rmsprop", "learning_rate": 1e-9, "nesterov": False, "cutout": 16}
    fields |= {"validation_fraction": 1 / 3, "no_decay": (), "step_epochs": (300, 7), "class_weights": (1e3, 0.1)}
    for recipe in (Recipe(**fields), Recipe(class_weights="balanced")):
        assert recipe == recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_fields_are_converted_to_their_own_types():
    recipe = Recipe(epochs=np.int64(3), momentum=np.float32(0.5), l2=1, step_epochs=[1, 2])
    assert (3, 0.5, 1.0, (1, 2)) == (recipe.epochs, recipe.momentum, recipe.l2, recipe.step_epochs)
    assert (int, float, float) == (type(recipe.epochs), type(recipe.momentum), type(recipe.l2))


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [("sgd", 0.05, 0.0), ("adam", 0.003, 0.0), ("adamw", 0.003, 0.05), ("rmsprop", 0.0005, 0.0)],
)
def test_default_rate_and_decay_depend_on_the_optimizer(optimizer, rate, decay):
    assert (rate, decay) == (Recipe(optimizer=optimizer).rate, Recipe(optimizer=optimizer).decay)
    given = Recipe(optimizer=optimizer, learning_rate=0.25, decoupled_decay=0.0)
    assert (0.25, 0.0) == (given.rate, given.decay)


@pytest.mark.parametrize(
    ("epochs", "image_shape", "mirror", "flip", "crop_padding"),
    [
        (15, (32, 32, 3), True, "none", 0),
        (16, (32, 32, 3), True, "horizontal", 2),
        (16, (28, 28, 1), False, "none", 2),
        (20, (96, 64, 3), True, "horizontal", 4),
        (20, (8, 8, 1), False, "none", 0),
    ],
)
def test_only_long_trainings_change_images_by_default(epochs, image_shape, mirror, flip, crop_padding):
    recipe = Recipe(epochs=epochs).for_data(image_shape, mirror)
    assert (flip, crop_padding) == (recipe.flip, recipe.crop_padding)
    given = Recipe(epochs=epochs, flip="both", crop_padding=3).for_data(image_shape, mirror)
    assert ("both", 3) == (given.flip, given.crop_padding)


@pytest.mark.parametrize(
    ("epochs", "num_train", "batch_size"),
    [(10, 0, 64), (2, 1000, 16), (4, 32_000, 32), (4, 64_000, 64), (1, 63_999, 16)],
)
def test_short_trainings_have_smaller_batches_by_default(epochs, num_train, batch_size):
    recipe = Recipe(epochs=epochs).for_data((8, 8, 1), mirror=False, num_train=num_train)
    assert batch_size == recipe.batch_size == recipe.batch
    assert 48 == Recipe(batch_size=48).for_data((8, 8, 1), mirror=False, num_train=num_train).batch


@pytest.mark.parametrize("field", [{"early_stopping": 2}, {"keep_best": True}, {"schedule": "plateau"}], ids=str)
def test_some_fields_need_a_validation_split(field):
    assert Recipe(**field).wants_validation
    assert not Recipe().wants_validation


def test_default_has_all_defaults_and_quick_fewer_epochs():
    assert Recipe() == recipe_named("default")
    assert Recipe(epochs=3) == recipe_named("quick")


def test_resnet_cifar_is_the_training_of_the_paper():
    expected = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "learning_rate": 0.1, "batch_size": 128}
    expected |= {
        "epochs": 164,
        "l2": 1e-4,
        "no_decay": (),
        "step_factor": 0.1,
        "crop_padding": 4,
        "step_epochs": (82, 123),
    }
    assert expected == {name: getattr(recipe_named("resnet_cifar"), name) for name in expected}


def test_docstrings_state_the_results_of_the_benchmark(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    benchmark = __import__("recipes")
    results = json.loads(benchmark.RESULTS.read_text()) if benchmark.RESULTS.exists() else {}
    source = benchmark.SOURCE.read_text(encoding="utf-8")
    assert source == benchmark.with_results(source, results)
    assert all("Measured: " in recipe.__doc__ for recipe in RECIPES.values())
