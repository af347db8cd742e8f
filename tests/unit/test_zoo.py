"""The built-in models are those of papers and tutorials."""

from math import prod

import pytest

from diptych.spec import layers as L
from diptych.spec import zoo

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
