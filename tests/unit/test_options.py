"""Options are checked before anything is read or written, and words of other tools get the right answer."""

import pytest

import diptych
from diptych.cli.arguments import parse
from diptych.cli.train import Train
from diptych.errors import UsageError

FOREIGN = """
--lr0=0.01 --learning-rate
--gpus --device
--project --out
--imgsz --image-size
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
    with pytest.raises(UsageError) as error:
        parse(Train, "train", ["digits", option])
    assert message == str(error.value)


@pytest.mark.parametrize(("option", "answer"), [("lr", "learning_rate"), ("gpu", "device=cuda"), ("amp", "precision")])
def test_python_translates_too(option, answer):
    with pytest.raises(UsageError, match=rf"train\(\) has no option '{option}'; use {answer}"):
        diptych.train("digits", **{option: 1})


def test_options_are_parsed_in_any_order_with_dashes_or_underscores():
    parsed = parse(Train, "train", ["--learning_rate", "0.1", "--step-epochs", "3", "4", "--no-nesterov", "digits"])
    recipe = parsed.recipe_fields
    assert (0.1, (3, 4), False) == (recipe.learning_rate, recipe.step_epochs, recipe.nesterov)
    assert "digits" == parse(Train, "train", ["digits", "--class-weights", "balanced"]).data


@pytest.mark.parametrize(("value", "weights"), [("balanced", "balanced"), ("1 2", (1.0, 2.0)), ("3", (3.0,))])
def test_class_weights_are_numbers_or_a_word(value, weights):
    assert weights == parse(Train, "train", ["--class-weights", *value.split()]).recipe_fields.class_weights


@pytest.mark.parametrize(("text", "size"), [("32", (32, 32)), ("24x32", (24, 32))])
def test_an_image_size_is_a_side_or_height_and_width(text, size):
    assert size == parse(Train, "train", ["--image-size", text]).data_options.image_size


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"threads": "4"}, "'threads' must be an integer, got '4'"),
        ({"image_size": (2, 0)}, "'image_size' must be an integer >= 1, got 0"),
        ({"device": "gpu"}, "'device' must be one of auto, cpu, cuda, got 'gpu' \\(did you mean 'cuda'\\?\\)"),
        *(({"pixel_shape": shape}, "'pixel_shape' must be") for shape in ((8, 8, 2), (0, 8, 1))),
        ({"channels": 2}, "'channels' must be one of 1, 3, got 2"),
        *(({"name": name}, "'name' must be a folder name") for name in ("", "..")),
    ],
)
def test_an_invalid_option_is_refused_before_anything_is_written(option, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        diptych.train(tmp_path, out=tmp_path / "runs", **option)
    assert not (tmp_path / "runs").exists()


def test_resuming_checks_its_options_too(tmp_path):
    with pytest.raises(UsageError, match="'workers' must be"):
        diptych.resume(tmp_path / "absent", workers=-1)
