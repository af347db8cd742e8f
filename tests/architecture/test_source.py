"""Imports point down and are cheap; no file is too long or runs code from data; public names are documented."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import golden

import diptych
from diptych.cli import VERBS

PACKAGE = Path(diptych.__file__).parent
ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
# File, line to add, import-linter's words.
BREACHES = [
    ("data/decode.py", "from diptych.training import machine", "data is not allowed to import diptych.training"),
    (
        "spec/init.py",
        "if TYPE_CHECKING:\n    from diptych.engines import contract",
        "spec is not allowed to import diptych.engines",
    ),
    ("evaluation.py", "def lazily():\n    import torch", "torch: - diptych.evaluation -> torch"),
    ("engines/torch/model.py", "import tensorflow as tf", "tensorflow: - diptych.engines.torch.model -> tensorflow"),
    (
        "engines/torch/train.py",
        "from diptych.engines.tensorflow import train",
        "engines.torch is not allowed to import diptych.engines.tensorflow",
    ),
]
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax"}
HEAVY = {"numpy", "scipy", "sklearn", "cv2", "rich"}
# Each takes a tenth of a second or more to import.
SLOW = {"scipy.special", "scipy.stats", "scipy.optimize", "sklearn", "matplotlib", "seaborn", "pandas", "tensorboard"}
CALLS = [["--help"], *([verb, "--help"] for verb in VERBS), *([verb] for verb in ("models", "recipes", "differences"))]
# What each call imports that no earlier one did.
IMPORTS_OF_CALLS = """
import contextlib, io, json, sys
from diptych.cli import main
imports = {}
for call in json.loads(sys.argv[1]):
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(call)
    imports[" ".join(call)] = sorted(set(sys.modules) - before)
print(json.dumps(imports))
"""


def shared_modules():
    """Every module that belongs to no framework and is not a program."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("diptych", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        of_a_framework = re.match(r"diptych\.(engines|deployment\.runtimes)\.(torch|tensorflow)\b", module)
        if not of_a_framework and not module.endswith("__main__"):
            yield module


def run(code, *arguments, source=PACKAGE.parent, check=True, **settings):
    """A fresh Python that has run `code`."""
    path = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check, **settings)


def imports_of(code):
    return set(run(f"{code}\nimport sys; print(*sys.modules)").stdout.splitlines()[-1].split())


def test_every_import_that_breaks_a_contract_and_every_new_package_is_named(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / "diptych", ignore=shutil.ignore_patterns("__pycache__"))
    for file, line, _ in BREACHES:
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write(f"\n{line}\n")
    (copy / "misc.py").touch()
    options = ("--config", str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo")
    done = run(LINT, *options, source=tmp_path, check=False, cwd=tmp_path)
    output = " ".join((done.stdout + done.stderr).split())
    assert 1 == done.returncode
    assert [] == [expected for *_, expected in (*BREACHES, ["misc"]) if expected not in output]


def test_no_module_outside_the_engines_and_their_runtimes_imports_a_framework_or_anything_slow():
    modules = list(shared_modules())
    assert {"diptych", "diptych.api", "diptych.engines.session", "diptych.training.schedule"} <= set(modules)
    assert not (FRAMEWORKS | SLOW) & imports_of(
        f"from importlib import import_module\nfor m in {modules}: import_module(m)"
    )


def test_starting_a_training_and_evaluating_import_nothing_heavy():
    assert not (FRAMEWORKS | HEAVY) & imports_of("from diptych.api.training import train")
    evaluate = "import numpy as np, diptych.evaluation as e; e.evaluate_logits(np.eye(2), np.arange(2), 'ab')"
    assert not (FRAMEWORKS | SLOW | HEAVY) - {"numpy"} & imports_of(evaluate)


def test_help_and_lists_import_no_framework_and_nothing_slow():
    imports = json.loads(run(IMPORTS_OF_CALLS, json.dumps(CALLS)).stdout)
    assert len(CALLS) == len(imports)
    for call, names in imports.items():
        assert not (FRAMEWORKS | SLOW | (HEAVY if "--help" in call else set())) & set(names), call


def test_importing_diptych_imports_only_small_parts_of_the_standard_library():
    assert imports_of("import diptych") <= imports_of("import importlib, typing") | {"diptych"}


MOST_LINES = 300
NEVER = {"compile", "__import__"}
# What these calls must contain; their defaults have changed between versions.
SAFE_WITH = {"torch.load": "weights_only=True", "keras.models.load_model": "safe_mode=True"}
PLANTED = '''"""Planted."""
import os, pickle as sound, subprocess
from pickle import loads
eval(text)
exec(text)
loads(text)
sound.Unpickler(file).load()
os.system(text)
subprocess.run(text, shell=True)
try: os.sync()
except Exception: pass
'''


def faults(source):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {ast.unparse(call): ast.unparse(call.func) for call in calls}
    found = [call for call, name in names.items() if name in NEVER or SAFE_WITH.get(name, "") not in call]
    found += [call for call in names if "allow_pickle=True" in call]
    return found + ([f"more than {MOST_LINES} lines"] if source.count("\n") > MOST_LINES else [])


def test_no_file_has_a_fault():
    found = {path: faults(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    assert {} == {path: calls for path, calls in found.items() if calls}


FAULTS = ["compile(a)", "torch.load(a, weights_only=b)", "keras.models.load_model(a)", "np.load(a, allow_pickle=True)"]


@pytest.mark.parametrize("source", [*FAULTS, "\n" * 301])
def test_a_fault_is_found(source):
    assert 1 == len(faults(source))


def test_ruff_finds_what_runs_code_from_data_or_hides_errors():
    options = ["--output-format", "concise", "--stdin-filename", str(ROOT / "src/diptych/planted.py")]
    ruff = [sys.executable, "-m", "ruff", "check", *options]
    found = subprocess.run(ruff, cwd=ROOT, input=PLANTED, capture_output=True, text=True, check=False).stdout
    for rule in ("4:1: S307", "5:1: S102", "6:1: S301", "7:1: TID251", "8:1: S605", "9:1: S602", "11:1: S110"):
        assert f"planted.py:{rule}" in found


PUBLIC = [(name, getattr(diptych, name)) for name in diptych.__all__]


def surface():
    """One line per public name; functions with their parameters' names."""
    return "".join(f"{name}{_parameters(value) if inspect.isfunction(value) else ''}\n" for name, value in PUBLIC)


def _parameters(function):
    bare = {"annotation": inspect.Parameter.empty, "default": inspect.Parameter.empty}
    return f"({', '.join(str(one.replace(**bare)) for one in inspect.signature(function).parameters.values())})"


def test_type_checkers_see_the_names_of_all():
    (block,) = [
        node
        for node in ast.parse(inspect.getsource(diptych)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imported = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert diptych.__all__ == sorted(imported)


def test_dir_lists_the_public_names_and_others_are_no_attributes():
    assert {*diptych.__all__, "__version__"} == set(dir(diptych))
    with pytest.raises(AttributeError, match="module 'diptych' has no attribute 'tarin'"):
        _ = diptych.tarin


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=diptych.__all__)
def test_a_public_name_is_documented(name, value):
    assert name == value.__name__
    assert inspect.getdoc(value).partition("\n")[0].endswith(".")
    if inspect.isfunction(value):
        wanted = ["Raises:", *(f"    {parameter}: " for parameter in inspect.signature(value).parameters)]
        assert [] == [text for text in wanted if text not in inspect.getdoc(value)]


def test_public_names_change_only_on_purpose():
    assert golden("public_names.txt", surface()) == surface()
