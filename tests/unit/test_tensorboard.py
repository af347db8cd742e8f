"""TensorBoard's own reader finds what the writer wrote, and no framework had to be imported for it."""

import subprocess
import sys
import types

import pytest

from diptych.training.tensorboard import tensorboard

EPOCH = {
    "epoch": 1,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "validation_loss": 0.625,
    "validation_accuracy": 0.5,
    "learning_rate": 0.125,
    "images_per_second": 1000.0,
    "seconds": 3.0,
}


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
        "train/loss": [(1, 0.5), (2, 0.25)],
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
    assert [(1, 0.5), (2, 0.25)] == read_scalars(tmp_path)["train/loss"]


def test_writing_imports_neither_framework(tmp_path):
    code = "import sys, pathlib\nfrom diptych.training.tensorboard import tensorboard\n"
    code += f"with tensorboard(pathlib.Path(sys.argv[1])) as write: write({EPOCH})\n"
    code += "print({'torch', 'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert "set()\n" == done.stdout
