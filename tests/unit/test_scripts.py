"""The text of native training scripts: stable, sound, formatted, and holding only what this training needs."""

import ast
import io
import subprocess
import sys
import tokenize
from dataclasses import replace

import pytest

from diptych.comparison.scripts import scripts
from diptych.spec import Recipe
from diptych.spec.recipes import resnet_cifar, sgd
from diptych.spec.zoo import MODELS, model
from diptych.training.schedule import learning_rates

RECIPES = {
    "default": Recipe(flip="both"),
    "plain": Recipe(precision="float32", schedule="constant", flip="none", crop_padding=0, decoupled_decay=0.0),
    "sgd": replace(sgd(), flip="none"),
    "resnet": replace(resnet_cifar(), flip="horizontal"),
    "rmsprop": Recipe(
        optimizer="rmsprop",
        schedule="constant",
        decoupled_decay=0.01,
        no_decay=("bias",),
        label_smoothing=0.1,
        class_weights="balanced",
        clip_norm=1.0,
        precision="bfloat16",
        flip="vertical",
    ),
    "adam": Recipe(
        optimizer="adam", schedule="plateau", warmup_epochs=2.0, l2=1e-4, decoupled_decay=0.1, class_weights=(1.0,) * 10
    ),
}
STANDARD = {"argparse", "collections", "functools", "math"}


def spec(name="cnn", shape=(24, 24, 3)):
    return model(name, shape, mean=(0.4, 0.5, 0.6)[: shape[2]], std=(0.2, 0.25, 0.3)[: shape[2]])


def test_scripts_are_the_same_each_time_and_torch_comes_first():
    first, second = scripts(spec(), Recipe())
    assert (first, second) == scripts(spec(), Recipe())
    assert [("torch", "train_torch.py"), ("tensorflow", "train_keras.py")] == [
        (script.engine, script.file) for script in (first, second)
    ]


def test_every_script_is_formatted_and_linted(tmp_path):
    for model_name in MODELS:
        for recipe_name, recipe in RECIPES.items():
            for script in scripts(spec(model_name), recipe):
                path = tmp_path / f"{model_name}_{recipe_name}_{script.file}"
                path.write_text(script.source, encoding="utf-8")
    settings = ["--isolated", "--line-length", "100", str(tmp_path)]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP,C4,RET,SIM,PLE"]):
        ruff = [sys.executable, "-m", "ruff", *command, *settings]
        found = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert (0, "") == (found.returncode, found.stdout.replace("All checks passed!\n", "")), found.stderr


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_script_imports_its_framework_and_numpy_only(recipe):
    allowed = {"torch": {"torch", "numpy"}, "tensorflow": {"keras", "numpy"}}
    for script in scripts(spec("resnet20"), recipe):
        nodes = list(ast.walk(ast.parse(script.source)))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert allowed[script.engine] == {name.split(".")[0] for name in imported} - STANDARD


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_line_of_code_is_an_import_or_counted_once(recipe, side):
    script = scripts(spec("resnet20"), recipe)[side]
    tree = ast.parse(script.source)
    imports = sum(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
    assert _lines_of_code(script.source) == imports + script.model_lines + script.training_lines


def _lines_of_code(source):
    """Counted by Python's own tokens: a docstring is a string that stands alone."""
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found, starts = set(), True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in quiet and not (starts and token.type == tokenize.STRING):
            found.update(range(token.start[0], token.end[0] + 1))
        starts = token.type in quiet and (token.type != tokenize.NL or starts)
    return len(found)


def test_the_counts_are_those_of_a_perceptron_counted_by_hand():
    torch, keras = scripts(spec("mlp"), RECIPES["plain"])
    net = torch.source.split("class Net")[1].split("def batches")[0]
    assert 18 == torch.model_lines == 1 + sum(bool(line.strip()) for line in net.splitlines()[2:])
    assert 17 == keras.model_lines


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.03, 0.5, 2.0, 30.0])
@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_the_learning_rate_is_ours_at_every_step(schedule, warmup_epochs, steps_per_epoch):
    recipe = Recipe(
        epochs=12, schedule=schedule, warmup_epochs=warmup_epochs, step_epochs=(8, 3), rise=0.3, final_factor=0.02
    )
    expected = [rate for epoch in range(1, 13) for rate in learning_rates(recipe, epoch, steps_per_epoch)]
    for script in scripts(spec("mlp"), recipe):
        assert expected == pytest.approx(_rates(script, steps_per_epoch, 12, len(expected)), rel=1e-12)


def _rates(script, steps_per_epoch, epochs, num_steps):
    tree = ast.parse(script.source)
    constants = ("PEAK_RATE", "LEARNING_RATE")
    wanted = [
        node
        for node in tree.body
        if getattr(node, "name", "") == "learning_rate"
        or (isinstance(node, ast.Assign) and node.targets[0].id in constants)
    ]
    names = {}
    exec("import math\n" + "\n".join(map(ast.unparse, wanted)), names)
    if "learning_rate" not in names:
        return [names["LEARNING_RATE"]] * num_steps
    arguments = [steps_per_epoch, epochs][: names["learning_rate"].__code__.co_argcount - 1]
    return [names["learning_rate"](step, *arguments) for step in range(num_steps)]


def test_only_what_the_training_needs_is_written():
    for script in scripts(spec("mlp"), RECIPES["plain"]):
        for word in (
            "augment",
            "learning_rate(",
            "steps_per_epoch",
            "math",
            "Batches",
            "clip",
            "class_weight",
            "bfloat16",
        ):
            assert word not in script.source, word
        assert "LEARNING_RATE = 0.002" in script.source
    for script in scripts(spec(), RECIPES["rmsprop"]):
        for word in ("augment", "clip", "class_weight", "bfloat16", "0.1"):
            assert word in script.source, word


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mixup": 0.2}, "mixup (alpha 0.2)"),
        ({"cutmix": 1.0}, "cutmix (alpha 1.0)"),
        ({"cutout": 6}, "cutout (6 pixels)"),
        ({"rotation": 10.0}, "rotation by up to 10.0 degrees"),
        ({"brightness": 0.2}, "changes of brightness by up to 0.2"),
        ({"average_decay": 0.999}, "running average of the weights (decay 0.999)"),
        ({"early_stopping": 3}, "early stopping after 3 epochs"),
        ({"keep_best": True}, "best validation accuracy"),
        ({"schedule": "plateau"}, "plateau schedule"),
        ({"flip": "auto"}, "mirrored image"),
        ({"precision": "float16"}, "float16"),
        ({"precision": "auto"}, "bfloat16 where the processor"),
        ({"validation_fraction": 0.2}, "validation split"),
    ],
)
def test_what_is_left_out_is_said_in_the_script_too(change, said):
    bare = Recipe(flip="none", precision="float32", validation_fraction=0.0)
    lacking = (
        {"validation_fraction": 0.1, **change} if {"early_stopping", "keep_best", "schedule"} & set(change) else change
    )
    for before, script in zip(scripts(spec(), bare), scripts(spec(), replace(bare, **lacking)), strict=True):
        assert not any(said in item for item in before.left_out)
        assert 1 == sum(said in item for item in script.left_out)
        comments = " ".join(line.removeprefix("#").strip() for line in script.source.splitlines() if line[:1] == "#")
        assert all(item in comments for item in script.left_out)


def test_a_class_stands_for_all_blocks_of_a_structure():
    torch, keras = scripts(spec("resnet56_b"), Recipe())
    assert ["Block", "DownBlock", "Net"] == _defined(torch.source, ast.ClassDef)[:3]
    assert ["block", "down_block", "build_model"] == _defined(keras.source, ast.FunctionDef)[:3]
    assert "self.layer2 = nn.Sequential(DownBlock(16, 32), *(Block(32) for _ in range(8)))" in torch.source
    assert 'for index in range(1, 9):\n        x = block(x, 32, name=f"layer2.{index}")' in keras.source


def _defined(source, kind):
    return [node.name for node in ast.parse(source).body if isinstance(node, kind)]
