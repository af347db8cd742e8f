"""What exists by name is listed for people as a table and for programs as JSON."""

import pytest
from commands import diptych

from diptych.data.sources import names
from diptych.engines.differences import LEDGER
from diptych.spec import recipes, zoo
from diptych.spec.codec import model_from_json, recipe_from_json


def test_models_as_json_are_the_zoos_whole_specs():
    told = diptych("models", "--input-shape", 28, 28, 1, "--num-classes", 7, "--json").json
    assert {name: zoo.model(name, (28, 28, 1), 7) for name in zoo.MODELS} == {
        name: model_from_json(spec) for name, spec in told.items()
    }


def test_models_for_people_tell_what_each_costs():
    told = diptych("models")
    assert (0, "") == (told.code, told.err)
    assert "269,722" in told.out
    assert "81.8" in told.out


def test_models_that_want_larger_images_are_marked_for_people_and_left_out_for_programs():
    asked = ("models", "--input-shape", 8, 8, 1)
    assert "images too small" in diptych(*asked).out
    assert {*zoo.MODELS} - {"cifar_sequential", "fashion_cnn"} == diptych(*asked, "--json").json.keys()


def test_recipes_as_json_are_whole_recipes():
    told = diptych("recipes", "--json").json
    assert {name: recipes.recipe(name) for name in recipes.RECIPES} == {
        name: recipe_from_json(recipe) for name, recipe in told.items()
    }


def test_datasets_as_json_are_those_that_load_knows():
    assert [dataset.name for dataset in names()] == [dataset["name"] for dataset in diptych("datasets", "--json").json]


def test_differences_as_json_are_the_ledger():
    told = diptych("differences", "--json").json
    assert [row.key for row in LEDGER] == [row["key"] for row in told]
    assert all(row["torch"] and row["tensorflow"] and row["rule"] for row in told)


@pytest.mark.parametrize(
    ("verb", "word"), [("recipes", "resnet_cifar"), ("datasets", "1,331,167"), ("differences", "norm-epsilon")]
)
def test_people_get_a_table(verb, word):
    told = diptych(verb)
    assert (0, "") == (told.code, told.err)
    assert word in told.out
