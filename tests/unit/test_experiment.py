"""Which runs a comparison wants, and which of them it takes for its own."""

from dataclasses import replace

import numpy as np
import pytest
from cv2 import imwrite
from finished import amend

from diptych.comparison.experiment import Experiment
from diptych.comparison.meter import full_batches
from diptych.data.datasets import Dataset, Split
from diptych.engines import NAMES
from diptych.errors import ArtifactError, UsageError
from diptych.spec import Recipe
from diptych.training.job import Source

RECIPE = Recipe(epochs=2, precision="float32")


def experiment(pool, data="digits", **changes):
    settings = {"seeds": (0, 1), "arm": "aligned", "explains": False, "threads": 1}
    return Experiment(Source(data), "mlp", RECIPE, pool=pool, **{**settings, **changes})


def test_pairs_take_turns_at_going_first(tmp_path):
    wanted = [(0, "torch"), (0, "tensorflow"), (1, "tensorflow"), (1, "torch"), (2, "torch"), (2, "tensorflow")]
    assert wanted == [(cell.seed, cell.engine) for cell in experiment(tmp_path, seeds=(0, 1, 2)).cells]


def test_equal_runs_of_several_arms_are_run_once_and_the_reported_arm_has_its_own(tmp_path):
    explaining = experiment(tmp_path, explains=True)
    arms = [cell.arm for cell in explaining.cells if cell.seed == 0]
    assert ["aligned", "aligned", "native", "native"] == arms[:4]
    # PyTorch's form of Adam is the aligned one, so only TensorFlow runs again for it.
    assert ["tensorflow"] == [c.engine for c in explaining.cells if c.arm == "adam-epsilon" and c.seed == 0]
    assert 4 == sum(explaining.is_reported(cell) for cell in explaining.cells)


def test_a_run_is_found_by_all_that_it_follows_from_and_by_nothing_else(tmp_path):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    assert made == first.find(first.cells[0])
    assert made == experiment(tmp_path, seeds=(0, 1, 2)).find(first.cells[0])
    others = (
        experiment(tmp_path, threads=2),
        replace(first, recipe=replace(RECIPE, epochs=3)),
        replace(first, model="cnn"),
    )
    assert [None] * 3 == [other.find(other.cell("aligned", 0, "torch")) for other in others]
    assert all(first.find(cell) is None for cell in first.cells[1:])


@pytest.mark.parametrize("start", [{"engine": "tensorflow", "threads": 1}, {"engine": "torch", "threads": 2}])
def test_a_run_that_went_on_otherwise_is_nobodys(tmp_path, start):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    amend(made, engines=[{"engine": "torch", "threads": 1}, start])
    assert first.find(first.cells[0]) is None


def test_a_damaged_run_is_refused_and_one_that_was_exported_is_not(tmp_path):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    start = {"engine": "torch", "threads": 1}
    amend(made, status="finished", engines=[start])
    made.export_dir.mkdir()
    (made.export_dir / "export.json").write_text("{}")
    (made.directory / "metrics.json").write_text("{}")
    made.seal()
    (made.export_dir / "export.json").write_text('{"formats": {}}')
    first.check(made, first.cells[0])
    (made.directory / "metrics.json").write_text('{"accuracy": 1}')
    with pytest.raises(ArtifactError, match=r"metrics\.json has changed"):
        first.check(made, first.cells[0])


def test_changed_data_are_refused(tmp_path):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    amend(made, data={"data": "digits", "name": "digits", "fingerprint": "0" * 64})
    with pytest.raises(ArtifactError, match="has changed since"):
        first.check(made, first.cells[0])


def test_a_folder_whose_name_is_a_pattern_is_found(tmp_path):
    folder = tmp_path / "cats[1]"
    generator = np.random.default_rng(0)
    for kind in ("left", "right"):
        (folder / kind).mkdir(parents=True)
        for place in range(10):
            imwrite(str(folder / kind / f"{place}.png"), generator.integers(0, 255, (64, 64, 3), np.uint8))
    first = experiment(tmp_path / "runs", str(folder))
    made = first.create(first.cells[0])
    assert made == first.find(first.cells[0])


def test_data_are_read_once_for_all_seeds_and_arms(tmp_path, monkeypatch):
    reads = []
    read = Source.read
    monkeypatch.setattr(Source, "read", lambda self: reads.append(self) or read(self))
    experiment(tmp_path, seeds=(0, 1, 2), explains=True).plan()
    assert 1 == len(reads)


@pytest.mark.parametrize("changes", [{"early_stopping": 2}, {"keep_best": True}, {"schedule": "plateau"}])
def test_what_would_choose_among_epochs_is_refused(tmp_path, changes):
    with pytest.raises(UsageError, match="are not for it"):
        replace(experiment(tmp_path), recipe=replace(RECIPE, **changes))


@pytest.mark.parametrize("num_samples", [10, 64, 65, 100, 129])
def test_measuring_never_runs_out_offull_batches(num_samples):
    split = Split(np.zeros((num_samples, 4, 4, 1), np.uint8), np.arange(num_samples) % 2)
    data = Dataset("small", ("a", "b"), split, split, split, False)
    batches = full_batches(data, replace(RECIPE, flip="none"), 0)
    sizes = {len(next(batches).images) for _ in range(4)}
    assert {min(num_samples, 65 if num_samples == 65 else 64)} == sizes


def test_both_frameworks_are_in_every_pair(tmp_path):
    for seed in (0, 1):
        assert set(NAMES) == {cell.engine for cell in experiment(tmp_path).cells if cell.seed == seed}
