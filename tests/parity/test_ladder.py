"""Every model of the zoo, and every layer with every option, is the same model in both frameworks."""

import numpy as np
import pytest
import specs

from diptych.comparison.parity import rungs, samples, verify
from diptych.comparison.parity.features import FEATURES, recipe_with, update_recipes, uses
from diptych.errors import UsageError
from diptych.spec import Recipe, zoo

SHAPES = {
    "mlp": (6, 9, 3),
    "cifar_sequential": (20, 18, 3),
    "fashion_cnn": (14, 12, 1),
    "cnn": (8, 12, 3),
    "resnet20_b": (8, 9, 3),
}


def spec(name):
    return zoo.model(name, SHAPES.get(name, (8, 8, 3)))


# ResNet-56 has the layers of ResNet-20.
@pytest.mark.parametrize(
    "name", [name if "56" not in name else pytest.param(name, marks=pytest.mark.long) for name in zoo.MODELS]
)
def test_a_model_of_the_zoo_is_the_same_in_every_format(pair, name):
    certificate = verify(spec(name), optimizers=("sgd",), digits_epochs=0, pair=pair)
    assert certificate.passed, certificate.to_text()
    assert {"float64", "float32", "float16", "bfloat16"} == {rung.precision for rung in certificate.rungs}


@pytest.mark.parametrize("write_spec", specs.LAYERS)
def test_every_layer_and_option_is_the_same(pair, write_spec):
    found = verify(write_spec(), steps=20, digits_epochs=0, pair=pair)
    assert found.passed, found.to_text()


def test_a_model_passes_every_comparison_and_only_gpus_are_not_tested(pair):
    steps = []
    certificate = verify(spec("fashion_cnn"), steps=5, digits_epochs=2, pair=pair, on_step=steps.append)
    assert certificate.passed, certificate.to_text()
    assert (("GPUs",), ()) == (certificate.not_tested, certificate.not_used)
    same, total = certificate.predictions
    assert 300 < same == total
    assert certificate.float64_difference < 1e-12
    assert "starting both frameworks" == steps[0]
    assert "training a small model with dropout" in steps


def test_a_recipe_is_tested_for_what_it_uses_and_the_rest_is_listed(pair):
    recipe = Recipe(
        epochs=1,
        optimizer="adam",
        update_form="keras",
        l2=0.01,
        label_smoothing=0.1,
        schedule="constant",
        crop_padding=0,
        precision="float32",
    )
    certificate = verify(spec("mlp"), recipe=recipe, steps=5, pair=pair)
    assert certificate.passed, certificate.to_text()
    trained = [rung.name.removeprefix("training with ") for rung in certificate.rungs if "training with" in rung.name]
    assert ["plain SGD", "L2 decay by role", "label smoothing", "constant schedule"] == trained
    assert ("GPUs",) == certificate.not_tested
    assert {"optimizer sgd", "precision bfloat16", "weight averages", "dropout"} < set(certificate.not_used)
    assert not {"optimizer adam", "precision float32", "label smoothing"} & set(certificate.not_used)
    assert "Not tested: GPUs.\nNot used by the recipe or the model: precision float16, " in certificate.to_text()


def test_options_of_a_recipe_that_were_left_out_are_not_tested_rather_than_not_used(pair):
    recipe = Recipe(mixup=0.1, crop_padding=2, precision="float32")
    certificate = verify(spec("cnn"), recipe=recipe, precisions=("float64",), steps=2, digits_epochs=0, pair=pair)
    left_out = ("precision float32", "mixup and cutmix", "augmentation", "one_cycle schedule", "dropout")
    assert {"training this model", "GPUs", *left_out} < set(certificate.not_tested)
    assert not {"label smoothing", "precision float16", "optimizer sgd"} - set(certificate.not_used)


def test_samples_hide_no_mistake():
    arrays = samples.weights(spec("cnn"), seed=0)
    assert all(array.std() > 0 for array in arrays.values())  # no array could replace another
    images = np.concatenate([batch.images for batch in samples.batches(spec("cnn"), 4, 7, seed=0)])
    assert 0.01 > np.isin(images, (0, 255)).mean()
    assert 28 == len(np.unique(images, axis=0))


def test_digits_omit_classes_that_the_model_lacks():
    dataset = samples.digits(specs.branches(), Recipe(), seed=0)
    assert (6, 9, 3) == dataset.train.images.shape[1:] == dataset.test.images.shape[1:]
    assert {0, 1, 2, 3, 4} == set(dataset.train.labels.tolist())


def test_a_model_may_have_more_classes_than_digits():
    dataset = samples.digits(zoo.model("mlp", (4, 4, 1), 100), Recipe(), seed=0)
    assert 100 == dataset.num_classes
    assert (1295, 143, 359) == (dataset.sizes.train, dataset.sizes.validation, dataset.sizes.test)


def test_a_nan_in_one_engine_allows_no_difference():
    both = {"loss": np.ones(2)}, {"loss": np.full(2, np.nan)}
    assert "FAIL" == rungs.exact("loss", both, lambda nudged: both).status


@pytest.mark.parametrize(
    ("fields", "feature"),
    [({"saturation": 0.1}, "augmentation"), ({"schedule": "constant", "warmup_epochs": 1.0}, "constant schedule")],
)
def test_a_feature_tests_every_field_that_a_recipe_uses_it_for(fields, feature):
    assert uses(Recipe(flip="none", crop_padding=0, **fields), feature)
    assert fields.keys() <= FEATURES[feature].keys()


def test_a_decay_of_zero_is_not_tested_as_a_decay():
    recipe = Recipe(optimizer="sgd", no_decay=(), l2=0.01)
    assert ["L2 decay by role"] == [name for name in FEATURES if "decay by role" in name and uses(recipe, name)]


def test_the_averages_of_a_short_training_depend_on_their_decay():
    first_steps = 1 - 9 / (10 + 2)  # the lower decay of early steps
    decay = recipe_with("weight averages", Recipe(average_decay=0.999)).average_decay
    assert 0 < decay < first_steps


def test_updates_in_float64_have_no_loss_scale():
    assert {"adam": "float32"} == {
        name: recipe.precision
        for name, recipe in update_recipes((), Recipe(optimizer="adam", precision="float16")).items()
    }


def test_an_unknown_optimizer_is_rejected_before_workers_start():
    with pytest.raises(UsageError, match=r"Unknown optimizer 'adamm' \(did you mean 'adam"):
        verify(specs.branches(), optimizers=("adamm",))
