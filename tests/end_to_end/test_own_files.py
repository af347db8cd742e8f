"""A spec.json and a recipe.json train; options on the command line override the recipe."""

import json

import pytest
from commands import train

from diptych.artifacts.events import read_events
from diptych.spec.codec import model_from_json

SPEC = {
    "format": "diptych-model",
    "version": 1,
    "name": "two_paths",
    "input_shape": [8, 8, 1],
    "layers": [
        {"type": "Normalize", "name": "scale", "inputs": ["input"], "mean": [0.3], "std": [0.4]},
        {"type": "Conv", "name": "wide", "inputs": ["scale"], "filters": 8, "kernel": [3, 3], "padding": [1, 1, 1, 1]},
        {"type": "Conv", "name": "tall", "inputs": ["scale"], "filters": 8, "kernel": [5, 1], "padding": [2, 2, 0, 0]},
        {"type": "Concat", "name": "both", "inputs": ["wide", "tall"]},
        {"type": "Activation", "name": "act", "inputs": ["both"], "function": "gelu"},
        {"type": "MaxPool", "name": "pool", "inputs": ["act"], "kernel": [2, 2], "strides": [2, 2]},
        {"type": "Flatten", "name": "flatten", "inputs": ["pool"]},
        {"type": "Dense", "name": "head", "inputs": ["flatten"], "units": 10},
    ],
}
RECIPE = {
    "format": "diptych-recipe",
    "version": 1,
    "epochs": 7,
    "optimizer": "sgd",
    "learning_rate": 0.04,
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "crop_padding": 1,
    "precision": "float32",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for name, content in (("spec.json", SPEC), ("recipe.json", RECIPE)):
        (folder / name).write_text(json.dumps(content))
    files = ("--model", folder / "spec.json", "--recipe", folder / "recipe.json")
    overrides = ("--epochs", 2, "--learning-rate", 0.08, "--seed", 5, "--stop-after", 9)
    return train("digits", *files, *overrides, "--out", folder / "runs")[0]


def test_a_spec_file_trains(run):
    assert model_from_json(SPEC) == run.read_record().spec
    assert "digits-two_paths-torch" == run.directory.name


def test_a_recipe_file_is_used_unless_an_option_overrides_it(run):
    record = run.read_record()
    recipe = record.recipe
    followed = {name: RECIPE[name] for name in ("optimizer", "schedule", "label_smoothing", "crop_padding")}
    assert followed == {name: getattr(recipe, name) for name in followed}
    assert (2, 0.08, 5) == (recipe.epochs, recipe.learning_rate, record.seed)


def test_stopping_after_the_last_epoch_finishes_the_run(run):
    assert "finished" == run.read_record().status
    assert [1, 2] == [epoch["epoch"] for epoch in read_events(run.events_path, "epoch")]
