"""With one framework missing everything works with the other one, and an error says what to install."""

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
PACKAGES = {"torch": ("torch",), "tensorflow": ("tensorflow", "keras")}
# Not `sys.modules[name] = None`: SciPy takes a package in sys.modules for one that is imported.
HIDING = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""
NO_NETWORK = ("NewConnectionError", "Name or service not known", "Temporary failure in name resolution")


class Half(NamedTuple):
    """A Python that has one framework."""

    engine: str
    python: Path
    folder: Path
    environment: dict

    @property
    def other(self):
        return OTHER[self.engine]

    def diptych(self, *args):
        return process(*args, python=self.python, cwd=self.folder, env=self.environment)

    def run(self, code):
        command = [self.python, "-W", "error", "-c", code]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module", params=["hidden", pytest.param("installed", marks=pytest.mark.long)])
def half(request, engine_name, tmp_path_factory):
    """Hide the other framework, or install the package with one framework as a user would."""
    folder = tmp_path_factory.mktemp(f"only_{engine_name}")
    if request.param == "installed":
        yield _installed(engine_name, folder)
        shutil.rmtree(folder / "venv")
        return
    (folder / "sitecustomize.py").write_text(HIDING.format(PACKAGES[OTHER[engine_name]]))
    paths = [str(folder), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    yield Half(engine_name, Path(sys.executable), folder, {**os.environ, "PYTHONPATH": os.pathsep.join(paths)})


def _installed(engine, folder):
    # A copy, because setuptools builds in place and would include files of earlier builds.
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    for packages in (["torch"], [f".[{engine}]"]) if engine == "torch" else ([f".[{engine}]"],):
        command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
        constraints = ["--constraint", folder / "constraints.txt"]
        done = subprocess.run(
            [*command, *constraints, *packages], capture_output=True, text=True, check=False, cwd=folder
        )
        if any(sign in done.stderr for sign in NO_NETWORK):
            pytest.skip("installing one framework needs a package index, and there is no network")
        assert 0 == done.returncode, done.stderr
    shutil.rmtree(folder / "src")
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return Half(engine, python, folder, ours)


@pytest.fixture(scope="module")
def trained(half):
    """The result of a training."""
    settings = ("--model", "mlp", "--epochs", 1, "--out", "runs")
    return half.diptych("train", "digits", "--engine", half.engine, *settings, *ONE_THREAD, "--json")


def test_everything_imports_without_the_other_framework(half):
    imports = "import diptych; [getattr(diptych, name) for name in diptych.__all__]"
    done = half.run(f"{imports}; from diptych import engines; print(*engines.installed())")
    assert (0, f"{half.engine}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_it_trains_evaluates_and_predicts(half, trained, digits):
    assert (0, "") == (trained.code, trained.err)
    (run,) = trained.json
    evaluated = half.diptych("evaluate", run["run"], "--json")
    assert (0, "") == (evaluated.code, evaluated.err)
    assert pytest.approx(run["metrics"]["accuracy"]) == evaluated.json["accuracy"]
    cv2.imwrite(str(half.folder / "digit.png"), digits.test.images[0])
    predicted = half.diptych("predict", run["run"], "digit.png", "--json")
    assert (0, "") == (predicted.code, predicted.err)
    assert "digit.png" == predicted.json[0]["image"]


def test_it_evaluates_a_run_of_the_other_framework(half, digits_runs):
    run = digits_runs[half.other]
    result = half.diptych("evaluate", run.directory, "--json")
    assert (0, "") == (result.code, result.err)
    assert run.read_metrics()["accuracy"] == result.json["accuracy"]


def test_it_builds_a_plain_model(half):
    plain = {"torch": "import torch; kind = torch.nn.Module", "tensorflow": "import keras; kind = keras.Model"}
    code = f"{plain[half.engine]}\nimport diptych; assert isinstance(diptych.build('mlp', {half.engine!r}), kind)"
    assert 0 == half.run(code).returncode


@pytest.mark.parametrize("command", ["train digits --engine {}", "train digits --engine both", "verify mlp", "build"])
def test_using_the_other_framework_says_what_to_install(half, command):
    if command == "build":
        build = f"diptych.build('mlp', {half.other!r})"
        done = half.run(f"import diptych\ntry: {build}\nexcept diptych.DiptychError as e: print(e)")
        assert f"pip install 'diptych[{half.other}]'" in done.stdout
        return
    result = half.diptych(*command.format(half.other).split())
    assert (2, "") == (result.code, result.out)
    install = f"Install it with: pip install 'diptych[{half.other}]'\n"
    assert f"diptych: The {half.other} engine needs {half.other}, which is not installed. {install}" == result.err
