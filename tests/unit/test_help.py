"""Help is fast, complete and changes only on purpose; lists of names are tables, or JSON that is complete."""

import os

import pytest
from commands import diptych, golden, process

from diptych import __version__
from diptych.cli import VERBS
from diptych.data.sources import NAMED
from diptych.engines.differences import LEDGER
from diptych.spec import zoo
from diptych.spec.codec import model_from_json, recipe_from_json
from diptych.spec.recipe import RECIPES

MOST_SECONDS = {(): 0.3, ("train",): 0.6}


@pytest.fixture(autouse=True)
def terminal_of_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("verb", [*VERBS, "data check", ""])
def test_help_changes_only_on_purpose(verb):
    result = diptych(*verb.split(), "--help")
    assert (0, "") == (result.code, result.err)
    name = verb.replace(" ", "_") or "diptych"
    assert golden(f"help_{name}.txt", result.out) == result.out


@pytest.mark.parametrize("group", [(), ("data",)])
@pytest.mark.parametrize("args", [(), ("-h",), ("help",)])
def test_without_a_verb_the_help_is_printed(group, args):
    assert diptych(*group, "--help") == diptych(*group, *args)


def test_the_defaults_shown_are_those_of_the_recipe_named():
    shown = {name: diptych("train", "--recipe", name, "--help").out for name in ("default", "resnet_cifar")}
    assert "(default: 10)" in shown["default"]
    assert "(default: 164)" in shown["resnet_cifar"]


def test_version_is_printed():
    assert f"diptych {__version__}\n" == diptych("--version").out


@pytest.mark.parametrize("args", MOST_SECONDS)
def test_help_is_fast(args):
    before = sum(os.times()[2:4])
    assert 0 == process(*args, "--help").code
    seconds = sum(os.times()[2:4]) - before  # processor time of the child, which a busy machine does not change much
    assert seconds < MOST_SECONDS[args]


def test_models_and_recipes_as_json_are_whole():
    specs = diptych("models", "--input-shape", 28, 28, 1, "--num-classes", 7, "--json").json
    models = {name: model_from_json(spec) for name, spec in specs.items()}
    assert {name: zoo.model(name, (28, 28, 1), 7) for name in zoo.MODELS} == models
    recipes = {name: recipe_from_json(recipe) for name, recipe in diptych("recipes", "--json").json.items()}
    assert {name: recipe() for name, recipe in RECIPES.items()} == recipes


def test_models_that_need_larger_images_are_marked_in_the_table_and_missing_in_json():
    args = ("models", "--input-shape", 8, 8, 1)
    assert "too small)" in diptych(*args).out
    assert {*zoo.MODELS} - {"cifar_sequential", "fashion_cnn"} == diptych(*args, "--json").json.keys()


def test_datasets_and_differences_as_json_are_complete():
    assert [*NAMED] == [row["name"] for row in diptych("datasets", "--json").json]
    assert {"fashion-mnist", "cifar10", "cifar100", "imagenet"} == {row.name for row in NAMED.values() if row.mirror}
    rows = diptych("differences", "--json").json
    assert [row.key for row in LEDGER] == [row["key"] for row in rows]
    assert all(row["torch"] and row["tensorflow"] and row["rule"] for row in rows)


@pytest.mark.parametrize(
    ("verb", "word"),
    [("models", "269,722"), ("recipes", "resnet_cifar"), ("datasets", "1,331,167"), ("differences", "norm-epsilon")],
)
def test_a_list_is_a_table(verb, word):
    result = diptych(verb)
    assert (0, "") == (result.code, result.err)
    assert word in result.out
