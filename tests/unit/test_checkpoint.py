"""A training's state on disk returns bit for bit, and what cannot be resumed is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from finished import record_of

from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, sha256_of, write_arrays
from diptych.engines.contract import Totals
from diptych.errors import ArtifactError
from diptych.training import checkpoint
from diptych.training.checkpoint import Checkpoint

WEIGHTS = {"conv.weight": np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2), "conv.bias": np.array([0.1, -0.2])}
OPTIMIZER = {"step": np.array(2**40, np.int64), "momentum/conv.weight": np.full((2, 1, 2, 2), 1 / 3, np.float32)}
BEST = {"conv.bias": np.array([1 / 3, -0.0])}
TOTALS = Totals(0.1 + 0.2, 1e-320, 2**53, 3)
EPOCHS = [{"epoch": 1, "validation_loss": None, "learning_rate": 0.1, "train_loss": 0.1 + 0.2}]
OLD_RUN = Path(__file__).with_name("run_of_version_0_1")


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path, "run", record_of())


def at(step, position=0):
    return Checkpoint(WEIGHTS, {"step": np.array(step)}, EPOCHS, Totals(steps=position))


def folders(run):
    return sorted(path.name for path in run.checkpoints_dir.iterdir())


def test_a_checkpoint_returns_bit_for_bit_with_its_history(run):
    expected = Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS, TOTALS, BEST, 1, {"classes": ["é", "b"], "seed": 7}, 0.1)
    checkpoint.save(run, expected)
    actual = checkpoint.load(run)
    for name in ("weights", "optimizer", "best"):
        ours, theirs = (
            {key: (array.dtype, array.shape, array.tobytes()) for key, array in getattr(state, name).items()}
            for state in (expected, actual)
        )
        assert ours == theirs
    for name in ("epochs", "totals", "best_epoch", "origin", "seconds", "place"):
        assert getattr(expected, name) == getattr(actual, name)


def test_a_checkpoint_is_a_folder_of_plain_files_with_their_digests(run):
    checkpoint.save(run, Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS, best=BEST, best_epoch=1))
    (folder,) = run.checkpoints_dir.iterdir()
    assert "step-1099511627776" == folder.name
    digests = [f"{sha256_of(folder / name)}  {name}" for name in ("best.safetensors", "state.safetensors")]
    assert digests == (folder / "manifest.sha256").read_text().splitlines()
    arrays, _ = read_arrays(folder / "state.safetensors")
    expected = {"weights/conv.weight", "weights/conv.bias", "optimizer/step", "optimizer/momentum/conv.weight"}
    assert expected == arrays.keys()


def test_a_run_without_a_checkpoint_has_none(run):
    assert checkpoint.load(run) is None
    checkpoint.save(run, at(1))
    assert None is checkpoint.load(run).best


def test_only_the_newest_checkpoints_are_kept(run):
    for step in range(5):
        checkpoint.save(run, at(step), keep=3)
    assert ["step-00000002", "step-00000003", "step-00000004"] == folders(run)
    checkpoint.save(run, at(5), keep=1)
    assert ["step-00000005"] == folders(run)
    checkpoint.save(run, at(3), keep=2)  # the training did not continue from step 5
    assert ["step-00000003"] == folders(run)


def test_a_checkpoint_of_the_same_step_replaces_the_one_before(run):
    for position in (1, 2, 3):
        checkpoint.save(run, at(8, position=position))
        assert position == checkpoint.load(run).totals.steps
        assert [f"step-00000008{f'-{position}' * (position > 1)}"] == folders(run)


def test_a_checkpoint_of_another_version_is_refused(run):
    state = run.checkpoints_dir / "step-00000001" / "state.safetensors"
    write_arrays(state, WEIGHTS, {"version": "9", "epochs": "[]"})
    state.with_name("manifest.sha256").write_text(f"{sha256_of(state)}  {state.name}\n")
    with pytest.raises(ArtifactError, match=r"Cannot resume '.*run': its checkpoints have version 9, expected"):
        checkpoint.load(run)


def test_a_run_of_version_0_1_opens_and_its_checkpoints_are_refused_by_version(tmp_path):
    run = Run.open(shutil.copytree(OLD_RUN, tmp_path / "run"))
    record = run.read_record()
    assert ("cnn", 1, "digits") == (record.spec.name, record.recipe.epochs, record.data.name)
    with pytest.raises(ArtifactError, match="its checkpoints have version below 3, expected 3"):
        checkpoint.load(run)
