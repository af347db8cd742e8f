"""Options are checked before anything is read or written, and words of other tools get the right answer."""

import inspect

import pytest

import diptych
from diptych.cli.arguments import parse
from diptych.cli.train import Train
from diptych.errors import UsageError


def refused(*args):
    with pytest.raises(UsageError) as error:
        parse(Train, "train", args)
    return str(error.value)


FOREIGN = """
--lr --learning-rate
--lr0=0.01 --learning-rate
--gpu --device cuda
--gpus --device
--project --out
--imgsz --image-size
--val_split --validation-fraction
--validation-split --validation-fraction
--max_epochs --epochs
--weight-decay --decoupled-decay (AdamW) or --l2
--cos_lr --schedule cosine
--data DATA, the first argument
""".strip().splitlines()


@pytest.mark.parametrize("line", FOREIGN)
def test_an_option_of_another_tool_is_translated(line):
    option, _, answer = line.partition(" ")
    name = option.partition("=")[0]
    message = f"train has no option '{name}'; use {answer}. `diptych train --help` lists them."
    assert message == refused("digits", option)


def test_a_typing_error_gets_the_nearest_option():
    assert "(did you mean '--optimizer'?)" in refused("digits", "--optimiser", "sgd")


@pytest.mark.parametrize(("option", "answer"), [("lr", "learning_rate"), ("gpu", "device=cuda"), ("amp", "precision")])
def test_python_translates_too(option, answer):
    with pytest.raises(UsageError, match=rf"train\(\) has no option '{option}'; use {answer}"):
        diptych.train("digits", **{option: 1})


def test_options_are_parsed_in_any_order_with_dashes_or_underscores():
    parsed = parse(Train, "train", ["--learning_rate", "0.1", "--step-epochs", "3", "4", "--no-nesterov", "digits"])
    recipe = parsed.recipe_fields
    assert (0.1, (3, 4), False) == (recipe.learning_rate, recipe.step_epochs, recipe.nesterov)
    assert "digits" == parse(Train, "train", ["digits", "--class-weights", "balanced"]).data


@pytest.mark.parametrize(
    ("value", "weights"), [(["balanced"], "balanced"), (["1", "2"], (1.0, 2.0)), (["3"], (3.0,))], ids=str
)
def test_class_weights_are_numbers_or_a_word(value, weights):
    assert weights == parse(Train, "train", ["--class-weights", *value]).recipe_fields.class_weights


@pytest.mark.parametrize(("text", "size"), [("32", (32, 32)), ("24x32", (24, 32))])
def test_an_image_size_is_a_side_or_height_and_width(text, size):
    assert size == parse(Train, "train", ["--image-size", text]).data_options.image_size


@pytest.mark.parametrize("count", [{"threads": 0}, {"stop_after": -1}, {"image_size": (2, 0)}, {"keep_checkpoints": 0}])
def test_counts_below_one_are_refused(count, tmp_path):
    (name,) = count
    with pytest.raises(UsageError, match=f"'{name}' must be a whole number of at least 1, got "):
        diptych.train(tmp_path, out=tmp_path / "runs", **count)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", [diptych.train, diptych.resume])
def test_a_negative_number_of_workers_is_refused(verb, tmp_path):
    with pytest.raises(UsageError, match="'workers' must be a whole number of at least 0, got -1"):
        verb(tmp_path / "absent", workers=-1)


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_run_name_is_a_folder_name(name):
    with pytest.raises(UsageError, match="'name' must be a folder name"):
        diptych.train("digits", name=name)


def test_the_signature_lists_every_option():
    assert "validation_fraction" not in (parameters := inspect.signature(diptych.train).parameters)
    assert {"engine", "device", "name", "image_size", "cache", "recipe_fields"} <= set(parameters)
