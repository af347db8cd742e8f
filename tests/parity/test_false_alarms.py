"""The parity check passes for correct models: ordinary, odd and random ones, with any seed and every optimizer."""

from typing import get_args

import pytest
from hypothesis import given, settings
from odd_specs import odd_specs
from random_specs import MAX_CHANNELS, MAX_LAYERS, SPECS, random_spec
from test_ladder import spec as of_the_zoo

from diptych.comparison.parity import start, verify
from diptych.spec import layers as L
from diptych.spec import zoo
from diptych.spec.codec import model_from_json, model_to_json
from diptych.spec.recipe import RECIPES

MODELS = [*map(of_the_zoo, zoo.MODELS), *odd_specs(), *map(random_spec, range(30))]


def assert_same(model, pair, seed):
    """No comparison fails in any number format. Two updates are enough: further ones use a fixed small model."""
    certificate = verify(model, steps=2, digits_epochs=0, seed=seed, pair=pair)
    assert certificate.passed, certificate.to_text()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_a_correct_model_passes_with_every_seed(pair, model, seed):
    assert_same(model, pair, seed)


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda threads: f"{threads} threads")
def threaded(request):
    """A pair of workers with this number of threads each."""
    with start(request.param) as workers:
        yield workers


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", zoo.MODELS)
def test_a_model_of_the_zoo_passes_with_every_recipe_and_number_of_threads(threaded, model, recipe):
    certificate = verify(of_the_zoo(model), recipe=RECIPES[recipe](), steps=30, pair=threaded)
    assert certificate.passed, certificate.to_text()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("number", [31, 32])
def test_a_random_model_is_the_same_in_both_frameworks(pair, number, seed):
    assert_same(random_spec(number), pair, seed)


@given(SPECS)
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_a_random_model_is_small_and_survives_json(model):
    assert model_from_json(model_to_json(model)) == model
    assert MAX_LAYERS >= len(model.layers)
    assert all(MAX_CHANNELS >= shape[-1] for shape in model.shapes.values() if len(shape) == 3)


def test_random_models_have_every_layer_with_every_option():
    layers = [layer for seed in range(300) for layer in random_spec(seed).layers]
    used = {(name, value) for layer in layers for name, value in vars(layer).items()}
    assert set(get_args(L.Layer)) == {type(layer) for layer in layers}
    options = {"function": L.Function, "running_variance": L.RunningVariance, "bias_initializer": L.Initializer}
    options |= {"mode": L.DropoutMode}
    for name, values in options.items():
        assert set(get_args(values)) == {value for field, value in used if field == name}
    assert {("use_bias", True), ("use_bias", False), ("strides", (1, 1)), ("strides", (2, 1))} <= used
    assert max(value for name, value in used if name == "groups") > 3  # depthwise
    assert {L.Conv, L.MaxPool, L.AvgPool} == {type(layer) for layer in layers if any(getattr(layer, "padding", ()))}
    joined = {(type(layer), len(set(layer.inputs))) for layer in layers if isinstance(layer, L.Add | L.Concat)}
    assert {(kind, count) for kind in (L.Add, L.Concat) for count in (1, 2, 3)} <= joined
