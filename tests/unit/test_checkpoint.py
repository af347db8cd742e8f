"""A training's state on disk: it comes back bit for bit, and what cannot be gone on from is refused."""

import numpy as np
import pytest
from finished import record_of

from diptych.artifacts import Run, read_arrays, sha256_of, write_arrays
from diptych.engines.contract import Totals
from diptych.errors import ArtifactError
from diptych.training import checkpoint
from diptych.training.checkpoint import Checkpoint

WEIGHTS = {"conv.weight": np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2), "conv.bias": np.array([0.1, -0.2])}
OPTIMIZER = {"step": np.array(2**40, np.int64), "momentum/conv.weight": np.full((2, 1, 2, 2), 1 / 3, np.float32)}
BEST = {"conv.bias": np.array([1 / 3, -0.0])}
TOTALS = Totals(0.1 + 0.2, 1e-320, 2**53, 3)
EPOCHS = [{"epoch": 1, "validation_loss": None, "learning_rate": 0.1, "train_loss": 0.1 + 0.2}]


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path, "run", record_of())


def names_of(run):
    return sorted(path.name for path in run.checkpoints_dir.iterdir())


def at(step, best=None, best_epoch=0):
    return Checkpoint(WEIGHTS, {"step": np.array(step)}, EPOCHS, best=best, best_epoch=best_epoch)


def test_a_checkpoint_comes_back_bit_for_bit_with_its_history(run):
    origin = {"classes": ["é", "b"], "seed": 7}
    checkpoint.save(run, Checkpoint(WEIGHTS, OPTIMIZER, EPOCHS, 12, TOTALS, BEST, 1, origin))
    found = checkpoint.load(run)
    for expected, arrays in [(WEIGHTS, found.weights), (OPTIMIZER, found.optimizer), (BEST, found.best)]:
        assert expected.keys() == arrays.keys()
        for name, array in expected.items():
            assert (array.dtype, array.shape, array.tobytes()) == (
                arrays[name].dtype,
                arrays[name].shape,
                arrays[name].tobytes(),
            )
    assert (EPOCHS, 12, TOTALS, 1, origin) == (
        found.epochs,
        found.position,
        found.totals,
        found.best_epoch,
        found.origin,
    )
    assert 1 == checkpoint.num_epochs(run)


def test_a_checkpoint_without_best_weights_comes_back_without(run):
    checkpoint.save(run, at(1))
    assert (None, 0, Totals(0.0, 0.0, 0, 0)) == (checkpoint.load(run).best, 0, checkpoint.load(run).totals)


def test_a_checkpoint_says_which_files_it_is_in_the_format_of_sha256sum(run):
    checkpoint.save(run, at(123, BEST, 7))
    names = ["best-00000007.safetensors", "step-00000123.safetensors"]
    assert [*names, "step-00000123.sha256"] == names_of(run)
    expected = "".join(f"{sha256_of(run.checkpoints_dir / name)}  {name}\n" for name in names)
    assert expected == (run.checkpoints_dir / "step-00000123.sha256").read_text()


def test_as_many_checkpoints_are_kept_as_asked(run):
    for step in range(5):
        checkpoint.save(run, at(step), keep=3)
    assert [f"step-0000000{step}.{suffix}" for step in (2, 3, 4) for suffix in ("safetensors", "sha256")] == names_of(
        run
    )
    checkpoint.save(run, at(5), keep=1)
    assert ["step-00000005.safetensors", "step-00000005.sha256"] == names_of(run)


def test_the_same_step_again_replaces_the_one_before_under_another_name(run):
    for position in (1, 2, 3):
        checkpoint.save(run, Checkpoint(WEIGHTS, {"step": np.array(8)}, EPOCHS, position))
        assert position == checkpoint.load(run).position
        state = "step-00000008-2.safetensors" if position == 2 else "step-00000008.safetensors"
        assert [state, "step-00000008.sha256"] == names_of(run)


def test_two_checkpoints_share_no_file_and_the_best_weights_are_written_twice_at_most(run):
    written = set()
    for step in range(6):
        checkpoint.save(run, at(step, BEST, 4))
        written |= {(path.name, path.stat().st_ino) for path in run.checkpoints_dir.glob("best-*")}
    assert {"best-00000004.safetensors", "best-00000004-2.safetensors"} == {name for name, _ in written}
    assert 2 == len(written)


def test_best_weights_of_the_same_epoch_with_other_numbers_are_not_mixed_up(run):
    other = {"conv.bias": BEST["conv.bias"] + 1}
    for step, best in enumerate([BEST, BEST, other, BEST]):
        checkpoint.save(run, at(step, best, 4))
        np.testing.assert_array_equal(best["conv.bias"], checkpoint.load(run).best["conv.bias"])


def test_a_run_without_a_checkpoint_says_so(run):
    assert (False, 0) == (checkpoint.exists(run), checkpoint.num_epochs(run))
    checkpoint.save(run, at(1))
    assert (True, 1) == (checkpoint.exists(run), checkpoint.num_epochs(run))


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
    with pytest.raises(
        ArtifactError, match=r"Cannot resume '.*run': it has no checkpoint; remove the run and train anew"
    ):
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
