"""Types, defaults and built-in recipes; tests/golden/spec_errors.txt has the errors."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from diptych.spec import Recipe
from diptych.spec.recipe import RECIPES, recipe_named

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_fields_are_converted_to_their_own_types():
    recipe = Recipe(epochs=np.int64(3), momentum=np.float32(0.5), l2=1, step_epochs=[1, 2])
    assert (3, 0.5, 1.0, (1, 2)) == (recipe.epochs, recipe.momentum, recipe.l2, recipe.step_epochs)
    assert (int, float, float) == (type(recipe.epochs), type(recipe.momentum), type(recipe.l2))


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [("sgd", 0.05, 0.0), ("adam", 0.002, 0.0), ("adamw", 0.002, 0.05), ("rmsprop", 0.0005, 0.0)],
)
def test_default_rate_and_decay_depend_on_the_optimizer(optimizer, rate, decay):
    assert (rate, decay) == (Recipe(optimizer=optimizer).rate, Recipe(optimizer=optimizer).decay)
    given = Recipe(optimizer=optimizer, learning_rate=0.25, decoupled_decay=0.0)
    assert (0.25, 0.0) == (given.rate, given.decay)


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
