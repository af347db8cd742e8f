"""Whatever is asked wrongly is answered in one line on standard error, with exit code 2 and no traceback."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from commands import diptych, process
from golden import golden

from diptych.artifacts.store import write_arrays
from diptych.comparison.parity import samples
from diptych.spec import zoo
from diptych.spec.codec import model_to_json

WRONG = """
trian digits
train
train digts
train absent/folder
train empty
train one_class
train digits extra
train digits --epoch 3
train digits --epochs
train digits --epochs many
train digits --epochs 0
train digits --learning-rate fast
train digits --learning-rate 0
train digits --optimizer adan
train digits --schedule linear
train digits --step-epochs 3 soon
train digits --no-decay weights
train digits --class-weights 1 2
train digits --keep-best --validation-fraction 0
train digits --engine jax
train digits --model cnnn
train digits --model absent.json
train digits --model broken.json
train digits --model faulty.json
train digits --model three_classes.json
train digits --model cifar_sequential
train digits --recipe defualt
train digits --recipe absent.json
train digits --recipe faulty_recipe.json
train digits --seed -1
train digits --threads 0
train digits --stop-after 0
train digits --image-size 0
train digits --channels 2
train --resume absent
train --resume empty
train --resume whole
train --resume whole --engine both
train --resume whole --epochs 30
train --resume whole --checkpoint-steps 3
train --replay absent
train --replay whole
train --replay whole --engine torch
train digits --force
train digits --checkpoint-steps 0
train digits --keep-checkpoints 0
train digits --workers -1
evaluate
evaluate absent
evaluate whole --engine jax
evaluate whole absent
evaluate whole other_classes
predict
predict whole
predict whole absent.png
predict whole 'absent/*.png'
predict whole empty
predict whole broken.png
predict whole --top 0 digit.png
verify
verify cnnn
verify mlp --optimizer adan
verify mlp --steps 1
verify mlp --input-shape 8 8
transfer
transfer weights.safetensors
transfer absent.pt new.keras
transfer weights.safetensors new.onnx
transfer weights.safetensors whole
transfer weights.safetensors new.keras
transfer weights.safetensors new.pt --model mlpp
transfer weights.safetensors new.pt --model mlp
transfer weights.safetensors new.pt --model mlp --input-shape 8 8 1
transfer weights.safetensors new.pt --model three_classes.json --map fc1
transfer weights.safetensors new.pt --model three_classes.json --map fc9=fc1
transfer digit.png new.pt --model mlp
models --input-shape 8 8
models --num-classes 0
differences --jason
data chekc
data check
data check digts
data check digits --qarantine out
data check digits --quarantine out
data check empty
data check other_classes --quarantine other_classes/bad
""".strip().splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch, digits_runs, digit_files):
    """A working folder with a whole run, and files in which something is wrong."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole").symlink_to(digits_runs["torch"].directory)
    (tmp_path / "digit.png").write_bytes(digit_files[0].read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "broken.json").write_text("{'single': 'quotes'}")
    model = zoo.model("mlp", (8, 8, 1), num_classes=3)
    write_arrays(tmp_path / "weights.safetensors", samples.weights(model, seed=0), {})
    spec = model_to_json(model)
    (tmp_path / "three_classes.json").write_text(json.dumps(spec))
    spec["layers"][-1]["inputs"] = ["relu3"]
    (tmp_path / "faulty.json").write_text(json.dumps(spec))
    (tmp_path / "faulty_recipe.json").write_text('{"format": "diptych-recipe", "version": 1, "epoch": 3}')
    (tmp_path / "empty").mkdir()
    for path in ("one_class/cat", "other_classes/cat", "other_classes/dog"):
        (tmp_path / path).mkdir(parents=True)
        for index in range(9):
            (tmp_path / path / f"{index}.png").write_bytes(digit_files[0].read_bytes())
    return tmp_path


def test_every_wrong_command_is_answered_in_one_line_that_changes_on_purpose_only(folder):
    transcript = []
    for line in WRONG:
        told = diptych(*shlex.split(line))
        assert (2, "") == (told.code, told.out), line
        assert told.err.startswith("diptych: ")
        assert 1 == len(told.err.splitlines()), told.err
        transcript.append(f"$ diptych {line}\n{told.err.replace(f'{folder}/', '')}\n")
    assert golden("errors.txt", "".join(transcript)) == "".join(transcript)


@pytest.mark.parametrize("arguments", [("trian",), ("train", "digts"), ("evaluate", "absent"), ("verify",)])
def test_a_process_ends_with_2_and_one_line(arguments):
    told = process(*arguments)
    assert (2, "") == (told.code, told.out)
    assert 1 == len(told.err.splitlines())
    assert told.err.startswith("diptych: ")


@pytest.mark.parametrize("arguments", ["evaluate", "train digits extra", "models --input-shape 8 8"])
def test_on_a_terminal_too_it_is_one_line_without_colours(arguments):
    terminal, end = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "diptych", *arguments.split()]
    told = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, env=environment, text=True, check=False)
    os.close(end)
    os.close(terminal)
    assert 2 == told.returncode
    assert 1 == len(told.stderr.splitlines())
    assert "\x1b" not in told.stderr
    assert "─" not in told.stderr


def test_a_run_whose_weights_are_torn_is_named(folder):
    (folder / "torn").mkdir()
    (folder / "torn" / "run.json").write_bytes((folder / "whole" / "run.json").read_bytes())
    (folder / "torn" / "model.safetensors").write_bytes((folder / "whole" / "model.safetensors").read_bytes()[:-9])
    told = diptych("evaluate", "torn")
    assert 2 == told.code
    assert told.err.startswith("diptych: Cannot read 'torn/model.safetensors'")
    assert 1 == len(told.err.splitlines())
