"""The runs of a comparison: their order, and which existing runs it reuses."""

from dataclasses import replace

import numpy as np
import pytest
from data_files import write_files, write_images
from finished import amend

from diptych.comparison.costs import full_batches
from diptych.comparison.experiment import Experiment
from diptych.data.datasets import Dataset, Split
from diptych.errors import ArtifactError
from diptych.options import CompareOptions
from diptych.spec import Recipe
from diptych.training.provenance import DataSource

RECIPE = Recipe(epochs=2, precision="float32")


def experiment(pool, data="digits", **changes):
    options = CompareOptions(**{"model": "mlp", "seeds": 2, "threads": 1, "out": pool, **changes})
    return Experiment(DataSource(data), RECIPE, options)


def test_arms_share_equal_runs(tmp_path):
    explaining = experiment(tmp_path, explain=True)
    arms = [cell.arm for cell in explaining.cells if cell.seed == 0]
    assert ["aligned", "aligned", "native", "native"] == arms[:4]
    # PyTorch's form of Adam is the aligned one, so only TensorFlow runs again for it.
    assert ["tensorflow"] == [c.engine for c in explaining.cells if c.arm == "adam-epsilon" and c.seed == 0]
    assert 4 == sum(cell.arm == "aligned" for cell in explaining.cells)


def test_a_run_is_reused_only_with_equal_settings(tmp_path):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    assert made == first.find(first.cells[0])
    assert made == experiment(tmp_path, seeds=3).find(first.cells[0])
    others = (
        experiment(tmp_path, threads=2),
        replace(first, recipe=replace(RECIPE, epochs=3)),
        experiment(tmp_path, model="cnn"),
    )
    assert [None] * 3 == [other.find(other.cell("aligned", 0, "torch")) for other in others]
    assert all(first.find(cell) is None for cell in first.cells[1:])


@pytest.mark.parametrize("start", [{"engine": "tensorflow", "threads": 1}, {"engine": "torch", "threads": 2}])
def test_a_run_that_was_resumed_with_other_settings_is_not_reused(tmp_path, start):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    amend(made, engines=[{"engine": "torch", "threads": 1}, start])
    assert first.find(first.cells[0]) is None


def test_a_changed_run_or_changed_data_is_rejected_but_an_exported_run_is_not(tmp_path):
    first = experiment(tmp_path)
    made = first.create(first.cells[0])
    amend(made, status="finished", engines=[{"engine": "torch", "threads": 1}])
    write_files(made.directory, {"export/export.json": b"{}", "metrics.json": b"{}"})
    made.seal()
    (made.export_dir / "export.json").write_text('{"formats": {}}')
    first.find(first.cells[0])
    (made.directory / "metrics.json").write_text('{"accuracy": 1}')
    with pytest.raises(ArtifactError, match=r"metrics\.json has changed"):
        first.find(first.cells[0])
    amend(made, data={"data": "digits", "name": "digits", "fingerprint": "0" * 64})
    with pytest.raises(ArtifactError, match="has changed since"):
        first.find(first.cells[0])


def test_a_folder_whose_name_is_a_pattern_is_found(tmp_path):
    folder = tmp_path / "cats[1]"
    for kind in ("left", "right"):
        write_images(folder / kind, *range(10))
    first = experiment(tmp_path / "runs", str(folder))
    made = first.create(first.cells[0])
    assert made == first.find(first.cells[0])


def test_data_is_read_once_for_all_seeds_and_arms(tmp_path, monkeypatch):
    reads = []
    read = DataSource.read
    monkeypatch.setattr(DataSource, "read", lambda self: reads.append(self) or read(self))
    experiment(tmp_path, seeds=3, explain=True).plan()
    assert 1 == len(reads)


@pytest.mark.parametrize("num_samples", [10, 64, 65, 100, 129])
def test_the_meter_never_runs_out_of_full_batches(num_samples):
    split = Split(np.zeros((num_samples, 4, 4, 1), np.uint8), np.arange(num_samples) % 2)
    data = Dataset("small", ("a", "b"), split, split, split, False)
    batches = full_batches(data, replace(RECIPE, flip="none"), 0)
    sizes = {len(next(batches).images) for _ in range(4)}
    assert {min(num_samples, 65 if num_samples == 65 else 64)} == sizes
