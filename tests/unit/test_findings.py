"""What a comparison makes of finished runs: verdicts, galleries, costs, the explained gap, the ledger's rows."""

from dataclasses import replace

import numpy as np
import pytest
from finished import CLASSES, NUM_IMAGES, finished, labels, logits

from diptych.comparison import defaults
from diptych.comparison.contrasts import contrast, pairs
from diptych.comparison.costs import costs, target
from diptych.comparison.explained import explained, told
from diptych.comparison.gallery import gallery, ids
from diptych.comparison.sides import grouped
from diptych.comparison.touched import TOUCHES, touched
from diptych.comparison.verdict import verdict
from diptych.engines.differences import LEDGER
from diptych.evaluation.metrics import evaluate_logits
from diptych.spec import Recipe, zoo


def two_sides(parent, first, second):
    """Sides of as many runs as there are logits on either side."""
    runs = [
        finished(parent, f"{engine}-{seed}", engine=engine, seed=seed, logits_nk=logits_nk)
        for engine, several in (("torch", first), ("tensorflow", second))
        for seed, logits_nk in enumerate(several)
    ]
    return grouped(runs)


def judged(sides, margin=0.05):
    names = [side.name for side in sides]
    return verdict(names, [contrast(*sides, 1, margin)], {"1": pairs(*sides)}, margin)


def right(count):
    """Logits that are right on all but the last so many images."""
    wrong_n = np.arange(NUM_IMAGES) >= count
    return 4 * np.eye(len(CLASSES), dtype=np.float32)[(labels() + wrong_n) % len(CLASSES)]


def test_a_difference_in_accuracy_is_found_and_says_who_is_ahead(tmp_path):
    found = judged(two_sides(tmp_path, [right(n) for n in (150, 151, 152)], [right(n) for n in (180, 182, 181)]))
    assert "different" == found["outcome"]
    assert "Different: TensorFlow is more accurate than PyTorch, by 15.00 points." == found["headline"]


def test_equal_accuracies_are_equivalent_within_the_margin(tmp_path):
    found = judged(two_sides(tmp_path, [right(n) for n in (180, 181, 182)], [right(n) for n in (181, 181, 181)]))
    assert "equivalent" == found["outcome"]
    assert found["headline"].startswith("Equivalent in accuracy")


def test_a_small_but_certain_difference_is_named_beside_equivalence(tmp_path):
    found = judged(two_sides(tmp_path, [right(n) for n in (180, 181, 182)], [right(n) for n in (182, 183, 184)]))
    assert "equivalent" == found["outcome"]
    assert "TensorFlow is ahead of PyTorch by 1.00 points, which the margin allows" in found["headline"]


def test_scattered_accuracies_decide_nothing(tmp_path):
    found = judged(two_sides(tmp_path, [right(n) for n in (150, 190)], [right(n) for n in (185, 160)]))
    assert "undecided" == found["outcome"]


def test_one_pair_says_nothing_of_frameworks(tmp_path):
    sides = two_sides(tmp_path, [right(150)], [right(190)])
    assert "too-few" == judged(sides)["outcome"]
    assert contrast(*sides, 1, 0.05)["measures"][0]["difference"] is None


def test_a_loss_that_differs_is_told_though_accuracies_agree(tmp_path):
    sure, unsure = [right(n) for n in (180, 181, 182)], [right(n) / 4 for n in (181, 180, 182)]
    found = judged(two_sides(tmp_path, sure, unsure))
    assert "equivalent" == found["outcome"]
    assert any("The loss of TensorFlow is" in line for line in found["details"])


def test_three_sides_are_ranked_and_each_is_compared_with_the_first(tmp_path):
    engines = (("torch", "mlp"), ("tensorflow", "mlp"), ("torch", "cnn"))
    runs = [
        finished(tmp_path, f"{engine}-{model}-{seed}", engine=engine, model=model, seed=seed, logits_nk=right(count))
        for count, (engine, model) in zip((150, 170, 190), engines, strict=True)
        for seed in (0, 1)
    ]
    sides = grouped(runs)
    contrasts = [contrast(sides[0], side, place, 0.05) for place, side in enumerate(sides[1:], start=1)]
    found = verdict([s.name for s in sides], contrasts, {str(p): pairs(sides[0], sides[p]) for p in (1, 2)}, 0.05)
    assert "By mean accuracy: PyTorch, cnn 95.00%, TensorFlow, mlp 85.00%, PyTorch, mlp 75.00%." == found["headline"]


def test_the_gallery_shows_where_the_two_differ_most_often_and_most(tmp_path):
    base = right(NUM_IMAGES)
    once, twice = base.copy(), base.copy()
    once[3], twice[3] = base[4], base[4]
    twice[7] = base[8] / 4
    sides = two_sides(tmp_path, [base, base], [once, twice])
    found = gallery(sides)
    assert [3, 7] == [case["id"] for case in found["disagreements"]]
    assert [2, 1] == [case["num_pairs"] for case in found["disagreements"]]
    assert [labels()[3], (labels()[3] + 1) % 3] == found["disagreements"][0]["predicted"]
    assert (2, NUM_IMAGES) == (found["num_disagreements"], found["num_images"])


def test_mistakes_that_all_runs_share_come_with_the_surest_first(tmp_path):
    base = right(198)
    unsure = base.copy()
    unsure[199] /= 8
    found = gallery(two_sides(tmp_path, [base, base], [unsure, unsure]))
    assert [198, 199] == [case["id"] for case in found["shared_mistakes"]]
    assert 2 == found["num_shared"]
    assert [198, 199] == ids(found)


def test_time_to_target_is_up_to_the_first_epoch_that_every_run_reaches(tmp_path):
    sides = two_sides(tmp_path, [logits(0.9, 1)], [logits(0.9, 2)])
    assert 0.65 == target(sides)
    found = {cost["key"]: cost for cost in costs(sides)}
    assert [4.0, 4.0] == found["seconds_to_target"]["medians"]
    assert [2000.0, 2000.0] == found["train_throughput"]["medians"]
    assert "peak_memory" not in found  # nothing measured it


def accuracies(seeds, effects, seed=0):
    """Accuracies by arm: the aligned ones, one default's effects on TensorFlow each, and all together."""
    base = np.linspace(0.90, 0.91, seeds)
    noise = np.random.default_rng(seed).normal(0, 1e-4, (len(effects) + 2, 2, seeds))
    arms = {"aligned": 0.0, **effects, "native": sum(effects.values())}
    return {
        arm: {"torch": base + noise[place, 0], "tensorflow": base + effect + noise[place, 1]}
        for place, (arm, effect) in enumerate(arms.items())
    }


def test_the_gap_is_attributed_to_the_default_that_makes_it():
    recipe = Recipe(optimizer="sgd")
    spec = zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,))
    known = defaults.of((spec, recipe))
    effects = {default.key: -0.05 if default.key == "norm-momentum" else 0.0 for default in known}
    found = explained(accuracies(3, effects), (spec, recipe), 1e-4)
    assert "norm-momentum" == max(found["defaults"], key=lambda row: abs(row["gap"]["mean"]))["key"]
    assert pytest.approx(-0.05, abs=1e-3) == found["sum"]
    assert "`norm-momentum`" in told(found)


def test_where_no_default_matters_none_is_blamed():
    setup = zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,)), Recipe(optimizer="sgd")
    effects = {default.key: 0.0 for default in defaults.of(setup)}
    blamed = ["moves it most" in told(explained(accuracies(3, effects, seed), setup, 1e-6)) for seed in range(300)]
    assert np.mean(blamed) < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_one_pair_cannot_tell_which_default_it_is():
    setup = zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,)), Recipe(optimizer="sgd")
    effects = {default.key: -0.2 if default.key == "norm-momentum" else 0.0 for default in defaults.of(setup)}
    found = told(explained(accuracies(1, effects), setup, 1e-4))
    assert "`norm-momentum`) moves it most" in found
    assert "one pair cannot tell that from chance" in found


def test_a_switched_arm_has_one_default_as_the_framework_does_and_all_else_aligned():
    spec, recipe = zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,)), Recipe()
    default = next(d for d in defaults.of((spec, recipe)) if d.key == "norm-epsilon")
    assert (spec, recipe) == default.switch((spec, recipe), "torch")  # PyTorch's value is the aligned one
    other, same = default.switch((spec, recipe), "tensorflow")
    changed = [(a, b) for a, b in zip(spec.layers, other.layers, strict=True) if a != b]
    assert recipe == same
    assert changed
    assert all(replace(a, epsilon=1e-3) == b for a, b in changed)


def test_a_default_that_a_model_cannot_feel_is_not_tried():
    keys = {default.key for default in defaults.of((zoo.model("mlp", (8, 8, 1), 10, (0.5,), (0.25,)), Recipe()))}
    assert {"initial-weights", "adam-epsilon", "weight-decay"} <= keys
    assert not {"leaky-relu", "sgd-velocity", "rmsprop-epsilon"} & keys


def test_every_row_of_the_ledger_says_which_models_it_touches():
    assert {row.key for row in LEDGER} == set(TOUCHES)


def test_a_model_is_told_the_rows_that_it_touches():
    spec = zoo.model("cnn", (8, 8, 1), 10, (0.5,), (0.25,))
    keys = {row.key for row in touched([(spec, Recipe(optimizer="sgd", precision="float32", flip="none"))])}
    assert {"norm-momentum", "sgd-velocity", "conv-kernel-axes"} <= keys
    assert not {"adam-epsilon", "mixed-precision", "leaky-relu", "label-smoothing"} & keys


def test_intervals_over_images_of_every_measure_are_those_of_resampled_evaluations(tmp_path):
    first, second = ([logits(share, seed) for seed in (1, 2)] for share in (0.8, 0.9))
    found = {m["name"]: m["image_interval"] for m in contrast(*two_sides(tmp_path, first, second), 1, 0.05)["measures"]}
    generator = np.random.default_rng(1)
    differences = {name: [] for name in found}
    for _ in range(120):
        drawn = generator.integers(0, NUM_IMAGES, NUM_IMAGES)
        means = [
            {
                name: np.mean([value(evaluate_logits(one[drawn], labels()[drawn], CLASSES)) for one in side])
                for name, value in VALUES.items()
            }
            for side in (first, second)
        ]
        for name, values in differences.items():
            values.append(means[1][name] - means[0][name])
    for name, values in differences.items():
        low, high = np.quantile(values, [0.025, 0.975])
        reach = high - low
        assert abs(found[name]["low"] - low) < 0.25 * reach, name
        assert abs(found[name]["high"] - high) < 0.25 * reach, name


VALUES = {
    "accuracy": lambda metrics: metrics["accuracy"],
    "macro_f1": lambda metrics: metrics["macro"]["f1"],
    "loss": lambda metrics: metrics["loss"],
    "calibration_error": lambda metrics: metrics["expected_calibration_error"],
}
