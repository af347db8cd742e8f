"""What a training follows from: each thing that is another now is named, with what it was and what it is."""

from dataclasses import replace

import pytest

from diptych.data import datasets
from diptych.spec import Recipe, zoo
from diptych.training.provenance import differences, keeps_batches, origin

RUNTIME = {"engine": "torch", "version": "2.6.1+cpu"}
SPEC = zoo.model("mlp", (8, 8, 1), 10, (0.5,), (0.5,))
RECIPE = Recipe(precision="float32", learning_rate=0.1)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def then(digits):
    return origin(digits, SPEC, RECIPE, RUNTIME, 0)


def test_nothing_changed_is_no_difference(then, digits):
    assert [] == differences(then, origin(digits, SPEC, RECIPE, RUNTIME, 0))


def test_changed_data_are_named_by_their_fingerprints(then, digits):
    images = digits.train.images.copy()
    images[0, 0, 0] ^= 1
    changed = replace(digits, train=replace(digits.train, images=images))
    (found,) = differences(then, origin(changed, SPEC, RECIPE, RUNTIME, 0))
    assert found == f"the data's fingerprint was {digits.fingerprint[:12]}, is {changed.fingerprint[:12]}"


def test_fewer_samples_are_counted_and_the_batches_are_others(then, digits):
    fewer = replace(digits, train=digits.train.take(range(1000)))
    now = origin(fewer, SPEC, RECIPE, RUNTIME, 0)
    assert f"the training samples were {len(digits.train)}, are 1000" in differences(then, now)
    assert not keeps_batches(then, now)


def test_other_classes_are_named(then, digits):
    renamed = replace(digits, class_names=("zero", *digits.class_names[1:]))
    assert "the classes were 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, are zero, 1, 2, 3, 4, 5, 6, 7, 8, 9" in differences(
        then, origin(renamed, SPEC, RECIPE, RUNTIME, 0)
    )


def test_another_spec_is_named_by_its_digest(then, digits):
    other = zoo.model("mlp", (8, 8, 1), 10, (0.5,), (0.25,))
    (found,) = differences(then, origin(digits, other, RECIPE, RUNTIME, 0))
    assert found.startswith("the spec's digest was ")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"precision": "bfloat16"}, "precision was float32, is bfloat16"),
        ({"learning_rate": 0.2}, "learning_rate was 0.1, is 0.2"),
        ({"step_epochs": (2, 4)}, f"step_epochs was {list(RECIPE.step_epochs)}, is [2, 4]"),
    ],
)
def test_a_changed_field_of_the_recipe_is_named(then, digits, changed, expected):
    now = origin(digits, SPEC, replace(RECIPE, **changed), RUNTIME, 0)
    assert [expected] == differences(then, now)
    assert keeps_batches(then, now)


@pytest.mark.parametrize(
    ("engine", "version", "expected"),
    [
        ("torch", "2.9.0", []),
        ("torch", "3.0.0", ["torch was 2.6.1+cpu, is 3.0.0"]),
        ("tensorflow", "3.0.0", []),
    ],
)
def test_only_the_major_version_of_the_same_framework_counts(then, digits, engine, version, expected):
    now = origin(digits, SPEC, RECIPE, {"engine": engine, "version": version}, 0)
    assert expected == differences(then, now)


def test_another_seed_is_named_and_orders_batches_otherwise(then, digits):
    now = origin(digits, SPEC, RECIPE, RUNTIME, 1)
    assert ["the seed was 0, is 1"] == differences(then, now)
    assert not keeps_batches(then, now)
