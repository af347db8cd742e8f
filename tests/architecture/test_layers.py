"""Imports point down, the engines are independent, and each framework has one place: checked by import-linter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import diptych

PACKAGE = Path(diptych.__file__).parent
CONFIG = Path(__file__).parents[2] / "pyproject.toml"
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


def lint(source, folder):
    """Exit code of import-linter on the package in `source`, and its output with single spaces."""
    command = [sys.executable, "-c", LINT, "--config", str(CONFIG), "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return finished.returncode, " ".join((finished.stdout + finished.stderr).split())


def test_every_import_that_breaks_a_contract_and_every_new_package_is_named(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / "diptych", ignore=shutil.ignore_patterns("__pycache__"))
    for file, line, _ in BREACHES:
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write(f"\n{line}\n")
    (copy / "misc.py").touch()
    code, output = lint(tmp_path, tmp_path)
    assert 1 == code
    assert [] == [expected for *_, expected in (*BREACHES, ["misc"]) if expected not in output]
