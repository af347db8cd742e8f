"""A recipe checks its fields once, settles what is left out by its rule, and is found by name."""

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from diptych.errors import SpecError
from diptych.spec import Recipe, recipes
from diptych.spec.recipe import field_names


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("epochs", 0, "an integer of at least 1"),
        ("batch_size", 0, "an integer of at least 1"),
        ("plateau_patience", 0, "an integer of at least 1"),
        ("learning_rate", 0.0, "a number above 0"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("epsilon", -1e-8, "a number above 0"),
        ("momentum", 1.0, "a number in [0, 1)"),
        ("beta2", 1.0, "a number in [0, 1)"),
        ("average_decay", 1.0, "a number in [0, 1)"),
        ("label_smoothing", -0.1, "a number in [0, 1)"),
        ("validation_fraction", 1.0, "a number in [0, 1)"),
        ("rise", 0.0, "a number in (0, 1]"),
        ("final_factor", 1.5, "a number in (0, 1]"),
        ("l2", -1e-4, "a number of at least 0"),
        ("decoupled_decay", -0.1, "a number of at least 0"),
        ("clip_norm", -1.0, "a number of at least 0"),
        ("warmup_epochs", -1.0, "a number of at least 0"),
        ("mixup", -0.2, "a number of at least 0"),
        ("brightness", 1.5, "a number in [0, 1]"),
        ("crop_padding", -1, "an integer of at least 0"),
        ("early_stopping", -1, "an integer of at least 0"),
        ("no_decay", ("weights",), "roles among kernel, bias, scale, shift"),
        ("optimizer", "adagrad", "one of sgd, adam, adamw, rmsprop"),
        ("schedule", "linear", "one of constant, step, cosine, one_cycle, plateau"),
        ("precision", "float8", "one of auto, float32, bfloat16, float16, float64"),
        ("flip", "sideways", "one of auto, none, horizontal, vertical, both"),
        ("class_weights", "equal", "one of none, balanced"),
        ("epochs", "5", "int"),
        ("epochs", 2.5, "int"),
        ("nesterov", 1, "bool"),
        ("momentum", True, "float"),
        ("no_decay", "bias", "a list"),
    ],
)
def test_a_value_out_of_range_names_the_field_and_what_it_wants(name, value, wanted):
    with pytest.raises(SpecError) as caught:
        Recipe(**{name: value})
    assert str(caught.value).startswith(f"Recipe, '{name}': expected {wanted}, got ")


def test_numbers_and_lists_of_any_kind_become_the_fields_own():
    recipe = Recipe(epochs=np.int64(3), momentum=np.float32(0.5), l2=1, step_epochs=[1, 2])
    assert (3, 0.5, 1.0, (1, 2)) == (recipe.epochs, recipe.momentum, recipe.l2, recipe.step_epochs)
    assert (int, float, float) == (type(recipe.epochs), type(recipe.momentum), type(recipe.l2))


@pytest.mark.parametrize(
    "field", [{"early_stopping": 2}, {"keep_best": True}, {"schedule": "plateau"}], ids=lambda field: next(iter(field))
)
def test_what_looks_at_a_validation_split_is_refused_without_one(field):
    Recipe(**field)
    with pytest.raises(SpecError, match=r"Recipe, 'validation_fraction': .* need a validation split"):
        Recipe(**field, validation_fraction=0.0)


@pytest.mark.parametrize(
    ("expected", "optimizer"), [(0.05, "sgd"), (0.002, "adam"), (0.002, "adamw"), (0.0005, "rmsprop")]
)
def test_a_rate_left_out_is_the_rules_usual_one(expected, optimizer):
    assert expected == Recipe(optimizer=optimizer).rate
    assert 0.25 == Recipe(optimizer=optimizer, learning_rate=0.25).rate


@pytest.mark.parametrize(("expected", "optimizer"), [(0.0, "sgd"), (0.0, "adam"), (0.05, "adamw"), (0.0, "rmsprop")])
def test_a_decay_left_out_is_the_rules_usual_one(expected, optimizer):
    assert expected == Recipe(optimizer=optimizer).decay
    assert 0.0 == Recipe(optimizer=optimizer, decoupled_decay=0.0).decay
    assert 0.1 == Recipe(optimizer=optimizer, decoupled_decay=0.1).decay


def test_a_recipe_cannot_be_changed_in_place_and_a_changed_copy_is_checked():
    recipe = Recipe()
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 3
    with pytest.raises(SpecError, match="'epochs'"):
        replace(recipe, epochs=0)


def test_field_names_are_those_of_the_dataclass_in_order():
    assert tuple(field.name for field in fields(Recipe)) == field_names()


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_named_recipe_is_sound_and_says_what_it_is(name):
    assert isinstance(recipes.recipe(name), Recipe)
    assert len(recipes.RECIPES[name].__doc__) > 20


def test_the_default_recipe_is_all_defaults_and_quick_is_three_epochs_of_it():
    assert Recipe() == recipes.recipe("default")
    assert Recipe(epochs=3) == recipes.recipe("quick")


def test_resnet_cifar_is_the_training_of_the_paper():
    recipe = recipes.recipe("resnet_cifar")
    expected = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "learning_rate": 0.1, "batch_size": 128}
    expected |= {"l2": 1e-4, "no_decay": (), "step_factor": 0.1, "crop_padding": 4}
    assert expected == {name: getattr(recipe, name) for name in expected}
    assert (recipe.epochs // 2, recipe.epochs * 3 // 4) == recipe.step_epochs


def test_a_misspelt_recipe_is_answered_with_the_nearest():
    with pytest.raises(SpecError, match=r"Unknown recipe 'defualt' \(did you mean 'default'\?\)"):
        recipes.recipe("defualt")
