"""Which runs may be compared, how they are grouped, and how the groups are named."""

import json

import numpy as np
import pytest
from finished import COST, NUM_IMAGES, epoch_of, finished, labels, logits

from diptych import compare_runs
from diptych.artifacts.run import Predictions
from diptych.artifacts.store import write_json
from diptych.comparison.runs import group, shared_seeds
from diptych.errors import DiptychError, UsageError


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
        ({"record": {"status": "stopped"}}, "stopped, not finished"),
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
    with pytest.raises(DiptychError) as error:
        compare_runs(runs, out=tmp_path / "report")
    assert isinstance(content, np.ndarray) or f"Cannot read '{path}'" in str(error.value)
    assert not (tmp_path / "report").exists()
