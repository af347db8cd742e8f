"""The text of native projects: formatted, linted, and with only what the training needs."""

import ast
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import jupytext
import pytest
import random_specs
from native_recipes import BARE, NAMES, READINGS, RECIPES

from diptych.engines.differences import LEDGER
from diptych.native.data import Reading
from diptych.native.notebooks import notebook
from diptych.native.projects import project
from diptych.native.shared import code_lines
from diptych.spec import Recipe
from diptych.spec.zoo import MODELS, model
from diptych.training.schedule import learning_rates

ROOT = Path(__file__).parents[2]
ENGINES = ("torch", "tensorflow")
PACKAGES = {"PIL": "pillow", "ai_edge_litert": "ai-edge-litert", "sklearn": "scikit-learn"}
HOSTILE = '"""\n\\\'); import os  # {{ 1 }} <b>'


def spec(name="cnn", shape=(24, 24, 3)):
    return model(name, shape, mean=(0.4, 0.5, 0.6)[: shape[2]], std=(0.2, 0.25, 0.3)[: shape[2]])


@cache
def projects():
    """Every recipe, every kind of data, every model, and random models, in both frameworks, with their names."""
    return [
        (name, project(one, recipe, engine, reading))
        for name, one, recipe, reading in _trainings()
        for engine in ENGINES
    ]


@cache
def notebooks():
    """The same as notebooks, without the random models."""
    return [
        (f"{name}_notebook", notebook(one, recipe, engine, reading))
        for name, one, recipe, reading in _trainings()
        if not name.startswith("random")
        for engine in ENGINES
    ]


def _trainings():
    names = list(MODELS)
    for place, (name, recipe) in enumerate(RECIPES.items()):
        yield name, spec(names[place % len(names)]), recipe, None
    for place, (name, reading) in enumerate(READINGS.items()):
        shape = (24, 24, 1 if name == "cifar10" else 3)
        for kind in ("bare", "default"):
            yield f"{name}_{kind}", spec(names[(place + len(kind)) % 4], shape), RECIPES[kind], reading
    for seed in range(30):
        yield f"random{seed}", random_specs.random_spec(seed), RECIPES[("sgd", "default", "resnet")[seed % 3]], None


def test_every_file_is_formatted_and_ruff_finds_nothing(tmp_path):
    for name, written in [*projects(), *notebooks()]:
        folder = tmp_path / f"{name}_{written.engine}"
        folder.mkdir()
        for file, text in written.files.items():
            (folder / file).write_text(text, encoding="utf-8")
    # A long model is a long function; a notebook has a heading for a docstring.
    own = ["check", "--config", ROOT / "pyproject.toml", "--ignore", "PLR0915,D100"]
    for command in (["format", "--isolated", "--diff"], ["check", "--isolated"], own):
        sources = [] if command[0] == "format" else ["--config", 'src=["*"]', "--output-format", "concise"]
        ruff = [sys.executable, "-m", "ruff", *command, *sources, "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (0, "") == (done.returncode, done.stdout.replace("All checks passed!\n", "")), done.stderr


def test_projects_do_not_name_diptych_but_in_the_last_line_of_their_readme():
    for _, written in projects():
        *readme, last = written.files["README.md"].splitlines()
        assert "Written by diptych." == last
        others = "\n".join([*readme, *(text for name, text in written.files.items() if name != "README.md")])
        assert "diptych" not in others.lower()


def test_notebooks_name_diptych_in_their_last_line_only_and_both_files_have_the_same_cells():
    for name, written in notebooks():
        cells = json.loads(written.files["notebook.ipynb"])["cells"]
        texts = ["".join(cell["source"]) for cell in cells]
        assert texts[-1].endswith("Written by diptych."), name
        assert 1 == "\n".join(texts).lower().count("diptych")
        script = jupytext.reads(written.files["notebook.py"], fmt="py:percent")
        assert texts == [cell.source for cell in script.cells]
        assert all(texts)


def test_requirements_are_what_is_imported_and_tensorboard():
    for _, written in [*projects(), *notebooks()]:
        trees = [ast.parse(text) for name, text in written.files.items() if name.endswith(".py")]
        nodes = [node for tree in trees for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {getattr(node, "module", None) or node.names[0].name for node in nodes}
        tops = {name.split(".")[0] for name in modules} - sys.stdlib_module_names - {"model", "data"}
        required = {line.split(">=")[0] for line in written.files["requirements.txt"].splitlines()}
        assert {PACKAGES.get(name, name) for name in tops} | {"tensorboard"} == required


def test_a_model_has_one_line_for_each_layer_in_both_frameworks():
    chain, graph = spec("cnn"), spec("resnet20_b")
    for engine in ENGINES:
        source = project(chain, BARE, engine).files["model.py"]
        rows = re.findall(r"^ {12}((?!keras)\w.*\),)$", source, re.MULTILINE)
        assert len(chain.layers) == len(rows), engine
    named = project(graph, BARE, "tensorflow").files["model.py"]
    owners = {graph.owner(array).name for array in graph.arrays}
    assert all(1 == named.count(f'name="{owner}"') for owner in owners)
    torch = project(graph, BARE, "torch").files["model.py"]
    modules = re.findall(r"(?:nn\.(?:Conv2d|BatchNorm2d|Linear))\(\d", torch)
    assert len(owners) == len(modules)


def test_both_models_have_the_same_comments_in_the_words_of_the_ledger():
    for name in MODELS:
        first, second = (_keys(project(spec(name), BARE, engine).files["model.py"]) for engine in ENGINES)
        assert first == second
        assert {"image-layout", "dense-kernel-axes", "initial-weights"} <= first
    rows = {row.key: f"{row.key}. PyTorch: {row.torch} Keras: {row.tensorflow}" for row in LEDGER}
    for _, written in projects():
        for file, text in written.files.items():
            if file.endswith(".py"):
                said = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
                assert all(rows[key].replace("`", "") in said for key in _keys(text)), file


def _keys(text):
    return set(re.findall(r"# ([a-z0-9-]+)\. PyTorch:", text))


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.03, 0.5, 2.0, 30.0])
@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_the_learning_rate_is_ours_at_every_step(schedule, warmup_epochs, steps_per_epoch):
    recipe = Recipe(
        epochs=12, schedule=schedule, warmup_epochs=warmup_epochs, step_epochs=(8, 3), rise=0.3, final_factor=0.02
    )
    expected = [rate for epoch in range(1, 13) for rate in learning_rates(recipe, epoch, steps_per_epoch)]
    for engine in ENGINES:
        source = project(spec("mlp"), recipe, engine).files["train.py"]
        assert expected == pytest.approx(_rates(source, steps_per_epoch, 12, len(expected)), rel=1e-12)


def _rates(source, steps_per_epoch, epochs, num_steps):
    tree = ast.parse(source)
    named = [(getattr(node, "name", "") or ast.unparse(getattr(node, "targets", [])), node) for node in tree.body]
    tree.body = [node for name, node in named if name in {"learning_rate", "LEARNING_RATE"}]
    names = {"math": math}
    exec(compile(tree, "train.py", "exec"), names)
    rate = names.get("learning_rate", lambda *_: names["LEARNING_RATE"])
    return [rate(step, steps_per_epoch, epochs) for step in range(num_steps)]


USES = {
    "clip_norm": (1.0, "clip"),
    "label_smoothing": (0.1, "label_smoothing"),
    "class_weights": ("balanced", "class_weight"),
    "precision": ("bfloat16", "bfloat16"),
    "average_decay": (0.99, "0.99[,)]"),
    "schedule": ("cosine", "def learning_rate"),
    "warmup_epochs": (1.0, "warmup"),
    "l2": (1e-3, "weight-decay"),
    "decoupled_decay": (1e-3, "weight_decay=0.001|0.001}"),
    "early_stopping": (3, "early-stopping"),
    "keep_best": (True, "best"),
    "flip": ("horizontal", "[Ff]lip"),
    "crop_padding": (2, "RandomTranslation|F.pad"),
    "rotation": (5.0, "RandomRotation|affine_grid"),
    "brightness": (0.17, "0.17"),
    "contrast": (0.2, "mean = "),
    "saturation": (0.2, "gray"),
    "cutout": (3, "random_boxes"),
    "mixup": (0.2, "partners"),
    "cutmix": (0.2, "random_boxes"),
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("engine", ENGINES)
def test_only_what_the_recipe_uses_is_written(engine, name):
    value, word = USES[name]
    plain, used = (
        "\n".join(text for file, text in project(spec("cnn"), recipe, engine).files.items() if file.endswith(".py"))
        for recipe in (BARE, replace(BARE, **{name: value}))
    )
    assert (None, True) == (re.search(word, plain), re.search(word, used) is not None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"flip": "auto"}, "flips, if"),
        ({"precision": "float16"}, "float16"),
        ({"precision": "auto"}, "bfloat16 where the processor"),
        ({"mixup": 0.2}, "mixtures with any training image"),
        ({"mixup": 0.2, "cutmix": 0.2}, "a choice between mixup and cutmix"),
        ({"average_decay": 0.99}, "decay in the first steps|decay of the average in the first steps"),
    ],
)
def test_a_readme_lists_what_is_not_followed(change, said):
    for engine in ENGINES:
        before, after = (project(spec(), one, engine) for one in (BARE, replace(BARE, **change)))
        assert not any(re.search(said, item) for item in before.left_out)
        assert 1 == sum(re.search(said, item) is not None for item in after.left_out)
        assert all(f"- {item}" in after.files["README.md"] for item in after.left_out)


def test_names_cannot_inject_code():
    reading = Reading("npz", HOSTILE, (HOSTILE, *NAMES[1:]), (24, 24, 3), {"train": (HOSTILE, "y"), "test": ("a", "b")})
    for engine in ENGINES:
        files = project(spec(), BARE, engine, reading, title=HOSTILE).files
        nodes = [ast.walk(ast.parse(text)) for name, text in files.items() if name.endswith(".py")]
        assert not any(isinstance(node, ast.Import) and "os" == node.names[0].name for tree in nodes for node in tree)
        constants = [node.value for node in ast.walk(ast.parse(files["data.py"])) if isinstance(node, ast.Constant)]
        assert 3 == constants.count(HOSTILE)
        assert "<b>" not in files["README.md"]


def test_lines_of_code_are_counted_without_imports_comments_and_docstrings():
    head = '"""Text\n\nmore."""\n\nimport a\nfrom b import c\n\n'
    source = f'{head}# note\nx = 1\n\n\ndef f():\n    """Text."""\n    return x\n'
    assert 3 == code_lines(source)
