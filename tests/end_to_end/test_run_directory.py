"""`diptych train digits --engine both` writes two complete run folders that differ only in the engine."""

import cv2
import msgspec
import numpy as np
import pytest

from diptych.artifacts.events import read_events
from diptych.artifacts.store import read_arrays
from diptych.spec import zoo

PLOTS = ("curves", "confusion_matrix", "reliability", "samples", "mistakes")
FILES = {"run.json", "events.jsonl", "metrics.json", "predictions.npz", "model.safetensors", "log.txt", "manifest.json"}
FILES |= {f"plots/{name}.png" for name in PLOTS}


@pytest.fixture
def run(digits_runs, engine_name):
    return digits_runs[engine_name]


def test_a_run_has_every_file_and_its_manifest_lists_them(run):
    files = {path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*") if path.is_file()}
    folders = ("tensorboard/events.out.tfevents.", "checkpoints/step-")
    assert FILES == {name for name in files if not name.startswith(folders)} - {".lock"}
    assert files - {".lock", "manifest.json"} == set(run.read_manifest())
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


def test_every_epoch_is_an_event_and_a_point_of_each_curve(run):
    epochs = read_events(run.events_path, "epoch")
    assert list(range(1, 21)) == [epoch["epoch"] for epoch in epochs]
    assert all(epoch["images_per_second"] > 0 for epoch in epochs)
    (curves,) = run.tensorboard_dir.iterdir()
    assert 20 == curves.read_bytes().count(b"validation/accuracy")


def test_plots_are_images(run):
    assert all(min(cv2.imread(str(path)).shape[:2]) > 200 for path in run.plots_dir.iterdir())


def test_both_engines_get_the_same_job_and_learning_rates(digits_runs):
    ours, theirs = (run.read_record() for run in digits_runs.values())
    for name in ("data", "class_names", "split_sizes", "preprocessing", "spec", "recipe", "seed", "command"):
        assert getattr(ours, name) == getattr(theirs, name)
    ours, theirs = (read_events(run.events_path, "epoch") for run in digits_runs.values())
    assert [epoch["learning_rate"] for epoch in ours] == [epoch["learning_rate"] for epoch in theirs]
