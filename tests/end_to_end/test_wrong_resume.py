"""A training resumes only from what it began with, unless it is forced; then that is recorded."""

import shutil
from dataclasses import replace

import cv2
import msgspec
import pytest
from commands import diptych, train
from finished import amend

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.training import checkpoint

SETTINGS = ("--model", "mlp", "--image-size", 8, "--epochs", 3, "--batch-size", 16, "--precision", "float32")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, digits):
    """A folder with data, and a run that stopped in its second epoch, after three of its six steps."""
    root = tmp_path_factory.mktemp("stopped")
    for place in range(160):
        path = root / "digits" / "train" / str(digits.train.labels[place]) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), digits.train.images[place])
    options = ("--checkpoint-steps", 3, "--keep-checkpoints", 9, "--stop-after", 2)
    (run,) = train(root / "digits", *SETTINGS, *options, "--out", root / "runs")
    for path in sorted(run.checkpoints_dir.iterdir())[4:]:
        shutil.rmtree(path)
    assert (1, 3) == checkpoint.load(run).place
    return root


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of the run, over a copy of its data in `tmp_path`."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    run = Run.open(tmp_path / "runs")
    amend(run, data={**msgspec.to_builtins(run.read_record().data), "data": str(tmp_path / "digits")})
    return run


def refused(run):
    result = diptych("train", "--resume", run.directory)
    assert (2, "") == (result.code, result.out)
    (line,) = result.err.splitlines()
    assert line.startswith(f"diptych: Cannot resume '{run.directory}': ")
    assert "Undo the changes, remove the run and train again, or resume anyway with" in line
    assert line.endswith(" --force`.")
    return line


def test_every_change_is_named_at_once(run, tmp_path):
    state, record = checkpoint.load(run), run.read_record()
    checkpoint.save(run, replace(state, origin={**state.origin, "version": "1.13.1"}))
    (tmp_path / "digits/train/3").rename(tmp_path / "digits/train/three")
    amend(run, recipe={**record.recipe_json, "precision": "float64", "momentum": 0.5})
    line = refused(run)
    for words in ("fingerprint was", "classes were", "precision was float32, is float64", "momentum was 0.9, is 0.5"):
        assert words in line
    assert "torch was 1.13.1, is " in line
    assert "stopped" == run.read_record().status


def test_a_forced_resume_with_fewer_images_restarts_the_epoch_and_is_recorded(run, tmp_path):
    (removed,) = (tmp_path / "digits" / "train").glob("*/7.png")
    removed.unlink()
    assert "the training samples were " in refused(run)
    step = int(checkpoint.load(run).optimizer["step"])
    train("--resume", run.directory, "--force")
    record = run.read_record()
    assert "finished" == record.status
    ((forced,), (event,)) = record.forced, read_events(run.events_path, "forced")
    assert list(forced.differences) == event["differences"]
    assert any(words.startswith("the data's fingerprint was ") for words in event["differences"])
    (resume,) = read_events(run.events_path, "resume")
    assert (1, 0) == (resume["after_epoch"], resume["after_step"])
    num_steps = -(-record.split_sizes.train // 16)
    assert step + 2 * num_steps == checkpoint.load(run).optimizer["step"]
    assert 0 == diptych("evaluate", run.directory).code  # the record describes the data of the forced resume


def test_a_training_may_resume_in_the_other_framework(run):
    state = checkpoint.load(run)
    checkpoint.save(run, replace(state, origin={**state.origin, "version": "1.13.1"}))
    train("--resume", run.directory, "--engine", "tensorflow", "--stop-after", 2)
    assert "tensorflow" == checkpoint.load(run).origin["engine"]
    assert [] == read_events(run.events_path, "forced")
