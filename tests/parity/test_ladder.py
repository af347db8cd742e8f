"""Every model of the zoo, and every layer with every option, is the same model in both frameworks."""

import numpy as np
import pytest
import specs

from diptych.comparison.parity import samples, verify
from diptych.errors import UsageError
from diptych.spec import zoo

SHAPES = {
    "mlp": (6, 9, 3),
    "cifar_sequential": (20, 18, 3),
    "fashion_cnn": (14, 12, 1),
    "cnn": (8, 12, 3),
    "resnet20_b": (8, 9, 3),
}
LAYER_SPECS = (specs.grouped_and_depthwise, specs.padded_pools, specs.branches, specs.flattened_many_ways)


def spec(name):
    return zoo.model(name, SHAPES.get(name, (8, 8, 3)))


# ResNet-56 has the layers of ResNet-20: two steps of one optimizer here, and every step in the long form.
EVERY_STEP, FEW_STEPS = {}, {"optimizers": ("sgd",), "steps": 2}
LADDERS = [(name, FEW_STEPS if "56" in name else EVERY_STEP) for name in zoo.MODELS]
LADDERS += [pytest.param(name, EVERY_STEP, marks=pytest.mark.long) for name in zoo.MODELS if "56" in name]


@pytest.mark.parametrize(("name", "steps"), LADDERS)
def test_a_model_of_the_zoo_is_the_same_in_float64_and_up_to_its_first_step_in_float32(pair, name, steps):
    certificate = verify(spec(name), precisions=("float64",), digits_epochs=0, pair=pair, **steps)
    assert certificate.passed, certificate.to_text()
    assert {1e-9} == {rung.tolerance for rung in certificate.rungs if rung.tolerance}
    assert certificate.float64_difference < 1e-9
    optimizers = ("sgd", "adam", "adamw", "rmsprop") if name in ("mlp", "cnn") else ()
    certificate = verify(
        spec(name), optimizers=optimizers, precisions=("float32",), steps=2, digits_epochs=0, pair=pair
    )
    assert certificate.passed, certificate.to_text()


@pytest.mark.parametrize("write_spec", LAYER_SPECS)
def test_every_layer_and_option_is_the_same(pair, write_spec):
    found = verify(write_spec(), precisions=("float64",), steps=20, digits_epochs=0, pair=pair)
    assert found.passed, found.to_text()
    found = verify(write_spec(), optimizers=(), precisions=("float32",), digits_epochs=0, pair=pair)
    assert found.passed, found.to_text()


def test_samples_hide_no_mistake():
    arrays = samples.weights(spec("cnn"), seed=0)
    assert all(array.std() > 0 for array in arrays.values())  # no array could replace another
    images = np.concatenate([batch.images for batch in samples.batches(spec("cnn"), 4, 7, seed=0)])
    assert 0.01 > np.isin(images, (0, 255)).mean()
    assert 28 == len(np.unique(images, axis=0))


def test_digits_omit_classes_that_the_model_lacks():
    train, test = samples.digits(specs.branches())
    assert (6, 9, 3) == train.images.shape[1:] == test.images.shape[1:]
    assert {0, 1, 2, 3, 4} == set(train.labels.tolist())


def test_every_step_is_announced_and_dropout_is_set_to_0(pair):
    steps = []
    settings = {"optimizers": ("sgd",), "precisions": ("float64",), "steps": 2, "digits_epochs": 0}
    dropping = zoo.model("fashion_cnn", (10, 10, 1))
    certificate = verify(dropping, **settings, pair=pair, on_step=steps.append)
    assert certificate.passed, certificate.to_text()
    announced = ["comparing layers and gradients in float64", "training 2 steps of sgd in float64"]
    assert ["starting both frameworks", *announced] == steps


def test_an_unknown_optimizer_is_rejected_before_workers_start():
    with pytest.raises(UsageError, match=r"Unknown optimizer 'adamm' \(did you mean 'adam"):
        verify(specs.branches(), optimizers=("adamm",))
