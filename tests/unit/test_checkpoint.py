"""A training's state on disk: it comes back bit for bit, and what cannot be gone on from is refused."""

import numpy as np
import pytest

from diptych.artifacts import Run, read_arrays, sha256_of, write_arrays
from diptych.errors import ArtifactError
from diptych.training import checkpoint
from diptych.training.checkpoint import Checkpoint

WEIGHTS = {"conv.weight": np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2), "conv.bias": np.array([0.1, -0.2])}
OPTIMIZER = {"step": np.array(2**40, np.int64), "momentum/conv.weight": np.full((2, 1, 2, 2), 1 / 3, np.float32)}
EPOCHS = [{"epoch": 1, "validation_loss": None, "learning_rate": 0.1, "train_loss": 0.1 + 0.2}]


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path, "run", {})


def test_a_checkpoint_comes_back_bit_for_bit_with_its_history(run):
    checkpoint.save(run, Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS))
    found = checkpoint.load(run)
    for expected, arrays in [(WEIGHTS, found.weights), (OPTIMIZER, found.optimizer)]:
        assert expected.keys() == arrays.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(array, arrays[name], strict=True)
    assert EPOCHS == found.epochs


def test_a_later_checkpoint_leaves_the_one_before_and_nothing_else(run):
    for step in (0, 1, 2):
        checkpoint.save(run, Checkpoint(WEIGHTS, {"step": np.array(step)}, EPOCHS * step))
    assert 2 == checkpoint.load(run).optimizer["step"]
    expected = {f"step-0000000{step}.{suffix}" for step in (1, 2) for suffix in ("safetensors", "sha256")}
    assert expected == {path.name for path in run.checkpoints_dir.iterdir()}


def test_the_file_is_plain_safetensors_that_needs_no_diptych(run):
    checkpoint.save(run, Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS))
    arrays, _ = read_arrays(run.checkpoints_dir / "step-1099511627776.safetensors")
    expected = {"weights/conv.weight", "weights/conv.bias", "optimizer/step", "optimizer/momentum/conv.weight"}
    assert expected == arrays.keys()


def test_equal_states_are_equal_bytes(run):
    contents = set()
    for _ in range(2):
        checkpoint.save(run, Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS))
        (state,) = run.checkpoints_dir.glob("*.safetensors")
        contents.add(state.read_bytes())
    assert 1 == len(contents)


def test_a_run_without_a_checkpoint_cannot_be_gone_on_with(run):
    with pytest.raises(ArtifactError, match=r"Cannot resume '.*run': it has no checkpoint; start the training anew"):
        checkpoint.load(run)


def test_a_checkpoint_of_another_version_is_refused(run):
    state = run.checkpoints_dir / "step-00000001.safetensors"
    write_arrays(state, WEIGHTS, {"version": "9", "epochs": "[]"})
    state.with_suffix(".sha256").write_text(f"{sha256_of(state)}  {state.name}\n")
    with pytest.raises(ArtifactError, match=r"Cannot resume '.*run': its checkpoint is of version 9, not 2"):
        checkpoint.load(run)


def test_a_truncated_checkpoint_is_refused_by_name(run):
    checkpoint.save(run, Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS))
    (path,) = run.checkpoints_dir.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=rf"no checkpoint is whole \(checkpoints/{path.name} has sha256"):
        checkpoint.load(run)
