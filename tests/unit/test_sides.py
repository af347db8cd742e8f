"""Which runs may be compared, and how they are told apart."""

import json

import numpy as np
import pytest
from finished import DELETED, NUM_IMAGES, amend, finished, labels, logits

from diptych import compare_runs
from diptych.artifacts.run import Predictions
from diptych.comparison import border
from diptych.comparison.sides import grouped, paired
from diptych.errors import ArtifactError, DiptychError, UsageError


def test_runs_that_differ_in_their_seed_alone_stand_together_in_the_order_of_their_seeds(tmp_path):
    runs = [
        finished(tmp_path, f"{engine}-{seed}", engine=engine, seed=seed)
        for seed in (2, 0, 1)
        for engine in ("torch", "tensorflow")
    ]
    sides = grouped(runs)
    assert ["PyTorch", "TensorFlow"] == [side.name for side in sides]
    assert [[0, 1, 2]] * 2 == [[answer.seed for answer in side.answers] for side in sides]
    assert (0, 1, 2) == paired(sides)


def test_sides_are_named_by_what_tells_them_apart(tmp_path):
    plain, smooth = (finished(tmp_path, f"s{s}", label_smoothing=s) for s in (0.0, 0.2))
    small, large = (finished(tmp_path, name, model=name) for name in ("mlp", "cnn"))
    other = finished(tmp_path, "tf", engine="tensorflow")
    assert ["label smoothing 0.0", "label smoothing 0.2"] == [side.name for side in grouped([plain, smooth])]
    assert ["mlp", "cnn"] == [side.name for side in grouped([small, large])]
    assert ["PyTorch, mlp", "TensorFlow, mlp", "PyTorch, cnn"] == [s.name for s in grouped([small, other, large])]


def test_a_run_that_is_named_twice_counts_once(tmp_path):
    one, two = finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")
    assert [1, 1] == [len(side.answers) for side in grouped([one, two, one])]


def test_the_normalisation_of_another_seeds_split_is_no_other_model(tmp_path):
    record = finished(tmp_path, "a").read_record()
    first, *others = record.spec_json["layers"]
    spec = {**record.spec_json, "layers": [{**first, "mean": [0.4]}, *others]}
    runs = [finished(tmp_path, "b"), finished(tmp_path, "c", seed=1, record={"spec": spec})]
    runs += [finished(tmp_path, f"d{seed}", engine="tensorflow", seed=seed) for seed in (0, 1)]
    assert [2, 2] == [len(side.answers) for side in grouped(runs)]


def test_other_seeds_on_either_side_are_not_called_pairs(tmp_path):
    assert paired(grouped([finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow", seed=7)])) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"record": {"status": "stopped"}}, "stopped, not finished"),
        ({"record": {"class_names": ("apple", "pear", "fig")}}, "their classes are not the same"),
        ({"labels_n": labels()[:150], "logits_nk": logits(0.9, 0)[:150]}, "200 and 150 of them"),
        ({"labels_n": np.roll(labels(), 1)}, "their labels are not the same"),
        (
            {"record": {"data": {"data": "fruit", "name": "fruit", "fingerprint": "f", "test_fingerprint": "u"}}},
            "their pixels are not the same",
        ),
        ({"record": {"data": {"data": "veg", "name": "veg", "fingerprint": "g"}}}, "their data may not be the same"),
        ({"engine": "torch"}, "2 to 6 different kinds"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused_with_the_reason(tmp_path, changes, reason):
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", **{"engine": "tensorflow", **changes})]
    with pytest.raises(UsageError, match=reason):
        grouped(runs)


def test_as_many_runs_of_each_are_wanted(tmp_path):
    runs = [finished(tmp_path, f"a{seed}", seed=seed) for seed in (0, 1)]
    with pytest.raises(UsageError, match="there are 2 of PyTorch, 1 of TensorFlow"):
        grouped([*runs, finished(tmp_path, "b", engine="tensorflow")])


@pytest.mark.parametrize(("name", "published"), [("digits", True), ("fruit", False)])
def test_published_images_of_another_size_are_the_same_images_and_a_folders_need_not_be(tmp_path, name, published):
    data = {"data": name, "name": name, "fingerprint": "g", "test_fingerprint": "t"}
    size = {"height": 16, "width": 16, "channels": 1, "resize": "area"}
    larger = {"data": {**data, "test_fingerprint": "resized"}, "preprocessing": size}
    runs = [finished(tmp_path, "a", record={"data": data})]
    runs.append(finished(tmp_path, "b", engine="tensorflow", record=larger))
    if published:
        assert NUM_IMAGES == len(grouped(runs)[1].first.labels_n)
    else:
        with pytest.raises(UsageError, match="their pixels are not the same"):
            grouped(runs)


def test_a_copy_of_a_run_is_no_second_seed(tmp_path):
    runs = [finished(tmp_path, f"{engine}-{n}", engine=engine) for engine in ("torch", "tensorflow") for n in (1, 2)]
    with pytest.raises(UsageError, match="are of one seed, 0: the second says nothing new"):
        grouped(runs)


def test_seeds_that_overlap_in_part_are_refused(tmp_path):
    runs = [finished(tmp_path, f"a{seed}", seed=seed) for seed in (0, 1)]
    runs += [finished(tmp_path, f"b{seed}", engine="tensorflow", seed=seed) for seed in (1, 2)]
    with pytest.raises(UsageError, match="share some seeds and not others"):
        grouped(runs)


def test_a_run_of_both_frameworks_is_called_so(tmp_path):
    starts = [{"engine": engine, "threads": 1} for engine in ("torch", "tensorflow")]
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", record={"engines": starts})]
    assert ["PyTorch", "PyTorch, then TensorFlow"] == [side.name for side in grouped(runs)]


def test_more_training_images_make_another_side(tmp_path):
    more = {"split_sizes": {"train": 5000, "validation": 20, "test": NUM_IMAGES}}
    sides = grouped([finished(tmp_path, "a"), finished(tmp_path, "b", record=more)])
    assert ["100 images", "5,000 images"] == [side.name for side in sides]


def test_a_setting_that_came_later_has_its_default_in_older_runs(tmp_path):
    old = finished(tmp_path, "a").read_record().recipe_json
    del old["update_form"]
    runs = [finished(tmp_path, "b"), finished(tmp_path, "c", seed=1, record={"recipe": old})]
    runs += [finished(tmp_path, f"d{seed}", engine="tensorflow", seed=seed) for seed in (0, 1)]
    assert [2, 2] == [len(side.answers) for side in grouped(runs)]


def test_sides_that_nothing_tells_apart_by_name_are_numbered(tmp_path):
    spec = finished(tmp_path, "a").read_record().spec_json
    wider = [{**layer, "units": 99} if layer["name"] == "fc1" else layer for layer in spec["layers"]]
    runs = [
        finished(tmp_path / "x", "run"),
        finished(tmp_path / "y", "run", record={"spec": {**spec, "layers": wider}}),
    ]
    assert ["1", "2"] == [side.name for side in grouped(runs)]


def test_numbers_follow_from_the_predictions_whatever_metrics_say(tmp_path):
    one, two = finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")
    one.write_metrics({**one.read_metrics(), "accuracy": 0.999})
    side = grouped([one, two])[0]
    assert side.correct_sn.mean() == side.first.value("accuracy") != 0.999


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, DELETED) for key in ("status", "engines", "data", "spec", "versions", "split_sizes", "machine")),
        ("seed", "zero"),
        ("engines", [{}]),
        ("engines", [{"engine": "jax", "threads": 1}]),
        ("data", {}),
        ("data", "fruit"),
        ("machine", {"processor": 5}),
        ("spec", {"format": "diptych-model"}),
        ("recipe", {"format": "diptych-recipe", "version": 1, "epochs": "many"}),
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_refused_in_one_line(tmp_path, key, value):
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")]
    amend(runs[1], **{key: value})
    with pytest.raises(DiptychError) as error:
        grouped(runs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "logits_nk",
    [
        np.zeros((NUM_IMAGES, 4), np.float32),
        np.zeros(NUM_IMAGES, np.float32),
        np.zeros((NUM_IMAGES, 3, 1), np.float32),
        np.full((NUM_IMAGES, 3), np.nan, np.float32),
        np.full((NUM_IMAGES, 3), "x"),
    ],
    ids=["classes", "vector", "cube", "nan", "text"],
)
def test_predictions_that_are_not_as_they_should_be_are_refused(tmp_path, logits_nk):
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")]
    runs[1].write_predictions(Predictions(logits_nk, labels(), np.arange(NUM_IMAGES)))
    with pytest.raises(DiptychError):
        compare_runs(runs, out=tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cost.json", {}),
        ("cost.json", {"error": "EngineError", "message": "it failed"}),
        ("cost.json", {**dict.fromkeys(border.COST, 1.0), "train_throughput": [], "predict_throughput": [1]}),
        ("cost.json", {**dict.fromkeys(border.COST, 1.0), "train_throughput": ["x"], "predict_throughput": [1]}),
        ("cost.json", {**dict.fromkeys(border.COST, None)}),
        ("export/export.json", {}),
        ("export/export.json", {"formats": []}),
        ("export/export.json", {"formats": {"onnx": "ok"}}),
        ("export/export.json", {"formats": {"onnx": {"status": 5}}}),
        ("events.jsonl", {"kind": "epoch", "epoch": 1}),
        ("events.jsonl", {**dict.fromkeys(border.EPOCH, "x"), "kind": "epoch"}),
    ],
)
def test_reports_of_a_run_that_are_not_as_they_should_be_are_refused(tmp_path, name, content):
    runs = [finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow")]
    path = runs[1].directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content) + "\n")
    with pytest.raises(ArtifactError, match=f"Cannot read '{path}'"):
        compare_runs(runs, out=tmp_path / "report")
    assert not (tmp_path / "report").exists()
