"""Shapes, costs and initial weights of specs and of built-in models; tests/golden/spec_errors.txt has the errors."""

from dataclasses import replace
from math import prod, sqrt

import numpy as np
import pytest

from diptych.spec import ArraySpec, ModelSpec, arithmetic, zoo
from diptych.spec import layers as L
from diptych.spec.init import draw, initial_weights
from diptych.spec.zoo import Graph


def small():
    """4×4 gray images, five classes: all numbers can be counted by hand."""
    graph = Graph((4, 4, 1), (0.5,), (0.25,))
    graph.conv("conv", 3, padding=1)
    graph.add(L.BatchNorm, "norm")
    graph.relu("relu")
    graph.max_pool("pool")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "head", units=5)
    return graph.model("small")


def shape_of(layer, *inputs):
    return arithmetic.output_shape(layer, inputs)


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        ((6, 6, 4), {"kernel": (3, 3)}),
        ((8, 8, 4), {"kernel": (3, 3), "padding": (1, 1, 1, 1)}),
        ((4, 4, 4), {"kernel": (3, 3), "padding": (1, 1, 1, 1), "strides": (2, 2)}),
        ((4, 3, 4), {"kernel": (1, 3), "strides": (2, 2)}),
        ((7, 8, 4), {"kernel": (5, 1), "padding": (1, 2, 0, 0)}),
    ],
)
def test_the_output_of_a_convolution_is_floor_of_padded_minus_kernel_over_stride_plus_one(expected, settings):
    assert expected == shape_of(L.Conv("conv", ("x",), filters=4, **settings), (8, 8, 3))


@pytest.mark.parametrize("kind", [L.MaxPool, L.AvgPool])
def test_a_pool_keeps_the_channels_and_drops_incomplete_windows(kind):
    pool = kind("pool", ("x",), kernel=(2, 2), strides=(2, 2))
    assert (3, 4, 5) == shape_of(pool, (7, 9, 5))
    padded = replace(pool, kernel=(3, 3), padding=(1, 1, 1, 1))
    assert (4, 5, 5) == shape_of(padded, (7, 9, 5))


@pytest.mark.parametrize(
    ("shape", "flops", "layer", "inputs"),
    [
        ((8, 6, 3), 2 * 144, L.BatchNorm("x", ("a",)), [(8, 6, 3)]),
        ((8, 6, 3), 144, L.Activation("x", ("a",)), [(8, 6, 3)]),
        ((24,), 0, L.Dropout("x", ("a",)), [(24,)]),
        ((144,), 0, L.Flatten("x", ("a",)), [(8, 6, 3)]),
        ((3,), 144, L.GlobalAvgPool("x", ("a",)), [(8, 6, 3)]),
        ((7,), 7 * (2 * 24 + 1), L.Dense("x", ("a",), units=7), [(24,)]),
        ((8, 6, 3), 2 * 144, L.Add("x", ("a", "b", "c")), [(8, 6, 3)] * 3),
        ((8, 6, 8), 0, L.Concat("x", ("a", "b")), [(8, 6, 3), (8, 6, 5)]),
        ((8, 6, 10), 0, L.PadChannels("x", ("a",), before=3, after=4), [(8, 6, 3)]),
        ((2, 2, 1), 4 * 9, L.AvgPool("x", ("a",), kernel=(3, 3), strides=(1, 1)), [(4, 4, 1)]),
        # 2 by 2 by 4 outputs, each a sum over 9 places of the 2 channels of its group
        ((2, 2, 4), 16 * 2 * 9 * 2, L.Conv("x", ("a",), 4, (3, 3), groups=2, use_bias=False), [(4, 4, 4)]),
    ],
)
def test_the_output_shape_and_flops_of_other_layers_are_those_counted_by_hand(shape, flops, layer, inputs):
    assert shape == shape_of(layer, *inputs)
    assert flops == arithmetic.flops(layer, tuple(inputs), shape)


def test_a_model_has_the_shape_of_its_input_and_of_every_layer():
    maps = {"input": (4, 4, 1), "normalize": (4, 4, 1), "conv": (4, 4, 3), "norm": (4, 4, 3), "relu": (4, 4, 3)}
    assert {**maps, "pool": (2, 2, 3), "flatten": (12,), "head": (5,)} == small().shapes
    assert 5 == small().num_classes


def test_arrays_have_pytorchs_names_and_layouts():
    expected = {"conv.weight": (3, 1, 3, 3), "conv.bias": (3,), "head.weight": (5, 12), "head.bias": (5,)}
    expected |= {f"norm.{array}": (3,) for array in ("weight", "bias", "running_mean", "running_var")}
    assert expected == {array.name: array.shape for array in small().arrays}


def test_the_kernel_of_a_grouped_convolution_has_the_channels_of_a_group():
    graph = Graph((8, 8, 3), (0.5,) * 3, (0.25,) * 3)
    graph.conv("wide", 8, use_bias=False)
    graph.conv("grouped", 12, groups=4, use_bias=False)
    graph.add(L.GlobalAvgPool, "pool")
    kernel = graph.model("grouped").array("grouped.weight")
    assert ((12, 2, 3, 3), 18, 27) == (kernel.shape, kernel.fan_in, kernel.fan_out)


def test_parameters_and_flops_are_those_counted_by_hand_and_running_statistics_are_no_parameters():
    model, convolution, head = small(), 48 * (2 * 9 + 1), 5 * (2 * 12 + 1)
    assert {"norm.running_mean", "norm.running_var"} == {a.name for a in model.arrays if not a.trainable}
    assert 3 * 9 + 3 + 3 + 3 + 5 * 12 + 5 == model.num_parameters
    assert sum([2 * 16, convolution, 2 * 48, 48, 12 * 4, 0, head]) == model.flops


def test_a_flattened_map_is_recognized_through_elementwise_layers_and_may_feed_more_than_dense():
    graph = Graph((4, 4, 1), (0.5,), (0.25,))
    graph.add(L.Flatten, "flatten")
    graph.relu("relu")
    graph.add(L.Dropout, "dropout")
    graph.add(L.Dense, "hidden", units=8)
    graph.relu("relu2")
    model = graph.model("flat")
    assert model.layer("flatten") == model.flatten_behind(model.layer("dropout"))
    assert model.flatten_behind(model.layer("relu2")) is None
    assert model.only_feeds_dense(model.layer("flatten"))
    graph.add(L.Concat, "both", inputs=("dropout", "relu2"))
    model = graph.model("skip")
    assert (24,) == model.shapes["both"]
    assert not model.only_feeds_dense(model.layer("flatten"))


def test_normalize_is_one_multiplication_and_one_addition_per_channel():
    scale, offset = L.scale_and_offset(mean=(0.5, 0.25), std=(0.5, 0.125))
    for channel, (mean, std) in enumerate([(0.5, 0.5), (0.25, 0.125)]):
        for pixel in (0, 1, 128, 255):
            assert pytest.approx((pixel / 255 - mean) / std) == pixel * scale[channel] + offset[channel]


def test_a_name_may_begin_with_another_layers_name():
    normalize = L.Normalize("normalize", ("input",), mean=(0.5,), std=(0.25,))
    layers = (normalize, L.Flatten("fc", ("normalize",)), L.Dense("fc1", ("fc",), units=2))
    assert 2 == ModelSpec("fine", (4, 4, 1), layers).num_classes


NORM = ("weight", "bias", "running_mean", "running_var")
PROJECTIONS = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64


@pytest.mark.parametrize(
    ("expected", "name", "input_shape"),
    [
        (269_722, "resnet20", (32, 32, 3)),  # 0.27 M in He et al. 2015, table 6
        (269_722 + PROJECTIONS, "resnet20_b", (32, 32, 3)),
        (853_018, "resnet56", (32, 32, 3)),  # 0.85 M there
        (122_570, "cifar_sequential", (32, 32, 3)),  # as in TensorFlow's tutorial
        (64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10, "mlp", (8, 8, 1)),
        (32 * 10 + 64 * (32 * 9 + 1) + 128 * (64 * 25 + 1) + 10 * 129, "fashion_cnn", (28, 28, 1)),
    ],
)
def test_the_number_of_parameters_is_the_published_one(expected, name, input_shape):
    assert expected == zoo.model(name, input_shape).num_parameters


def test_resnets_have_the_names_of_the_common_pytorch_port():
    norms = ["bn1", *(f"layer{s}.{b}.bn{i}" for s in (1, 2, 3) for b in (0, 1, 2) for i in (1, 2))]
    expected = {f"{norm}.{array}" for norm in norms for array in NORM} | {"linear.weight", "linear.bias"}
    expected |= {norm.replace("bn", "conv") + ".weight" for norm in norms}
    plain, projected = ({array.name for array in zoo.model(name).arrays} for name in ("resnet20", "resnet20_b"))
    assert expected == plain
    shortcuts = {f"layer{stage}.0.shortcut.0.weight" for stage in (2, 3)}
    assert shortcuts | {f"layer{stage}.0.shortcut.1.{array}" for stage in (2, 3) for array in NORM} == projected - plain


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_model_has_its_name_and_unique_arrays_and_only_resnets_branch(name):
    spec = zoo.model(name)
    names = [array.name for array in spec.arrays]
    assert len(set(names)) == len(names)
    assert {layer.name for layer in spec.layers} >= {spec.owner(array).name for array in spec.arrays}
    assert name == spec.name
    assert name.startswith("resnet") != spec.is_chain


@pytest.mark.parametrize("input_shape", [(1, 1, 1), (2, 3, 3), (8, 8, 1), (28, 28, 1), (33, 47, 3), (64, 64, 3)])
def test_the_default_model_accepts_images_of_any_size(input_shape):
    spec = zoo.model("cnn", input_shape, num_classes=7)
    assert 7 == spec.num_classes
    assert prod(spec.shapes["stage3.2.relu"]) == spec.shapes["flatten"][0] > 0


def test_the_first_layer_normalizes_with_the_given_statistics():
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    assert L.Normalize("normalize", ("input",), mean, std) == zoo.model("cnn", mean=mean, std=std).layers[0]


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
