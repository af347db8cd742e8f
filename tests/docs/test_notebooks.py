"""The example notebooks: what the writer of native code writes, with outputs, and each runs in a clean kernel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
sys.path.insert(0, str(FOLDER))

import make  # noqa: E402  (a script beside the notebooks)

SHORT = {"EPOCHS": 1, "SEEDS": 2, "TRIALS": 3, "THOROUGH": False}
DATA = {"fashion": "fashion-mnist", "cifar10": "cifar10-jpeg.tar.gz"}


def outputs(notebook):
    """All text that the cells of a notebook printed."""
    given = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    return "".join(one.get("text", "") for one in given)


@pytest.mark.parametrize("name", make.NAMES)
def test_a_notebook_is_what_is_written_now_and_was_executed_to_its_end(name):
    script = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert make.script(name) == script
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    assert [cell.source for cell in jupytext.reads(script, "py:percent").cells] == [c.source for c in notebook.cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [*range(1, len(code) + 1)] == [cell.execution_count for cell in code]
    assert {"error"}.isdisjoint(one.output_type for cell in code for one in cell.outputs)
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|home|root|work|private|Users)/", text)


@pytest.mark.parametrize("command", ["format --diff", "check"])
def test_ruff_finds_nothing_in_the_notebooks(command):
    files = [FOLDER / f"{name}.{suffix}" for name in make.NAMES for suffix in ("py", "ipynb")]
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--isolated", "--no-cache", *files]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("engine", make.ENGINES)
def test_the_networks_for_fashion_mnist_are_right_for_over_nine_tenths_of_the_test_images(engine):
    said = outputs(nbformat.read(FOLDER / f"fashion_mnist_{engine}.ipynb", 4))
    assert 0.9 < float(re.search(r"(?:PyTorch|Keras): accuracy ([\d.]+)", said)[1])


@pytest.mark.parametrize("name", make.NAMES)
def test_a_notebook_runs_in_a_clean_kernel_with_little_data(name, tmp_path):
    script = make.script(name).replace('"cnn"', '"mlp"')
    for setting, value in SHORT.items():
        script = re.sub(rf"^{setting} = \w+$", f"{setting} = {value}", script, flags=re.MULTILINE)
    with make.local_data(tmp_path, name, images=120):
        notebook = make.execute(script, tmp_path)
    assert outputs(notebook)
    if name not in make.BY_HAND:
        assert any(tmp_path.glob("models/model*"))


@pytest.mark.long
@pytest.mark.parametrize("name", make.NAMES)
def test_a_notebook_runs_in_a_clean_kernel_with_its_data(name, tmp_path):
    wanted = DATA.get(name.partition("_")[0])
    if wanted and not (Path(os.environ.get("DIPTYCH_DATA") or "/nowhere") / wanted).exists():
        pytest.skip(f"LEFT OUT: {name}, because {wanted} is not in the folder DIPTYCH_DATA")
    with make.local_data(tmp_path, name):
        assert outputs(make.execute(make.script(name), tmp_path))
