"""Metrics against scikit-learn and against definitions written out by hand."""

import json
import math

import numpy as np
import pytest

from diptych.errors import ArtifactError, EngineError
from diptych.evaluation import absent, caution, evaluate_logits, log_softmax, reliability_bins, softmax

NAMES = ["cat", "dog", "eel", "fox", "gnu", "hen", "imp"]
SCORES = ("precision", "recall", "f1")


@pytest.fixture
def sample():
    """400 samples of 7 classes of unequal size; about two predictions in three are correct."""
    rng = np.random.default_rng(7)
    labels_n = rng.choice(7, 400, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04])
    logits_nk = rng.normal(size=(400, 7)) + 2.0 * np.eye(7)[labels_n]
    return logits_nk.astype(np.float32), labels_n


@pytest.mark.parametrize("num_labels", [7, 5, 1])
def test_scores_equal_scikit_learns_to_the_last_bit(sample, num_labels):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    logits_nk, labels_n = sample[0], sample[1] % num_labels
    predicted_n, metrics = logits_nk.argmax(axis=1), evaluate_logits(logits_nk, labels_n, NAMES)

    def expected(average):
        labels = np.unique(labels_n) if average == "macro" else range(7)  # a class without samples has no score
        settings = {"labels": labels, "average": average, "zero_division": 0}
        scores = precision_recall_fscore_support(labels_n, predicted_n, **settings)
        return [np.asarray(score).tolist() for score in scores]

    per_class = [[row[key] for row in metrics["per_class"]] for key in (*SCORES, "support")]
    assert expected(None) == per_class
    for average in ("macro", "weighted"):
        assert expected(average)[:3] == [metrics[average][score] for score in SCORES]
    assert metrics["macro"]["recall"] == metrics["balanced_accuracy"]
    assert confusion_matrix(labels_n, predicted_n, labels=range(7)).tolist() == metrics["confusion_matrix"]
    assert NAMES == [row["name"] for row in metrics["per_class"]]


HIDDEN = {  # counts of true classes, the classes predicted for them, and what is said after the accuracy
    "balanced": ([50, 50, 50], [0, 1, 2], ""),
    "one class is never predicted": ([50, 50, 50], [0, 1, 1], ", balanced accuracy 66.67%, never predicted: eel"),
    "skewed": ([90, 5, 5], [0, 0, 0], ", balanced accuracy 33.33%, never predicted: dog, eel"),
    "skewed, all right": ([90, 15, 15], [0, 1, 2], ", balanced accuracy 100.00%"),
    "two classes, one wrong": ([70, 30], [0, 0], ", balanced accuracy 50.00%, never predicted: dog"),
    "a class without samples is not missed": ([50, 0, 50], [0, 1, 2], ""),
}


@pytest.mark.parametrize(("counts", "answers", "said"), HIDDEN.values(), ids=HIDDEN)
def test_what_accuracy_hides_is_said(counts, answers, said):
    labels_n = np.repeat(np.arange(len(counts)), counts)
    metrics = evaluate_logits(np.eye(len(counts))[np.array(answers)[labels_n]], labels_n, NAMES[: len(counts)])
    assert said == caution(metrics)
    assert ("eel" in absent(metrics)) == (counts[-1] == 0)
    assert ("dog" in absent(metrics)) == (counts[1] == 0)


def test_accuracies_count_labels_among_the_largest_logits_and_metrics_are_plain_json(sample):
    metrics = evaluate_logits(*sample, NAMES)
    assert metrics == json.loads(json.dumps(metrics, allow_nan=False))
    ranked = [(np.argsort(row)[::-1], label) for row, label in zip(*sample, strict=True)]
    assert 400 == metrics["num_samples"]
    assert sum(order[0] == label for order, label in ranked) / 400 == metrics["accuracy"]
    assert sum(label in order[:5] for order, label in ranked) / 400 == metrics["top5_accuracy"]


def test_the_loss_is_the_mean_negative_log_probability_of_the_label(sample):
    losses = [math.log(sum(map(math.exp, row))) - float(row[label]) for row, label in zip(*sample, strict=True)]
    assert np.mean(losses) == pytest.approx(evaluate_logits(*sample, NAMES)["loss"], abs=1e-12)


def test_the_loss_of_huge_logits_is_finite_and_exact():
    logits_nk = np.array([[1e4, 0.0], [-3e38, 3e38]], dtype=np.float32)
    assert 5e3 == evaluate_logits(logits_nk, np.array([1, 1]), NAMES[:2])["loss"]


def test_a_single_sample_can_be_evaluated_and_among_equal_logits_the_first_class_wins():
    metrics = evaluate_logits(np.zeros((7, 7)), np.arange(7), NAMES)
    assert (1 / 7, 5 / 7) == (metrics["accuracy"], metrics["top5_accuracy"])
    metrics = evaluate_logits(np.array([[0.0, 0.0]]), np.array([0]), NAMES[:2])
    values = [metrics[key] for key in ("accuracy", "top5_accuracy", "loss", "expected_calibration_error")]
    assert [1.0, 1.0, math.log(2), 0.5] == pytest.approx(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_counted(bad):
    with pytest.raises(EngineError, match="NaN or infinity for 1 of 3 samples, first for sample 2"):
        evaluate_logits(np.array([[0, 0], [0, 0], [bad, bad]]), np.zeros(3, int), NAMES[:2])


@pytest.mark.parametrize(
    ("shape", "labels"),
    [
        *(((2, 2), [0, label]) for label in (-1, 2)),
        *((shape, [0] * num) for shape, num in (((3, 2), 2), ((2, 3), 2), ((2,), 2), ((2, 2, 1), 2), ((0, 2), 0))),
    ],
)
def test_labels_out_of_range_and_shapes_that_do_not_match_are_refused(shape, labels):
    message = r"expected shape \(N, 2\), with N >= 1, and labels from 0 to 1"
    with pytest.raises(ArtifactError, match=message):
        evaluate_logits(np.zeros(shape), np.array(labels, int), NAMES[:2])


def test_softmax_sums_to_one_and_ignores_a_shift():
    logits_nk = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    before, probabilities_nk = logits_nk.copy(), softmax(logits_nk)
    assert np.float64 == probabilities_nk.dtype
    np.testing.assert_allclose(np.ones(5), probabilities_nk.sum(axis=1), rtol=1e-15)
    np.testing.assert_allclose(probabilities_nk, softmax(logits_nk.astype(float) + 1000), rtol=1e-12)
    np.testing.assert_allclose(np.log(probabilities_nk), log_softmax(logits_nk), rtol=1e-12)
    np.testing.assert_array_equal(before, logits_nk)


def test_the_calibration_error_is_the_weighted_gap_of_the_bins(sample):
    logits_nk, labels_n = sample
    probabilities_nk = softmax(logits_nk)
    confidence_n, correct_n = probabilities_nk.max(axis=1), probabilities_nk.argmax(axis=1) == labels_n
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence_n > low) & (confidence_n <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(correct_n[inside].mean() - confidence_n[inside].mean())
    assert expected == pytest.approx(evaluate_logits(logits_nk, labels_n, NAMES)["expected_calibration_error"])
    calibrated = reliability_bins(np.tile([0.75, 0.25], (4, 1)), np.array([0, 0, 0, 1]))
    assert 0.0 == calibrated.expected_calibration_error


def test_a_bin_includes_its_upper_edge_and_the_last_one_what_rounding_puts_above():
    probabilities_nk = np.array([[0.5, 0.5], [0.75, 0.25], [1.0 + 1e-12, 0.0]])
    bins = reliability_bins(probabilities_nk, np.array([0, 1, 0]), num_bins=4)
    assert [0, 1, 1, 1] == bins.counts.tolist()
    assert [0.0, 1.0, 0.0, 1.0] == bins.accuracy.tolist()
    assert [0.0, 0.5, 0.75, 1.0] == pytest.approx(bins.confidence.tolist())
