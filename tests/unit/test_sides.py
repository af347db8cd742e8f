"""Which runs may be compared, and how they are told apart."""

import numpy as np
import pytest
from finished import CLASSES, NUM_IMAGES, finished, labels, logits

from diptych.comparison.sides import grouped, paired
from diptych.errors import UsageError


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
    spec = {**record["spec"], "layers": [{**record["spec"]["layers"][0], "mean": [0.4]}, *record["spec"]["layers"][1:]]}
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
        ({"record": {"data": {"data": "veg", "name": "veg", "fingerprint": "f"}}}, "their data have other names"),
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


def test_images_of_another_size_from_the_same_source_are_the_same_images(tmp_path):
    data = {"data": "fruit", "name": "fruit", "fingerprint": "g", "test_fingerprint": "resized"}
    larger = {"data": data, "preprocessing": {"height": 16, "width": 16, "channels": 1}}
    sides = grouped([finished(tmp_path, "a"), finished(tmp_path, "b", engine="tensorflow", record=larger)])
    assert NUM_IMAGES == len(sides[1].first.labels_n)
    assert CLASSES == tuple(sides[1].first.record["class_names"])
