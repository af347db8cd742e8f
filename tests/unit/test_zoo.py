"""The models that have a name are the ones that papers and tutorials describe."""

import json
from math import prod

import pytest

from diptych.errors import SpecError
from diptych.spec import arithmetic, zoo
from diptych.spec import layers as L
from diptych.spec.codec import model_from_json, model_to_json

ARRAYS_OF_A_NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize(
    ("expected", "name", "input_shape"),
    [
        (269_722, "resnet20", (32, 32, 3)),  # 0.27 M in He et al. 2015, table 6
        (853_018, "resnet56", (32, 32, 3)),  # 0.85 M there
        (122_570, "cifar_sequential", (32, 32, 3)),  # as TensorFlow's tutorial prints it
        (64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10, "mlp", (8, 8, 1)),
        (32 * 10 + 64 * (32 * 9 + 1) + 128 * (64 * 25 + 1) + 10 * 129, "fashion_cnn", (28, 28, 1)),
    ],
)
def test_a_model_has_as_many_parameters_as_published_or_counted(expected, name, input_shape):
    assert expected == zoo.model(name, input_shape).num_parameters


def test_projection_shortcuts_cost_two_small_convolutions_with_their_norms():
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert 269_722 + projections == zoo.model("resnet20_b").num_parameters


def test_resnet20_multiplies_and_adds_as_often_as_counted_by_hand():
    stem = 32 * 32 * 16 * 27
    stage1 = 6 * 32 * 32 * 16 * 144
    stage2 = 16 * 16 * 32 * (144 + 5 * 288)
    stage3 = 8 * 8 * 64 * (288 + 5 * 576)
    head = 640
    spec = zoo.model("resnet20")
    weighted = [layer for layer in spec.layers if isinstance(layer, L.Conv | L.Dense)]
    flops = sum(arithmetic.flops(layer, spec.input_shapes(layer), spec.shapes[layer.name]) for layer in weighted)
    biases = 10
    assert 40_551_040 == stem + stage1 + stage2 + stage3 + head
    assert 2 * 40_551_040 + biases == flops


def test_a_perceptron_costs_what_was_counted_by_hand():
    normalize = 2 * 64
    layers = 256 * (2 * 64 + 1) + 256 + 256 * (2 * 256 + 1) + 256 + 10 * (2 * 256 + 1)
    assert normalize + layers == zoo.model("mlp", (8, 8, 1)).flops


@pytest.mark.parametrize(("name", "weighted_layers"), [("resnet20", 20), ("resnet56", 56)])
def test_a_resnet_has_as_many_weighted_layers_as_its_name_says(name, weighted_layers):
    layers = zoo.model(name).layers
    assert weighted_layers == sum(isinstance(layer, L.Conv | L.Dense) for layer in layers)


def test_resnet20_names_its_arrays_as_the_common_pytorch_port_does():
    norms = ["bn1", *(f"layer{s}.{b}.bn{i}" for s in (1, 2, 3) for b in (0, 1, 2) for i in (1, 2))]
    expected = {f"{norm}.{array}" for norm in norms for array in ARRAYS_OF_A_NORM}
    expected |= {norm.replace("bn", "conv") + ".weight" for norm in norms}
    expected |= {"linear.weight", "linear.bias"}
    assert expected == {array.name for array in zoo.model("resnet20").arrays}


def test_projection_shortcuts_are_named_as_in_the_port():
    extra = {f"layer{stage}.0.shortcut.0.weight" for stage in (2, 3)}
    extra |= {f"layer{stage}.0.shortcut.1.{array}" for stage in (2, 3) for array in ARRAYS_OF_A_NORM}
    names = [{array.name for array in zoo.model(name).arrays} for name in ("resnet20", "resnet20_b")]
    assert extra == names[1] - names[0]


@pytest.mark.parametrize("name", zoo.MODELS)
def test_array_names_are_unique_and_belong_to_their_layers(name):
    spec = zoo.model(name)
    names = [array.name for array in spec.arrays]
    assert len(set(names)) == len(names)
    assert {layer.name for layer in spec.layers} >= {spec.owner(array).name for array in spec.arrays}


@pytest.mark.parametrize("name", zoo.MODELS)
def test_a_model_is_called_by_its_name_and_comes_back_from_json(name):
    spec = zoo.model(name)
    assert name == spec.name
    assert spec == model_from_json(json.loads(json.dumps(model_to_json(spec))))


@pytest.mark.parametrize("name", ["mlp", "cifar_sequential", "fashion_cnn", "cnn"])
def test_plain_models_are_chains(name):
    assert zoo.model(name).is_chain


@pytest.mark.parametrize("name", ["resnet20", "resnet20_b"])
def test_residual_models_are_no_chains(name):
    assert not zoo.model(name).is_chain


@pytest.mark.parametrize("input_shape", [(1, 1, 1), (2, 3, 3), (8, 8, 1), (28, 28, 1), (33, 47, 3), (64, 64, 3)])
def test_the_default_takes_images_of_every_size(input_shape):
    spec = zoo.model("cnn", input_shape, num_classes=7)
    height, width, _ = spec.shapes["stage3.2.relu"]
    assert 7 == spec.num_classes
    assert min(height, width) >= 1
    assert prod(spec.shapes["stage3.2.relu"]) == spec.shapes["flatten"][0]


def test_the_default_halves_an_image_of_32_pixels_three_times():
    assert (4, 4, 128) == zoo.model("cnn").shapes["stage3.2.relu"]


def test_statistics_of_the_data_go_into_the_first_layer():
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = L.Normalize("normalize", ("input",), mean, std)
    assert expected == zoo.model("cnn", mean=mean, std=std).layers[0]


def test_a_misspelt_model_is_answered_with_the_nearest():
    with pytest.raises(SpecError, match=r"Unknown model 'resnet2' \(did you mean 'resnet20'\?\)"):
        zoo.model("resnet2")


def test_images_too_small_for_a_model_are_refused_by_the_layer_they_end_at():
    with pytest.raises(SpecError, match=r"Layer 'pool2' \(MaxPool\): expected an input of at least \(2, 2\)"):
        zoo.model("cifar_sequential", (8, 8, 1))
