"""A training is not gone on with from other things than it began with, unless that is forced; then it is recorded."""

import shutil
from dataclasses import replace

import cv2
import pytest
from commands import diptych, train
from finished import amend

from diptych.artifacts.events import read_events
from diptych.training import checkpoint

SETTINGS = ("--model", "mlp", "--image-size", 8, "--epochs", 3, "--batch-size", 16, "--precision", "float32")


@pytest.fixture
def run(tmp_path):
    """A run over a folder of digits that was stopped in its second epoch, after three of its six steps."""
    from diptych.data import datasets

    digits = datasets.load("digits").train
    for place in range(160):
        path = tmp_path / "digits" / "train" / str(digits.labels[place]) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), digits.images[place])
    options = ("--checkpoint-steps", 3, "--keep-checkpoints", 9, "--stop-after", 2)
    (found,) = train(tmp_path / "digits", *SETTINGS, *options, "--out", tmp_path / "runs")
    later = sorted(found.checkpoints_dir.iterdir())
    for path in later[4:]:
        shutil.rmtree(path)
    state = checkpoint.load(found)
    assert (1, 3) == (len(state.epochs), state.position)
    return found


def refused(run):
    told = diptych("train", "--resume", run.directory)
    assert (2, "") == (told.code, told.out)
    (line,) = told.err.splitlines()
    assert line.startswith(f"diptych: Cannot resume '{run.directory}': ")
    assert "Undo the changes, remove the run and train again, or resume anyway with" in line
    assert line.endswith(" --force`.")
    return line


def test_everything_that_is_another_is_named_at_once(run):
    state, record = checkpoint.load(run), run.read_record()
    checkpoint.save(run, replace(state, origin={**state.origin, "version": "1.13.1"}))
    (run.directory.parent.parent / "digits" / "train" / "3").rename(run.directory.parent.parent / "digits/train/three")
    amend(run, recipe={**record.recipe_json, "precision": "float64", "momentum": 0.5})
    line = refused(run)
    print(f"\n{line}")
    for words in ("fingerprint was", "classes were", "precision was float32, is float64", "momentum was 0.9, is 0.5"):
        assert words in line
    assert "torch was 1.13.1, is " in line
    assert "stopped" == run.read_record().status


def test_force_goes_on_with_fewer_images_from_the_beginning_of_the_epoch_and_says_so(run):
    (removed,) = (run.directory.parent.parent / "digits" / "train").glob("*/7.png")
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
    # What the run says of its data is what it was trained on last.
    assert 0 == diptych("evaluate", run.directory).code


def test_a_training_may_go_on_in_the_other_framework(run):
    state = checkpoint.load(run)
    checkpoint.save(run, replace(state, origin={**state.origin, "version": "1.13.1"}))
    train("--resume", run.directory, "--engine", "tensorflow", "--stop-after", 2)
    assert "tensorflow" == checkpoint.load(run).origin["engine"]
    assert [] == read_events(run.events_path, "forced")
