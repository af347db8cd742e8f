"""Which runs may be compared, how they are grouped and named, and which existing ones a comparison reuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from data_files import write_files, write_images
from finished import COST, NUM_IMAGES, amend, epoch_of, finished, labels, logits

from diptych import compare_runs
from diptych.artifacts.run import Predictions
from diptych.artifacts.store import write_json
from diptych.comparison.costs import full_batches
from diptych.comparison.experiment import Experiment
from diptych.comparison.runs import group, shared_seeds
from diptych.data.datasets import Dataset, Split
from diptych.errors import ArtifactError, DiptychError, UsageError
from diptych.options import CompareOptions
from diptych.spec import Recipe
from diptych.training.provenance import DataSource


def test_runs_that_differ_only_in_their_seed_form_an_arm_in_the_order_of_their_seeds(tmp_path):
    order = [(seed, engine) for seed in (2, 0, 1) for engine in ("torch", "tensorflow")]
    runs = [finished(tmp_path, f"{engine}-{seed}", engine=engine, seed=seed) for seed, engine in order]
    arms = group(runs)
    assert ["PyTorch", "TensorFlow"] == [arm.name for arm in arms]
    assert [[0, 1, 2]] * 2 == [[run.record.seed for run in arm.runs] for arm in arms]
    assert (0, 1, 2) == shared_seeds(arms)
    assert shared_seeds(group([runs[0], finished(tmp_path, "other", engine="tensorflow", seed=7)])) is None


def test_published_images_in_another_size_are_the_same_images(tmp_path):
    data = {"data": "digits", "name": "digits", "fingerprint": "g", "test_fingerprint": "t"}
    larger = {"data": {**data, "test_fingerprint": "resized"}, "preprocessing": SIZE}
    runs = [finished(tmp_path, "a", record={"data": data})]
    runs.append(finished(tmp_path, "b", engine="tensorflow", record=larger))
    assert 2 == len(group(runs))


def test_arms_that_no_name_distinguishes_are_numbered(tmp_path):
    spec = finished(tmp_path, "a").read_record().spec_json
    wider = [{**layer, "units": 99} if layer["name"] == "fc1" else layer for layer in spec["layers"]]
    runs = [finished(tmp_path / "x", "run")]
    runs.append(finished(tmp_path / "y", "run", record={"spec": {**spec, "layers": wider}}))
    assert ["1", "2"] == [arm.name for arm in group(runs)]


def test_metrics_are_computed_from_the_predictions_not_read_from_metrics_json(tmp_path):
    one, two = finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")
    write_json(one.metrics_path, {**one.read_metrics(), "accuracy": 0.999})
    one.seal()
    arm = group([one, two])[0]
    assert arm.first.correct_n.mean() == arm.first.value("accuracy") != 0.999


STARTS = [{"engine": engine, "threads": 1} for engine in ("torch", "tensorflow")]
MORE = {"split_sizes": {"train": 5000, "validation": 20, "test": NUM_IMAGES}}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (({"label_smoothing": 0.0}, {"label_smoothing": 0.2}), ["label smoothing 0.0", "label smoothing 0.2"]),
        (
            ({"model": "mlp"}, {"engine": "tensorflow"}, {"model": "cnn"}),
            ["PyTorch, mlp", "TensorFlow, mlp", "PyTorch, cnn"],
        ),
        (({}, {"record": {"engines": STARTS}}), ["PyTorch", "PyTorch, then TensorFlow"]),
        (({}, {"record": MORE}), ["100 images", "5,000 images"]),
    ],
)
def test_arms_are_named_by_what_distinguishes_them(tmp_path, settings, names):
    runs = [finished(tmp_path, f"run{place}", **one) for place, one in enumerate(settings)]
    assert names == [arm.name for arm in group([*runs, runs[0]])]  # a run that is named twice counts once


def test_old_records_and_the_normalization_of_another_seed_make_no_new_arm(tmp_path):
    record = finished(tmp_path, "a").read_record()
    old = {name: value for name, value in record.recipe_json.items() if name != "update_form"}
    first, *rest = record.spec_json["layers"]
    spec = {**record.spec_json, "layers": [{**first, "mean": [0.4]}, *rest]}
    runs = [finished(tmp_path, "b"), finished(tmp_path, "c", seed=1, record={"spec": spec})]
    runs.append(finished(tmp_path, "d", seed=2, record={"recipe": old}))
    runs += [finished(tmp_path, f"e{seed}", engine="tensorflow", seed=seed) for seed in range(3)]
    assert [3, 3] == [len(arm.runs) for arm in group(runs)]


SIZE = {"height": 16, "width": 16, "channels": 1, "resize": "area"}
FRUIT = {"data": "fruit", "name": "fruit", "fingerprint": "f", "test_fingerprint": "u"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"record": {"status": "stopped"}}, r"not finished \(stopped\)"),
        ({"record": {"class_names": ("apple", "pear", "fig")}}, "their classes are not the same"),
        ({"labels_n": labels()[:150], "logits_nk": logits(0.9, 0)[:150]}, "200 and 150 of them"),
        ({"labels_n": np.roll(labels(), 1)}, "their labels are not the same"),
        ({"record": {"data": FRUIT}}, "their pixels are not the same"),
        ({"record": {"data": FRUIT, "preprocessing": SIZE}}, "their pixels are not the same"),
        ({"record": {"data": {"data": "veg", "name": "veg", "fingerprint": "g"}}}, "their data may not be the same"),
        ({"engine": "torch"}, "2 to 6 different settings"),
    ],
)
def test_runs_that_cannot_be_compared_are_rejected_with_the_reason(tmp_path, changes, reason):
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", **{"engine": "tensorflow", **changes})]
    with pytest.raises(UsageError, match=reason):
        group(runs)


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        (((0, 1), (0,)), "got 2 of PyTorch, 1 of TensorFlow"),
        (((0, 0), (0, 0)), "the same settings and the same seed, 0"),
        (((0, 1), (1, 2)), "share some seeds but not all"),
    ],
)
def test_arms_need_the_same_number_of_runs_with_distinct_seeds(tmp_path, seeds, reason):
    runs = []
    for engine, several in zip(("torch", "tensorflow"), seeds, strict=True):
        runs += [finished(tmp_path, f"{engine}-{n}", engine=engine, seed=seed) for n, seed in enumerate(several)]
    with pytest.raises(UsageError, match=reason):
        group(runs)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cost.json", {}),
        ("cost.json", {**COST, "train_throughput": []}),
        ("cost.json", {**COST, "predict_throughput": ["x"]}),
        ("cost.json", {**COST, "peak_memory": None}),
        ("export/export.json", {"formats": []}),
        ("export/export.json", {"formats": {"onnx": {"status": 5}}}),
        ("events.jsonl", {"kind": "epoch", "epoch": 1}),
        ("events.jsonl", {**epoch_of(1), "kind": "epoch", "seconds": "x"}),
        ("predictions.npz", np.zeros((NUM_IMAGES, 4), np.float32)),
        ("predictions.npz", np.zeros(NUM_IMAGES, np.float32)),
        ("predictions.npz", np.zeros((NUM_IMAGES, 3, 1), np.float32)),
        ("predictions.npz", np.full((NUM_IMAGES, 3), np.nan, np.float32)),
        ("predictions.npz", np.full((NUM_IMAGES, 3), "x")),
    ],
)
def test_invalid_files_of_a_run_are_rejected(tmp_path, name, content):
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")]
    path = runs[1].directory / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, np.ndarray):
        runs[1].write_predictions(Predictions(content, labels(), np.arange(NUM_IMAGES)))
    else:
        path.write_text(json.dumps(content) + "\n")
    runs[1].seal()
    with pytest.raises(DiptychError) as error:
        compare_runs(runs, out=tmp_path / "report")
    assert isinstance(content, np.ndarray) or f"Cannot read '{path}'" in str(error.value)
    assert not (tmp_path / "report").exists()


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
    split = Split(np.zeros((num_samples, 4, 4, 1), np.uint8), np.arange(num_samples) % 2, np.arange(num_samples))
    data = Dataset("small", ("a", "b"), split, split, split, False)
    batches = full_batches(data, replace(RECIPE, flip="none", crop_padding=0), 0)
    sizes = {len(next(batches).images) for _ in range(4)}
    assert {min(num_samples, 65 if num_samples == 65 else 64)} == sizes
