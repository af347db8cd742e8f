"""Every mistake on the command line is answered in one line on standard error, with exit code 2."""

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
from commands import GOLDEN, diptych, golden
from data_files import write_images
from finished import finished

from diptych.artifacts.store import write_arrays
from diptych.comparison.parity import samples
from diptych.spec import zoo
from diptych.spec.codec import model_to_json

# The golden file holds the commands, too: add a line `$ diptych ...` and rewrite it.
WRONG = re.findall(r"^\$ diptych (.*)$", (GOLDEN / "errors.txt").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a finished run, and files in which something is wrong."""
    monkeypatch.chdir(tmp_path)
    model = zoo.model("mlp", (8, 8, 1), num_classes=3)
    whole = finished(tmp_path, "whole")
    write_arrays(whole.model_path, samples.weights(model, seed=0), {})
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
