"""Verdicts, galleries, costs, the explained gap and caveats, computed from finished runs."""

import os
from dataclasses import replace

import numpy as np
import pytest
from finished import CLASSES, COST, NUM_IMAGES, finished, labels, logits
from scipy import special
from sklearn import metrics

from diptych.artifacts.store import write_json
from diptych.comparison import defaults, statistics
from diptych.comparison.costs import _others_seconds, costs, is_disturbed, target_accuracy
from diptych.comparison.defaults import explain, summarize
from diptych.comparison.findings import findings, relevance
from diptych.comparison.runs import FinishedRun, group
from diptych.comparison.statistics import contrast, gallery
from diptych.comparison.wording import attribution, verdict
from diptych.engines.differences import LEDGER
from diptych.spec import Recipe, zoo
from diptych.spec.codec import recipe_to_json


def two_arms(parent, first, second, **settings):
    """Arms with one run for each array of logits."""
    return group(
        [
            finished(parent, f"{engine}-{seed}", engine=engine, seed=seed, logits_nk=logits_nk, **settings)
            for engine, several in (("torch", first), ("tensorflow", second))
            for seed, logits_nk in enumerate(several)
        ]
    )


def found(arms):
    return findings(arms, kind="runs", title="", command="", margin=0.05)


def right(count):
    """Logits that are correct on the first `count` images."""
    wrong_n = np.arange(NUM_IMAGES) >= count
    return 4 * np.eye(len(CLASSES), dtype=np.float32)[(labels() + wrong_n) % len(CLASSES)]


@pytest.mark.parametrize(
    ("first", "second", "outcome", "headline"),
    [
        ((150, 151, 152), (180, 182, 181), "different", "Different: TensorFlow is more accurate than PyTorch by 15"),
        ((180, 181, 182), (181, 181, 181), "equivalent", "Equivalent: the accuracies of PyTorch and TensorFlow"),
        ((180, 181, 182), (182, 183, 184), "equivalent", "TensorFlow is 1.00 points ahead of PyTorch, less than"),
        ((150, 190), (185, 160), "undecided", "Undecided: 2 pairs of runs show neither"),
        ((150,), (190,), "too-few", "One pair of runs: this TensorFlow model is more accurate"),
        ((180,), (181,), "too-few", "differ by no more than chance (0.50 points)"),
    ],
)
def test_a_verdict_says_what_the_accuracies_show(tmp_path, first, second, outcome, headline):
    result = found(two_arms(tmp_path, map(right, first), map(right, second)))["verdict"]
    assert outcome == result["outcome"]
    assert headline in result["headline"]
    assert "p =" not in result["headline"]


@pytest.mark.parametrize(
    ("outcome", "difference_p", "equivalence_p"),
    [
        *(("equivalent", 0.9, 0.049), ("equivalent", 0.001, 0.049), ("different", 0.049, 0.051)),
        *(("undecided", 0.9, 0.051), ("undecided", 0.051, 0.051)),
    ],
)
def test_differences_and_equivalence_are_judged_at_five_percent(difference_p, equivalence_p, outcome):
    difference = {"mean": 0.001, "low": -0.01, "high": 0.01, "p_value": difference_p, "num_pairs": 3}
    accuracy = {"means": [0.9, 0.901], "difference": difference, "equivalence_p": equivalence_p, "detectable": 0.01}
    accuracy |= {"image_interval": {"low": -0.01, "high": 0.01}}
    made = {"second": 1, "agreement": 0.9, "measures": [accuracy]}
    result = verdict(["a", "b"], [made], {"1": [{"mcnemar_p": p} for p in (0.049, 0.051, 0.5)]}, 0.005)
    assert outcome == result["outcome"]
    assert any("a difference in 1 of 3 pairs" in line for line in result["details"])
    # A second comparison doubles the smallest p-value (Holm), so neither is significant any more.
    names, others = ["a", "b", "c"], {place: [{"mcnemar_p": 0.5}] * 3 for place in "12"}
    corrected = verdict(names, [made, {**made, "second": 2}], others, 0.005)
    assert ("different" if difference_p < 0.025 else "undecided") == corrected["outcome"]


def test_a_difference_in_loss_is_reported_even_if_the_accuracies_are_equivalent(tmp_path):
    confident, unsure = [right(n) for n in (180, 181, 182)], [right(n) / 4 for n in (181, 180, 182)]
    result = found(two_arms(tmp_path, confident, unsure))["verdict"]
    assert "equivalent" == result["outcome"]
    assert any("The loss of TensorFlow is" in line for line in result["details"])


def test_three_arms_are_ranked_and_each_is_compared_with_the_first(tmp_path):
    runs = [
        finished(tmp_path, f"{engine}-{model}-{seed}", engine=engine, model=model, seed=seed, logits_nk=right(count))
        for engine, model, count in (("torch", "mlp", 150), ("tensorflow", "mlp", 170), ("torch", "cnn", 190))
        for seed in (0, 1)
    ]
    headline = found(group(runs))["verdict"]["headline"]
    assert "By mean accuracy: PyTorch, cnn 95.00%, TensorFlow, mlp 85.00%, PyTorch, mlp 75.00%." == headline


def test_a_drift_has_the_agreement_of_the_frameworks_and_of_pytorch_with_itself(tmp_path):
    arms = two_arms(tmp_path, [right(190), right(190)], [right(190), right(184)])  # only the runs of seed 1 disagree
    settings = {"threads": {"engines": [{"engine": "torch", "threads": 2}]}}
    settings["precision"] = {"recipe": recipe_to_json(Recipe(precision="float64"))}
    counts = {"threads": 188, "precision": 193}
    yardsticks = {
        name: FinishedRun.of(finished(tmp_path, name, seed=1, logits_nk=right(counts[name]), record=record))
        for name, record in settings.items()
    }
    drift = findings(arms, kind="aligned", title="", command="", margin=0.05, yardsticks=yardsticks)["drift"]
    assert [
        ("PyTorch and TensorFlow", 194, -0.03),
        ("PyTorch, 1 and 2 threads", 198, -0.01),
        ("PyTorch, float32 and float64", 197, 0.015),
    ] == [(pair["title"], pair["num_same"], pytest.approx(pair["accuracy"])) for pair in drift["pairs"]]
    assert (1, {NUM_IMAGES}) == (drift["seed"], {pair["num_images"] for pair in drift["pairs"]})
    assert "on 3 images when only the number format changes" in drift["sentence"]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            (13, 15, 8),
            "disagrees with itself on at least as many images when only the number of threads changes, so rounding",
        ),
        (
            (13, 15, 13),
            "when only the number of threads or the number format changes, so rounding alone can explain the"
            " disagreement of the frameworks.",
        ),
        ((13, 8, 11), "on 11 images when only the number format changes, so rounding alone can explain 11 of the 13"),
        ((13, 8, 11), "; the rest may be chance."),
        ((130, 1, 0), "on 1 image when only the number of threads changes, so rounding alone can explain 1 of the 130"),
        ((130, 1, 0), "; the rest is due to the frameworks."),
        (
            (13, 0, 0),
            "agrees with itself on every image when only the number of threads or the number format changes, so",
        ),
        ((13, 0), "when only the number of threads changes, so the frameworks account for the disagreement."),
    ],
)
def test_a_sentence_says_how_much_of_a_disagreement_rounding_can_explain(counts, sentence):
    names = ("framework", "threads", "precision")
    pairs = [{"changed": name, "num_same": 500 - n, "num_images": 500} for name, n in zip(names, counts, strict=False)]
    assert sentence in attribution(pairs)


@pytest.mark.parametrize(
    ("changes", "has_drift"),
    [
        ({}, True),
        ({"logits_nk": right(190)}, False),
        ({"engine": "torch", "label_smoothing": 0.1}, False),
        ({"label_smoothing": 0.1}, False),
        ({"seed": 1}, False),
        ({"record": {"data": {"data": "more", "name": "fruit", "fingerprint": "g", "test_fingerprint": "t"}}}, False),
    ],
    ids=["equal settings", "equal predictions", "one framework", "other recipe", "other seed", "other training data"],
)
def test_finished_runs_drift_if_they_disagree_and_differ_only_in_framework(tmp_path, changes, has_drift):
    runs = [finished(tmp_path, "a", logits_nk=right(190))]
    runs.append(finished(tmp_path, "b", **{"engine": "tensorflow", "logits_nk": right(184), **changes}))
    drift = found(group(runs))["drift"]
    assert has_drift == (drift is not None)
    if drift:
        assert [] == drift["pairs"]
        assert "was not measured" in drift["sentence"]


@pytest.mark.parametrize(
    ("rounds", "other_load", "threads", "disturbed"),
    [
        ([90, 100, 110], 0.1, 2, False),
        ([90, 100, 181], 0.1, 2, True),
        ([90, 100, 110], 0.3, 2, True),
        ([90, 100, 110], 0.9, 1, False),  # the other core is free
        ([90, 100, 110], 1.3, 1, True),
        ([90, 100, 110], None, 2, False),
    ],
)
def test_a_measurement_is_disturbed_by_a_busy_machine_or_by_unequal_rounds(rounds, other_load, threads, disturbed):
    assert disturbed == is_disturbed([rounds], other_load, threads, cores=2)


def test_the_time_of_other_processes_leaves_out_our_own(monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, **settings: "cpu 100 20 30 4 5 6 7 8 0 0")
    monkeypatch.setattr("time.process_time", lambda: 0.5)
    assert 171 / os.sysconf("SC_CLK_TCK") - 0.5 == _others_seconds()


@pytest.mark.parametrize("disturbed", [False, True])
def test_a_disturbed_measurement_is_marked_in_a_remark(tmp_path, disturbed):
    arms = two_arms(tmp_path, [logits(0.9, 1)], [logits(0.9, 2)])
    write_json(arms[0].first.run.cost_path, COST)  # an older file, without the mark
    write_json(arms[1].first.run.cost_path, {**COST, "disturbed": disturbed})
    result = found(arms)
    assert disturbed == any("The machine was busy" in one for one in result["disturbed"])
    assert result["disturbed"] == result["remarks"]


def test_the_gallery_is_sorted_by_the_number_of_disagreeing_pairs_and_by_confidence(tmp_path):
    base = right(198)
    once, twice = base.copy(), base.copy()
    once[3], twice[3] = base[4], base[4]
    twice[7] = base[8] / 4
    for unsure in (once, twice):
        unsure[199] /= 8
    arms = two_arms(tmp_path, [base, base], [once, twice])
    result = gallery(arms)
    assert [3, 7] == [case["id"] for case in result["disagreements"]]
    assert [2, 1] == [case["num_pairs"] for case in result["disagreements"]]
    assert [labels()[3], (labels()[3] + 1) % 3] == result["disagreements"][0]["predicted"]
    assert [198, 199] == [case["id"] for case in result["shared_mistakes"]]
    assert (2, 2, NUM_IMAGES) == (result["num_disagreements"], result["num_shared"], result["num_images"])


def test_time_to_target_is_up_to_the_first_epoch_that_every_run_reaches(tmp_path):
    arms = two_arms(tmp_path, [logits(0.9, 1)], [logits(0.9, 2)])
    assert 0.65 == target_accuracy(arms)
    rows = {cost["key"]: cost for cost in costs(arms)}
    assert [4.0, 4.0] == rows["seconds_to_target"]["medians"]
    assert [2000.0, 2000.0] == rows["train_throughput"]["medians"]
    assert "peak_memory" not in rows  # not measured


SETUP = zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,)), Recipe(optimizer="sgd")


def accuracies(seeds, effects, seed=0):
    """Accuracies by arm: the aligned ones, one default's effects on TensorFlow each, and all together."""
    base = np.linspace(0.90, 0.91, seeds)
    noise = np.random.default_rng(seed).normal(0, 1e-4, (len(effects) + 2, 2, seeds))
    arms = {"aligned": 0.0, **effects, "native": sum(effects.values())}
    return {
        arm: {"torch": base + noise[place, 0], "tensorflow": base + effect + noise[place, 1]}
        for place, (arm, effect) in enumerate(arms.items())
    }


def test_the_gap_is_attributed_to_the_default_that_causes_it():
    effects = {default.key: -0.05 if default.key == "norm-momentum" else 0.0 for default in defaults.of(SETUP)}
    explained = explain(accuracies(3, effects), SETUP, 1e-4)
    assert "norm-momentum" == max(explained["defaults"], key=lambda row: abs(row["gap"]["mean"]))["key"]
    assert pytest.approx(-0.05, abs=1e-3) == explained["sum"]
    assert "`norm-momentum`" in summarize(explained)
    sentence = summarize(explain(accuracies(1, effects), SETUP, 1e-4))
    assert "the largest effect is that of batch norm's momentum" in sentence
    assert "one pair cannot distinguish that from chance" in sentence


def test_no_default_is_blamed_if_none_has_an_effect():
    effects = {default.key: 0.0 for default in defaults.of(SETUP)}
    blamed = [
        "the largest effect" in summarize(explain(accuracies(3, effects, seed), SETUP, 1e-6)) for seed in range(20)
    ]
    assert np.mean(blamed) < 0.05 + 3 * (0.05 * 0.95 / 20) ** 0.5


def test_a_switched_arm_changes_one_default_that_affects_the_model_and_nothing_else():
    setup = spec, recipe = SETUP[0], Recipe()
    default = next(d for d in defaults.of(setup) if d.key == "norm-epsilon")
    assert setup == default.switch(setup, "torch")  # PyTorch's value is the aligned one
    other, same = default.switch(setup, "tensorflow")
    changed = [(a, b) for a, b in zip(spec.layers, other.layers, strict=True) if a != b]
    assert recipe == same
    assert changed
    assert all(replace(a, epsilon=1e-3) == b for a, b in changed)
    keys = {default.key for default in defaults.of((zoo.model("mlp", (8, 8, 1), 10, (0.5,), (0.25,)), recipe))}
    assert {"initial-weights", "adam-epsilon", "weight-decay"} == keys


def test_every_row_of_the_ledger_has_a_condition_that_depends_on_model_and_recipe():
    conditions = relevance(SETUP[0], Recipe(optimizer="sgd", precision="float32", flip="none"))
    assert {row.key for row in LEDGER} == conditions.keys()
    keys = {key for key, applies in conditions.items() if applies}
    assert {"norm-momentum", "sgd-velocity", "conv-kernel-axes"} <= keys
    assert not {"adam-epsilon", "rmsprop-epsilon", "mixed-precision", "leaky-relu", "label-smoothing"} & keys


def resampled(run, times):
    """Macro F1, loss and calibration error of a run if each image counts so many times."""
    predicted, true, probabilities = run.predicted_n, run.labels_n, special.softmax(run.logits_nk.astype(float), axis=1)
    confidence, right = probabilities.max(axis=1), predicted == true
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    gaps = np.bincount(bins, times * (right - confidence), 15)
    settings = {"sample_weight": times, "labels": np.unique(true[times > 0]), "zero_division": 0}
    f1 = metrics.f1_score(true, predicted, average="macro", **settings)
    return f1, metrics.log_loss(true, probabilities, sample_weight=times), np.abs(gaps).sum() / len(true)


@pytest.mark.parametrize("shares", [(0.8, 0.9), (0.9, 0.9)], ids=["different", "identical"])
def test_intervals_over_images_are_those_of_resampling_one_by_one(tmp_path, shares, monkeypatch):
    monkeypatch.setattr(statistics, "NUM_RESAMPLES", 100)
    arms = two_arms(tmp_path, *([logits(share, seed) for seed in (1, 2)] for share in shares))
    drawn = np.random.default_rng(0).integers(0, NUM_IMAGES, (100, NUM_IMAGES))
    times = [np.bincount(row, minlength=NUM_IMAGES) for row in drawn]
    first, second = (np.mean([[resampled(run, one) for one in times] for run in arm.runs], axis=0) for arm in arms)
    expected = np.quantile(second - first, [0.025, 0.975], axis=0).T
    found = {row["name"]: list(row["image_interval"].values()) for row in contrast(*arms, 1, 0.005)["measures"]}
    assert np.allclose(expected, [found[name] for name in ("macro_f1", "loss", "calibration_error")], atol=1e-12)
