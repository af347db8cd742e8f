"""Initial weights follow their rule's distribution, and from (seed, array name) alone."""

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
    ("expected", "initializer"),
    [
        (sqrt(2 / FAN_IN), "he_normal"),
        (sqrt(2 / (FAN_IN + FAN_OUT)), "glorot_uniform"),
        (sqrt(1 / (3 * FAN_IN)), "uniform_fan_in"),
    ],
)
def test_a_rule_has_its_standard_deviation_and_no_bias(expected, initializer):
    values = drawn(initializer)
    assert pytest.approx(expected, rel=0.01) == values.std()
    assert abs(values.mean()) < 4 * expected / sqrt(values.size)


def test_he_normal_is_not_truncated():
    beyond_two_deviations = np.mean(np.abs(drawn("he_normal")) > 2 * sqrt(2 / FAN_IN))
    assert pytest.approx(0.0455, rel=0.05) == beyond_two_deviations


@pytest.mark.parametrize(
    ("limit", "initializer"),
    [(sqrt(6 / (FAN_IN + FAN_OUT)), "glorot_uniform"), (1 / sqrt(FAN_IN), "uniform_fan_in")],
)
def test_a_uniform_rule_fills_its_interval_and_stays_inside(limit, initializer):
    values = drawn(initializer)
    assert 0.999 * limit < np.abs(values).max() <= limit


@pytest.mark.parametrize(("expected", "initializer"), [(0.0, "zeros"), (1.0, "ones")])
def test_a_constant_rule_is_constant(expected, initializer):
    assert (expected == drawn(initializer)).all()


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


def test_the_order_of_the_arrays_does_not_matter():
    arrays = zoo.model("cnn").arrays
    forwards, backwards = initial_weights(arrays, 0), initial_weights(reversed(arrays), 0)
    assert all(np.array_equal(forwards[name], backwards[name]) for name in forwards)


def test_the_global_generator_is_neither_read_nor_moved():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    drawn("he_normal")
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_the_first_numbers_of_seed_0_are_what_they_always_were():
    values = draw(ArraySpec("conv.weight", (2, 2), "kernel", "he_normal", fan_in=8), 0)
    expected = [[1.1435614840965804, -0.6039295437621902], [-0.5861035404595164, -0.262680268076586]]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_a_model_starts_with_every_array_in_its_shape_and_in_float64():
    spec = zoo.model("cnn", (8, 8, 1))
    weights = initial_weights(spec.arrays, seed=0)
    assert {array.name: array.shape for array in spec.arrays} == {name: w.shape for name, w in weights.items()}
    assert {np.dtype(np.float64)} == {array.dtype for array in weights.values()}
    assert (weights["stage1.1.norm.running_var"] == 1).all()
    assert (weights["fc1.bias"] == 0).all()


@pytest.mark.parametrize("initializer", ["zeros", "uniform_fan_in"])
def test_a_bias_is_drawn_by_its_own_rule_and_its_kernels_fan_in(initializer):
    graph = Graph((2, 2, 1), (0.5,), (0.25,))
    graph.add(L.Conv, "conv", filters=2, kernel=(2, 1), bias_initializer=initializer)
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "head", units=3, bias_initializer=initializer)
    model = graph.model("linear")
    for expected, name in ((2, "conv"), (4, "head")):
        assert ("he_normal", initializer) == (
            model.array(f"{name}.weight").initializer,
            model.array(f"{name}.bias").initializer,
        )
        assert expected == model.array(f"{name}.bias").fan_in
