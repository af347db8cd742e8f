"""`diptych train digits --engine both` writes two complete run folders that differ only in the engine."""

import sys
import types

import cv2
import msgspec
import numpy as np
import pytest

from diptych.artifacts.events import read_events
from diptych.artifacts.store import read_arrays
from diptych.spec import zoo

FILES = {
    "run.json",
    "events.jsonl",
    "metrics.json",
    "predictions.npz",
    "model.safetensors",
    "plots/curves.png",
    "plots/confusion_matrix.png",
    "plots/reliability.png",
    "plots/samples.png",
    "plots/mistakes.png",
    "log.txt",
    "manifest.json",
}


@pytest.fixture
def run(digits_runs, engine_name):
    return digits_runs[engine_name]


def files_of(run):
    files = {path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*") if path.is_file()}
    return files - {".lock"}


def test_a_run_has_every_file_and_its_manifest_lists_them(run):
    curves = {name for name in files_of(run) if name.startswith("tensorboard/events.out.tfevents.")}
    assert 1 == len(curves)
    checkpoints = {name for name in files_of(run) if name.startswith("checkpoints/")}
    assert FILES | curves | checkpoints == files_of(run)
    assert files_of(run) - {"manifest.json"} == set(run.read_manifest())
    run.verify()


def test_metrics_are_those_of_the_predictions(run, digits):
    predictions = run.read_predictions()
    np.testing.assert_array_equal(digits.test.labels, predictions.labels_n)
    right = predictions.logits_nk.argmax(1) == predictions.labels_n
    assert right.mean() == run.read_metrics()["accuracy"]


def test_the_record_names_data_engine_and_versions(run, digits, engine_name):
    record = run.read_record()
    assert (1, "finished", engine_name, 0) == (record.version, record.status, record.engine, record.seed)
    assert digits.fingerprint == record.data.fingerprint
    assert tuple(digits.class_names) == record.class_names
    sizes = {name: len(getattr(digits, name)) for name in ("train", "validation", "test")}
    assert sizes == msgspec.structs.asdict(record.split_sizes)
    assert record.versions[engine_name] == record.engines[0].version
    assert ("float32", "none") == (record.recipe.precision, record.recipe.flip)
    assert None not in (record.recipe.learning_rate, record.recipe.decoupled_decay)


def test_the_recorded_model_normalizes_by_the_training_split(run, digits):
    spec = run.read_record().spec
    pixels = digits.train.images / 255
    assert pytest.approx([pixels.mean()]) == spec.layers[0].mean
    assert pytest.approx([pixels.std()]) == spec.layers[0].std
    assert zoo.model("cnn", (8, 8, 1)).layers[1:] == spec.layers[1:]


def test_the_weights_are_every_array_of_the_spec(run):
    spec = run.read_record().spec
    arrays, metadata = read_arrays(run.model_path)
    assert {array.name: array.shape for array in spec.arrays} == {name: a.shape for name, a in arrays.items()}
    assert "0\n1\n2\n3\n4\n5\n6\n7\n8\n9" == metadata["classes"]


def test_every_epoch_is_an_event(run):
    epochs = read_events(run.events_path, "epoch")
    assert list(range(1, 21)) == [epoch["epoch"] for epoch in epochs]
    assert all(epoch["images_per_second"] > 0 for epoch in epochs)


def test_plots_are_images(run):
    assert all(min(cv2.imread(str(path)).shape[:2]) > 200 for path in run.plots_dir.iterdir())


def test_both_engines_get_the_same_job_and_learning_rates(digits_runs):
    ours, theirs = (run.read_record() for run in digits_runs.values())
    for name in ("data", "class_names", "split_sizes", "preprocessing", "spec", "recipe", "seed", "command"):
        assert getattr(ours, name) == getattr(theirs, name)
    ours, theirs = (read_events(run.events_path, "epoch") for run in digits_runs.values())
    assert [epoch["learning_rate"] for epoch in ours] == [epoch["learning_rate"] for epoch in theirs]


def scalars(directory):
    """Return the curves in TensorBoard's files: {tag: [(step, value), …]}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(directory)).Reload()
    tags = curves.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in curves.Scalars(tag)] for tag in tags}


def test_both_engines_write_the_same_curves(digits_runs, monkeypatch):
    # The documented way to make TensorBoard use its own file layer instead of TensorFlow's.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    ours, theirs = (scalars(run.tensorboard_dir) for run in digits_runs.values())
    assert ours.keys() == theirs.keys() >= {"train/loss", "validation/accuracy", "learning_rate"}
    assert ours["learning_rate"] == theirs["learning_rate"]
    for tag, points in ours.items():
        assert list(range(1, 21)) == [step for step, _ in points], tag
