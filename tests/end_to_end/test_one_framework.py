"""With one framework installed and the other not, its half does everything, and asking for the other half says how.

Each half is installed as a user would, into an environment of its own, from the package's own extras.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from commands import ONE_THREAD, process

from diptych.engines import NAMES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")
OTHER = dict(zip(NAMES, reversed(NAMES), strict=True))
NOT_THEIRS = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
NO_NETWORK = ("NewConnectionError", "Name or service not known", "Temporary failure in name resolution")


class Half(NamedTuple):
    """An environment with one framework."""

    engine: str
    python: Path
    folder: Path

    def diptych(self, *arguments):
        return process(*arguments, python=self.python, cwd=self.folder, env=self.environment)

    def run(self, code):
        command = [self.python, "-W", "error", "-c", code]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    @property
    def environment(self):
        ours = {name: value for name, value in os.environ.items() if name not in NOT_THEIRS}
        return {**ours, "COLUMNS": "100", "NO_COLOR": "1"}


def install(python, source, *packages):
    command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    constraints = ["--constraint", source / "constraints.txt"]
    done = subprocess.run([*command, *constraints, *packages], capture_output=True, text=True, check=False, cwd=source)
    if any(sign in done.stderr for sign in NO_NETWORK):
        pytest.skip("installing one framework alone needs a package index, and there is no network")
    assert 0 == done.returncode, done.stderr


@pytest.fixture(scope="module")
def half(engine_name, tmp_path_factory):
    """An environment that `pip install 'diptych[ENGINE]'` made."""
    folder = tmp_path_factory.mktemp(f"only_{engine_name}")
    # A copy, because setuptools builds in place and would take files of earlier builds along.
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    if engine_name == "torch":
        install(python, folder, "torch")  # alone first, as the Makefile does
    install(python, folder, f".[{engine_name}]")
    shutil.rmtree(folder / "src")
    yield Half(engine_name, python, folder)
    shutil.rmtree(folder / "venv")


@pytest.fixture(scope="module")
def trained(half):
    """What a training said there."""
    settings = ("--model", "mlp", "--epochs", 1, "--out", "runs")
    return half.diptych("train", "digits", "--engine", half.engine, *settings, *ONE_THREAD, "--json")


@pytest.fixture
def directory(trained):
    return trained.json[0]["run"]


def test_the_other_framework_is_really_not_there(half):
    done = half.run("from diptych import engines; print(*engines.installed())")
    assert (0, f"{half.engine}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_it_imports(half):
    done = half.run("import diptych; [getattr(diptych, name) for name in diptych.__all__]")
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_it_trains(trained):
    assert (0, "") == (trained.code, trained.err)
    assert "finished" == trained.json[0]["status"]


def test_it_evaluates(half, trained, directory):
    told = half.diptych("evaluate", directory, "--json")
    assert (0, "") == (told.code, told.err)
    assert pytest.approx(trained.json[0]["metrics"]["accuracy"]) == told.json["accuracy"]


def test_it_predicts(half, directory, digits):
    cv2.imwrite(str(half.folder / "digit.png"), digits.test.images[0])
    told = half.diptych("predict", directory, "digit.png", "--json")
    assert (0, "") == (told.code, told.err)
    assert "digit.png" == told.json[0]["image"]


def test_it_evaluates_what_the_other_framework_trained(half, digits_runs, digits_trained):
    run = digits_runs[OTHER[half.engine]]
    told = half.diptych("evaluate", run.directory, "--json")
    assert (0, "") == (told.code, told.err)
    assert run.read_metrics()["accuracy"] == told.json["accuracy"]


def test_it_builds_a_plain_model(half):
    plain = {"torch": "import torch; kind = torch.nn.Module", "tensorflow": "import keras; kind = keras.Model"}
    code = f"{plain[half.engine]}\nimport diptych; assert isinstance(diptych.build('mlp', {half.engine!r}), kind)"
    assert 0 == half.run(code).returncode


@pytest.mark.parametrize("verb", ["train", "train both", "evaluate", "verify"])
def test_asking_for_the_other_framework_says_what_to_install(half, directory, verb):
    other = OTHER[half.engine]
    asked = {
        "train": ("train", "digits", "--engine", other),
        "train both": ("train", "digits", "--engine", "both"),
        "evaluate": ("evaluate", directory, "--engine", other),
        "verify": ("verify", "mlp"),
    }
    told = half.diptych(*asked[verb])
    assert (2, "") == (told.code, told.out)
    install_it = f"Install it with: pip install 'diptych[{other}]'\n"
    assert f"diptych: The {other} engine needs {other}, which is not installed. {install_it}" == told.err


def test_building_with_the_other_framework_says_what_to_install(half):
    other = OTHER[half.engine]
    done = half.run(f"import diptych\ntry: diptych.build('mlp', {other!r})\nexcept diptych.DiptychError as e: print(e)")
    assert f"pip install 'diptych[{other}]'" in done.stdout
