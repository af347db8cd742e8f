"""Every mistake on the command line is one line with exit code 2; help, lists and options are complete."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import GOLDEN, diptych, golden, process
from data_files import write_images
from finished import finished

from diptych import __version__, resume, train
from diptych.artifacts.store import write_arrays
from diptych.cli import VERBS
from diptych.cli.arguments import parse
from diptych.cli.train import Train
from diptych.comparison.parity import samples
from diptych.data.sources import NAMED
from diptych.engines.differences import LEDGER
from diptych.errors import UsageError
from diptych.spec import zoo
from diptych.spec.codec import model_from_json, model_to_json, recipe_from_json
from diptych.spec.recipe import RECIPES

# The golden file holds the commands, too: add a line `$ diptych ...` and rewrite it.
WRONG = re.findall(r"^\$ diptych (.*)$", (GOLDEN / "errors.txt").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a finished run, and files in which something is wrong."""
    monkeypatch.chdir(tmp_path)
    model = zoo.model("mlp", (8, 8, 1), num_classes=3)
    whole = finished(tmp_path, "whole")
    write_arrays(whole.model_path, samples.weights(model, seed=0), {})
    whole.seal()
    shutil.copy(whole.model_path, "weights.safetensors")
    damaged = Path(shutil.copytree("whole", "damaged")) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    cv2.imwrite("digit.png", np.zeros((8, 8), dtype=np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "broken.json").write_text("{'single': 'quotes'}")
    spec = model_to_json(model)
    (tmp_path / "three_classes.json").write_text(json.dumps(spec))
    spec["layers"][-1]["inputs"] = ["relu3"]
    (tmp_path / "faulty.json").write_text(json.dumps(spec))
    (tmp_path / "faulty_recipe.json").write_text('{"format": "diptych-recipe", "version": 1, "epoch": 3}')
    (tmp_path / "empty").mkdir()
    for name in ("one_class/cat", "other_classes/cat", "other_classes/dog"):
        write_images(tmp_path / name, *range(9))
    return tmp_path


def test_every_error_is_one_line_that_changes_only_on_purpose(folder):
    transcript, before = [], {*folder.rglob("*")}
    for line in WRONG:
        result = diptych(*shlex.split(line))
        assert (2, "") == (result.code, result.out), line
        assert result.err.startswith("diptych: ")
        assert 1 == len(result.err.splitlines()), result.err
        transcript.append(f"$ diptych {line}\n{result.err.replace(f'{folder}/', '')}\n")
    assert golden("errors.txt", "".join(transcript)) == "".join(transcript)
    assert {folder / "whole" / ".lock"} == {*folder.rglob("*")} - before


def test_on_a_terminal_an_error_is_one_line_without_colors():
    terminal, end = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "diptych", "train", "digits", "extra"]
    result = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, env=environment, text=True, check=False)
    os.close(end)
    os.close(terminal)
    assert (2, 1) == (result.returncode, len(result.stderr.splitlines()))
    assert "\x1b" not in result.stderr


FOREIGN = """
--lr0=0.01 --learning-rate
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
        train("digits", **{option: 1})


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
        train(tmp_path, out=tmp_path / "runs", **option)
    assert not (tmp_path / "runs").exists()


def test_resuming_checks_its_options_too(tmp_path):
    with pytest.raises(UsageError, match="'workers' must be"):
        resume(tmp_path / "absent", workers=-1)


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
    assert all(f"(default: {value})" in shown["resnet_cifar"] for value in (164, 128, 0.1, 4))


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
