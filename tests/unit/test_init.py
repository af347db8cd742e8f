"""Initial weights have the initializer's distribution and depend on seed and array name alone."""

from math import sqrt

import numpy as np
import pytest

from diptych.spec import ArraySpec, zoo
from diptych.spec import layers as L
from diptych.spec.init import draw, initial_weights
from diptych.spec.zoo import Graph

FAN_IN, FAN_OUT = 150, 400


def drawn(initializer, seed=0, name="conv.weight", shape=(400, 6, 5, 5)):
    return draw(ArraySpec(name, shape, "kernel", initializer, FAN_IN, FAN_OUT), seed)


@pytest.mark.parametrize(
    ("initializer", "deviation", "limit"),
    [
        ("he_normal", sqrt(2 / FAN_IN), np.inf),
        ("glorot_uniform", sqrt(2 / (FAN_IN + FAN_OUT)), sqrt(6 / (FAN_IN + FAN_OUT))),
        ("uniform_fan_in", sqrt(1 / (3 * FAN_IN)), 1 / sqrt(FAN_IN)),
    ],
)
def test_an_initializer_has_its_deviation_mean_zero_and_its_interval(initializer, deviation, limit):
    values = drawn(initializer)
    assert pytest.approx(deviation, rel=0.01) == values.std()
    assert abs(values.mean()) < 4 * deviation / sqrt(values.size)
    if limit == np.inf:  # not truncated
        assert pytest.approx(0.0455, rel=0.05) == np.mean(np.abs(values) > 2 * deviation)
    else:
        assert 0.999 * limit < np.abs(values).max() <= limit


def test_another_seed_or_another_name_gives_other_numbers():
    first = drawn("he_normal")
    for other in (drawn("he_normal", seed=1), drawn("he_normal", name="other.weight")):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.02


def test_the_same_seed_and_name_give_the_same_numbers_in_every_model():
    ours, theirs = (initial_weights(zoo.model(name).arrays, seed=3) for name in ("resnet20", "resnet56"))
    shared = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
    assert "layer1.2.conv2.weight" in shared
    for name in shared:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_the_values_of_seed_0_never_change():
    values = draw(ArraySpec("conv.weight", (2, 2), "kernel", "he_normal", fan_in=8), 0)
    expected = [[1.1435614840965804, -0.6039295437621902], [-0.5861035404595164, -0.262680268076586]]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_a_models_initial_arrays_have_their_shapes_in_float64():
    spec = zoo.model("cnn", (8, 8, 1))
    weights = initial_weights(spec.arrays, seed=0)
    assert {array.name: array.shape for array in spec.arrays} == {name: w.shape for name, w in weights.items()}
    assert {np.dtype(np.float64)} == {array.dtype for array in weights.values()}
    assert (weights["stage1.1.norm.running_var"] == 1).all()
    assert (weights["fc1.bias"] == 0).all()


@pytest.mark.parametrize("initializer", ["zeros", "uniform_fan_in"])
def test_a_bias_has_its_own_initializer_and_its_kernels_fan_in(initializer):
    graph = Graph((2, 2, 1), (0.5,), (0.25,))
    graph.add(L.Conv, "conv", filters=2, kernel=(2, 1), bias_initializer=initializer)
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "head", units=3, bias_initializer=initializer)
    model = graph.model("linear")
    for expected, name in ((2, "conv"), (4, "head")):
        weight, bias = (model.array(f"{name}.{part}") for part in ("weight", "bias"))
        assert ("he_normal", initializer, expected) == (weight.initializer, bias.initializer, bias.fan_in)
