"""The text of native training scripts: formatted, and with only what the training needs."""

import ast
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from diptych.native import scripts
from diptych.spec import Recipe
from diptych.spec.recipe import resnet_cifar, sgd
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


def spec(name="cnn", shape=(24, 24, 3)):
    return model(name, shape, mean=(0.4, 0.5, 0.6)[: shape[2]], std=(0.2, 0.25, 0.3)[: shape[2]])


def test_every_script_is_formatted_and_linted(tmp_path):
    for place, model_name in enumerate(MODELS):
        for recipe_name, recipe in list(RECIPES.items())[place % 2 :: 2]:
            for script in scripts(spec(model_name), recipe):
                path = tmp_path / f"{model_name}_{recipe_name}_{script.file}"
                path.write_text(script.source, encoding="utf-8")
    settings = ["--isolated", "--line-length", "200", str(tmp_path)]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,C4,RET,SIM,PLE"]):
        ruff = [sys.executable, "-m", "ruff", *command, *settings]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert (0, "") == (done.returncode, done.stdout.replace("All checks passed!\n", "")), done.stderr


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_script_imports_only_its_framework_and_numpy_and_counts_every_other_line(recipe):
    allowed = {"torch": {"torch", "numpy"}, "tensorflow": {"keras", "numpy"}}
    for script in scripts(spec("resnet20"), recipe):
        tree = ast.parse(script.source)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
        assert allowed[script.engine] == {name.split(".")[0] for name in modules} - {"argparse", "math"}
        lines = [line.strip() for line in script.source.split('"""', 2)[2].splitlines()]
        code = [line for line in lines if line and not line.startswith(("#", '"""'))]
        assert len(code) == len(imports) + script.model_lines + script.training_lines


def test_a_model_has_one_line_for_each_layer_in_the_script_of_pytorch_and_in_that_of_keras():
    resnet, (first, second) = spec("resnet20_b"), scripts(spec("resnet20_b"), Recipe())
    assert ("train_torch.py", "train_keras.py") == (first.file, second.file)
    torch, keras = first.source.splitlines(), second.source.splitlines()
    assert all(1 == sum(f'name="{layer.name}"' in line for line in keras) for layer in resnet.layers)
    owners = {resnet.owner(array).name for array in resnet.arrays}
    for line in ('self.add("{}", ', 'layer("{}")('):
        assert all(1 == sum(line.format(name) in text for text in torch) for name in owners)


def test_a_model_without_dots_in_its_names_uses_plain_attributes():
    assert "self.fc1 = nn.Linear(1728, 256)" in scripts(spec("mlp"), Recipe())[0].source


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
    wanted = {"learning_rate", "LEARNING_RATE"}
    tree = ast.parse(script.source)
    named = [(getattr(node, "name", "") or ast.unparse(getattr(node, "targets", [])), node) for node in tree.body]
    tree.body = [node for name, node in named if name in wanted]
    names = {"math": math}
    exec(compile(tree, script.file, "exec"), names)
    rate = names.get("learning_rate", lambda *_: names["LEARNING_RATE"])
    return [rate(step, steps_per_epoch, epochs) for step in range(num_steps)]


def test_only_what_the_training_needs_is_written():
    always = ("augment", "clip", "class_weight", "bfloat16")
    for script in scripts(spec("mlp"), RECIPES["plain"]):
        unneeded = (*always, "learning_rate(", "steps_per_epoch", "math", "Batches")
        assert [] == [word for word in unneeded if word in script.source]
        assert "LEARNING_RATE = 0.002" in script.source
    for script in scripts(spec(), RECIPES["rmsprop"]):
        assert [] == [word for word in (*always, "0.1") if word not in script.source]


DIVIDED = {"validation_fraction": 0.1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mixup": 0.2}, "mixup (alpha 0.2)"),
        ({"cutmix": 1.0}, "cutmix (alpha 1.0)"),
        ({"cutout": 6}, "cutout (6 pixels)"),
        ({"rotation": 10.0}, "rotation by up to 10.0 degrees"),
        ({"brightness": 0.2}, "brightness changes of up to 0.2"),
        ({"average_decay": 0.999}, "running average of the weights (decay 0.999)"),
        ({"early_stopping": 3, **DIVIDED}, "early stopping after 3 epochs"),
        ({"keep_best": True, **DIVIDED}, "best validation accuracy"),
        ({"schedule": "plateau", **DIVIDED}, "plateau schedule"),
        ({"flip": "auto"}, "flips, if"),
        ({"precision": "float16"}, "float16"),
        ({"precision": "auto"}, "bfloat16 if the processor"),
        (DIVIDED, "a validation split"),
    ],
)
def test_a_script_lists_what_it_leaves_out(change, said):
    bare = Recipe(flip="none", precision="float32", validation_fraction=0.0)
    for before, script in zip(scripts(spec(), bare), scripts(spec(), replace(bare, **change)), strict=True):
        assert not any(said in item for item in before.left_out)
        assert 1 == sum(said in item for item in script.left_out)
        comments = " ".join(line.removeprefix("#").strip() for line in script.source.splitlines() if line[:1] == "#")
        assert all(item in comments for item in script.left_out)
