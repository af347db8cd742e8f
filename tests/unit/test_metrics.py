"""The numbers of an evaluation against definitions written out by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from diptych.errors import ArtifactError, DataError, EngineError
from diptych.evaluation import (
    classification_report,
    evaluate_logits,
    expected_calibration_error,
    log_softmax,
    reliability_bins,
    softmax,
)

NAMES = ["cat", "dog", "eel", "fox", "gnu", "hen", "imp"]


@pytest.fixture
def sample():
    """400 samples of 7 classes in unequal numbers, logits right about two times in three."""
    rng = np.random.default_rng(7)
    labels_n = rng.choice(7, 400, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04])
    logits_nk = rng.normal(size=(400, 7)) + 2.0 * np.eye(7)[labels_n]
    return logits_nk.astype(np.float32), labels_n


def test_accuracy_counts_the_right_predictions(sample):
    logits_nk, labels_n = sample
    right = sum(max(range(7), key=list(row).__getitem__) == label for row, label in zip(*sample, strict=True))
    metrics = evaluate_logits(logits_nk, labels_n, NAMES)
    assert 400 == metrics["num_samples"]
    assert right / 400 == metrics["accuracy"]


def test_top5_accuracy_counts_the_labels_among_the_five_largest_logits(sample):
    logits_nk, labels_n = sample
    found = sum(label in np.argsort(row)[-5:] for row, label in zip(*sample, strict=True))
    assert found / 400 == evaluate_logits(logits_nk, labels_n, NAMES)["top5_accuracy"]


def test_top5_accuracy_of_fewer_than_five_classes_is_one():
    metrics = evaluate_logits(np.array([[3.0, 0.0, -1.0]]), np.array([2]), NAMES[:3])
    assert 0.0 == metrics["accuracy"]
    assert 1.0 == metrics["top5_accuracy"]


def test_of_equal_logits_the_first_class_wins():
    logits_nk = np.zeros((7, 7))
    metrics = evaluate_logits(logits_nk, np.arange(7), NAMES)
    assert 1 / 7 == metrics["accuracy"]
    assert 5 / 7 == metrics["top5_accuracy"]


def test_the_loss_is_the_mean_negative_log_probability_of_the_label(sample):
    logits_nk, labels_n = sample
    expected = np.mean(
        [
            math.log(sum(math.exp(float(logit)) for logit in row)) - float(row[label])
            for row, label in zip(logits_nk, labels_n, strict=True)
        ]
    )
    assert expected == pytest.approx(evaluate_logits(logits_nk, labels_n, NAMES)["loss"], abs=1e-12)


def test_the_loss_of_huge_logits_is_finite_and_exact():
    logits_nk = np.array([[1e4, 0.0], [-3e38, 3e38]], dtype=np.float32)
    labels_n = np.array([1, 1])
    assert 5e3 == evaluate_logits(logits_nk, labels_n, NAMES[:2])["loss"]


def test_precision_recall_and_f1_follow_from_the_confusion_matrix(sample):
    metrics = evaluate_logits(*sample, NAMES)
    matrix = np.array(metrics["confusion_matrix"])
    precision, recall = matrix.diagonal() / matrix.sum(axis=0), matrix.diagonal() / matrix.sum(axis=1)
    f1 = 2 * precision * recall / (precision + recall)
    support = matrix.sum(axis=1)
    for index, row in enumerate(metrics["per_class"]):
        assert (NAMES[index], support[index]) == (row["name"], row["support"])
        assert [precision[index], recall[index], f1[index]] == pytest.approx(
            [row["precision"], row["recall"], row["f1"]]
        )
    assert {"precision": precision.mean(), "recall": recall.mean(), "f1": f1.mean()} == pytest.approx(metrics["macro"])
    weighted = [np.average(values, weights=support) for values in (precision, recall, f1)]
    assert weighted == pytest.approx(list(metrics["weighted"].values()))


def test_rows_of_the_confusion_matrix_are_true_classes():
    logits_nk = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    metrics = evaluate_logits(logits_nk, np.array([0, 0, 0]), NAMES[:2])
    assert [[1, 2], [0, 0]] == metrics["confusion_matrix"]


def test_labels_of_one_byte_do_not_overflow():
    num_classes = 100
    logits_nk, labels_n = np.eye(num_classes), np.arange(num_classes, dtype=np.uint8)
    metrics = evaluate_logits(logits_nk, labels_n, [str(index) for index in range(num_classes)])
    assert np.eye(num_classes, dtype=int).tolist() == metrics["confusion_matrix"]


def test_a_class_that_no_sample_has_counts_as_zero():
    logits_nk = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    metrics = evaluate_logits(logits_nk, np.array([0, 1]), NAMES[:3])
    assert {"name": "eel", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0} == metrics["per_class"][2]
    assert 2 / 3 == pytest.approx(metrics["macro"]["f1"])
    assert 1.0 == metrics["weighted"]["f1"]


def test_a_single_sample_can_be_evaluated():
    metrics = evaluate_logits(np.array([[0.0, 0.0]]), np.array([0]), NAMES[:2])
    assert (1.0, math.log(2)) == (metrics["accuracy"], pytest.approx(metrics["loss"]))
    assert 0.5 == pytest.approx(metrics["expected_calibration_error"])


def test_metrics_are_plain_json(sample):
    metrics = evaluate_logits(*sample, NAMES)
    assert metrics == json.loads(json.dumps(metrics, allow_nan=False))


def test_the_report_is_the_one_that_scikit_learn_prints_of_the_samples(sample):
    from sklearn.metrics import classification_report as expected_report

    logits_nk, labels_n = sample
    expected = expected_report(labels_n, logits_nk.argmax(axis=1), target_names=NAMES, digits=4)
    assert expected == classification_report(evaluate_logits(logits_nk, labels_n, NAMES))


def test_the_report_names_a_class_that_no_sample_has():
    metrics = evaluate_logits(np.eye(3)[:2], np.array([0, 1]), NAMES[:3])
    assert "eel     0.0000    0.0000    0.0000         0" in classification_report(metrics)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_counted_and_placed(bad):
    logits_nk = np.zeros((4, 2))
    logits_nk[2] = bad
    with pytest.raises(EngineError, match="NaN or infinity for 1 of 4 samples, first for sample 2"):
        evaluate_logits(logits_nk, np.zeros(4, int), NAMES[:2])


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_no_class_has_is_named(label):
    with pytest.raises(DataError, match=f"Label {label} of sample 1 is no class: labels from 0 to 1"):
        evaluate_logits(np.zeros((2, 2)), np.array([0, label]), NAMES[:2])


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2,), (2, 2, 1)])
def test_logits_of_another_shape_than_labels_and_names_are_refused(shape):
    with pytest.raises(ArtifactError, match=r"\(N, 2\) and \(N,\) with at least one sample are wanted"):
        evaluate_logits(np.zeros(shape), np.zeros(2, int), NAMES[:2])


def test_an_evaluation_of_no_samples_is_refused():
    with pytest.raises(ArtifactError, match="at least one sample"):
        evaluate_logits(np.zeros((0, 2)), np.zeros(0, int), NAMES[:2])


def test_softmax_sums_to_one_and_does_not_care_for_a_shift():
    logits_nk = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    probabilities_nk = softmax(logits_nk)
    assert np.float64 == probabilities_nk.dtype
    np.testing.assert_allclose(np.ones(5), probabilities_nk.sum(axis=1), rtol=1e-15)
    np.testing.assert_allclose(probabilities_nk, softmax(logits_nk.astype(float) + 1000), rtol=1e-12)
    np.testing.assert_allclose(np.log(probabilities_nk), log_softmax(logits_nk), rtol=1e-12)


def test_softmax_leaves_its_argument_alone():
    logits_nk = np.array([[1.0, 2.0]])
    softmax(logits_nk)
    assert [[1.0, 2.0]] == logits_nk.tolist()


def test_the_calibration_error_is_the_weighted_gap_of_the_bins(sample):
    logits_nk, labels_n = sample
    probabilities_nk = softmax(logits_nk)
    confidence_n, right_n = probabilities_nk.max(axis=1), probabilities_nk.argmax(axis=1) == labels_n
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence_n > low) & (confidence_n <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right_n[inside].mean() - confidence_n[inside].mean())
    assert expected == pytest.approx(expected_calibration_error(probabilities_nk, labels_n))
    assert expected == pytest.approx(evaluate_logits(logits_nk, labels_n, NAMES)["expected_calibration_error"])


def test_a_bin_holds_its_upper_edge_and_the_last_one_what_rounding_puts_above():
    probabilities_nk = np.array([[0.5, 0.5], [0.75, 0.25], [1.0 + 1e-12, 0.0]])
    bins = reliability_bins(probabilities_nk, np.array([0, 1, 0]), num_bins=4)
    assert [0, 1, 1, 1] == bins.counts.tolist()
    assert [0.0, 1.0, 0.0, 1.0] == bins.accuracy.tolist()
    assert [0.0, 0.5, 0.75, 1.0] == pytest.approx(bins.confidence.tolist())


def test_a_model_that_is_as_right_as_it_is_sure_has_no_calibration_error():
    probabilities_nk = np.tile([0.75, 0.25], (4, 1))
    assert 0.0 == expected_calibration_error(probabilities_nk, np.array([0, 0, 0, 1]))


def test_importing_evaluation_and_artifacts_imports_nothing_heavy():
    heavy = {"sklearn", "scipy", "matplotlib", "seaborn", "pandas", "torch", "tensorflow", "keras"}
    script = (
        "import sys, diptych.evaluation, diptych.artifacts, diptych.reports.charts; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "[]\n" == done.stdout
