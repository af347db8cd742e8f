"""Progress without a terminal is a line an epoch and one every 30 seconds; TensorBoard reads the curves."""

import re
import subprocess
import sys
import time
import types

import pytest
from finished import epoch_of

from diptych.reports import progress
from diptych.training.tensorboard import tensorboard


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    set_by_tests = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: set_by_tests.now)
    monkeypatch.setattr(progress.Lines, "_watch", lambda self: None)  # tests call `remind` themselves
    return set_by_tests


def step(epoch, step, steps=100):
    return {"epoch": epoch, "step": step, "steps": steps, "images_per_second": 1234.5}


def test_every_epoch_is_a_line_with_loss_accuracy_speed_and_time_left(clock, capsys):
    with progress.Progress() as shown:
        shown.notify("start", {"engine": "torch", "epochs": 4})
        clock.now = 60.0  # compiling, which the time left leaves out
        shown.notify("step", step(1, 50))
        capsys.readouterr()
        clock.now = 65.0
        shown.notify("epoch", epoch_of(1))
        clock.now = 95.0
        shown.notify("epoch", {**epoch_of(4), "validation_loss": None, "validation_accuracy": None})
    assert capsys.readouterr().err.splitlines() == [
        "torch: epoch 1/4, validation loss 1.1000, accuracy 55.00%, 1,000 images/s, 0:30 left",
        "torch: epoch 4/4, training loss 0.2500, accuracy 75.00%, 4,000 images/s, done",
    ]


def test_between_epochs_a_line_is_printed_every_30_seconds(clock, capsys):
    with progress.Progress() as shown:
        for clock.now in range(100):
            shown.notify("data", {"doing": "Decoding", "done": clock.now, "total": 2000})
            shown.lines.remind()
        shown.notify("start", {"engine": "torch", "epochs": 2})
        for clock.now in range(100, 160):
            shown.notify("step", step(1, clock.now - 99))
            shown.lines.remind()
    assert capsys.readouterr().err.splitlines() == [
        "Decoding: 30/2,000 images (0:30 elapsed)",
        "Decoding: 60/2,000 images (1:00 elapsed)",
        "Decoding: 90/2,000 images (1:30 elapsed)",
        "torch: epoch 1/2, step 21/100, 1,234 images/s, 2:59 left (2:00 elapsed)",
        "torch: epoch 1/2, step 51/100, 1,234 images/s, 2:29 left (2:30 elapsed)",
    ]


def test_a_trial_is_a_line_and_a_reminder_every_30_seconds(clock, capsys):
    with progress.Progress() as shown:
        shown.notify("study", {"line": "study: 2 trials"})
        for clock.now in (0, 15, 31):
            shown.notify("trial_step", {**step(1, clock.now + 1), "name": "trial 7", "epochs": 2})
            shown.lines.remind()
        shown.notify("trial_epoch", {**epoch_of(2), "name": "trial 7", "epochs": 2})
        clock.now = 62
        shown.lines.remind()
        shown.notify("trial", {"line": "trial 7: finished", "name": "trial 7"})
        clock.now = 93
        shown.lines.remind()
    assert capsys.readouterr().err.splitlines() == [
        "study: 2 trials",
        "trial 7: epoch 1/2, 1,234 images/s (0:31 elapsed)",
        "trial 7: epoch 2/2, validation loss 0.5500, accuracy 65.00% (1:02 elapsed)",
        "trial 7: finished",
    ]


def test_work_that_reports_nothing_prints_lines_too(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.03)
    with progress.Progress() as shown:
        shown.step("measuring torch")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert "measuring torch ..." == lines[0]
    assert re.fullmatch(r"(measuring torch \(0:0\d elapsed\)\n?)+", "\n".join(lines[1:]))


EXACT = {"train_accuracy": 0.75, "validation_loss": 0.625, "validation_accuracy": 0.5, "learning_rate": 0.125}
EPOCH = {**epoch_of(1), **EXACT}  # numbers that TensorBoard's float32 holds


@pytest.fixture
def read_scalars(monkeypatch):
    """A function that gives {tag: [(step, value), …]} of a directory."""
    # TensorBoard's documented way of using its own file layer in place of TensorFlow's.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(directory):
        accumulator = EventAccumulator(str(directory)).Reload()
        tags = accumulator.Tags()["scalars"]
        return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}

    return read


def test_tensorboard_reads_every_scalar_of_an_epoch(tmp_path, read_scalars):
    with tensorboard(tmp_path / "tensorboard") as write:
        write(EPOCH)
        write({**EPOCH, "epoch": 2, "train_loss": 0.25, "validation_loss": None})
        scalars = read_scalars(tmp_path / "tensorboard")  # before the writer is closed
    assert {
        "train/loss": [(1, 1.0), (2, 0.25)],
        "train/accuracy": [(1, 0.75), (2, 0.75)],
        "validation/loss": [(1, 0.625)],
        "validation/accuracy": [(1, 0.5), (2, 0.5)],
        "learning_rate": [(1, 0.125), (2, 0.125)],
        "train/images_per_second": [(1, 1000.0), (2, 1000.0)],
    } == scalars


def test_an_epoch_that_is_trained_again_is_shown_once(tmp_path, read_scalars):
    with tensorboard(tmp_path) as write:
        for epoch in (1, 2, 3):
            write({**EPOCH, "epoch": epoch})
    with tensorboard(tmp_path, first_epoch=2) as write:
        write({**EPOCH, "epoch": 2, "train_loss": 0.25})
    assert 2 == len(list(tmp_path.iterdir()))
    assert [(1, 1.0), (2, 0.25)] == read_scalars(tmp_path)["train/loss"]


def test_writing_imports_neither_framework(tmp_path):
    code = "import sys, pathlib\nfrom diptych.training.tensorboard import tensorboard\n"
    code += f"with tensorboard(pathlib.Path(sys.argv[1])) as write: write({EPOCH})\n"
    code += "print({'torch', 'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert "set()\n" == done.stdout
