"""A state on disk returns bit for bit or is refused; it is saved every so many steps, or in under 2 % of the time."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from finished import record_of

from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, sha256_of, write_arrays
from diptych.engines.contract import Totals
from diptych.errors import ArtifactError
from diptych.training import checkpoint, schedule
from diptych.training.checkpoint import Checkpoint
from diptych.training.schedule import Saver

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
    with pytest.raises(ArtifactError, match="its checkpoints have version 2 or earlier, expected 3"):
        checkpoint.load(run)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand; what the saver does takes no time unless `save_seconds` says so."""

    class Clock:
        now, save_seconds, save = 100.0, 0.0, staticmethod(checkpoint.save)

        def perf_counter(self):
            return self.now

        def save_slowly(self, *arguments):
            self.save(*arguments)
            self.now += self.save_seconds

    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    monkeypatch.setattr(checkpoint, "save", clock.save_slowly)
    return clock


def test_a_number_of_steps_is_kept_to_exactly(run):
    saver = Saver(run, 7, 2)
    assert [7, 7, 14, 21] == [saver.next_stop(step) for step in (0, 6, 7, 20)]
    for step in (7, 14):
        assert saver.is_due()
        saver.save(at(step, step))
    assert not saver.is_overdue()
    assert 14 == checkpoint.load(run).totals.steps


def test_unless_given_a_save_waits_fifty_times_as_long_as_the_last_one_took(run, clock):
    saver, clock.save_seconds = Saver(run, None, 2), 0.25
    assert 500 == saver.next_stop(0)
    assert saver.is_due()  # how long one takes is not known yet
    saver.save(at(500))
    for step in range(1000, 5000, 500):
        start = clock.now
        while not saver.is_due():
            clock.now += 0.125
        saver.save(at(step, step))
        assert 0.25 / (clock.now - start) < 0.02


@pytest.mark.parametrize(("save_seconds", "pause"), [(0.0, 300), (10.0, 500)])
def test_unless_given_a_save_is_overdue_after_five_minutes_or_fifty_times_its_time(run, clock, save_seconds, pause):
    saver, clock.save_seconds = Saver(run, None, 2), save_seconds
    saver.save(at(1))
    clock.now += pause - 1
    assert not saver.is_overdue()
    clock.now += 1
    assert saver.is_overdue() and saver.is_due()


def test_a_state_is_saved_once(run):
    saver = Saver(run, None, 2)
    saver.save(at(3))
    (manifest,) = run.checkpoints_dir.glob("*/*.sha256")
    written = manifest.stat().st_mtime_ns
    saver.save(at(3))
    Saver(run, None, 2, checkpoint.load(run)).save(at(3))
    assert written == manifest.stat().st_mtime_ns
