"""Test metrics, computed in float64 by NumPy from any engine's logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import ArtifactError, EngineError, first_of

NUM_BINS = 15
SCORES = ("precision", "recall", "f1")
SKEWED = 4  # times the samples of the smallest class, above which the largest makes accuracy misleading
NOTED_GAP = 0.02  # between accuracy and balanced accuracy


def softmax(logits_nk: np.ndarray) -> np.ndarray:
    """Return probabilities, float64, (num_samples, num_classes), of logits of any float dtype."""
    return np.asarray(np.exp(log_softmax(logits_nk)))


def log_softmax(logits_nk: np.ndarray) -> np.ndarray:
    """Return the natural logarithms of the probabilities, float64, (num_samples, num_classes), without overflow."""
    logits_nk = logits_nk.astype(np.float64)
    logits_nk -= logits_nk.max(axis=1, keepdims=True)
    logits_nk -= np.log(np.exp(logits_nk).sum(axis=1, keepdims=True))
    return logits_nk


def evaluate_logits(logits_nk: np.ndarray, labels_n: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Compute every reported metric of a classifier, ready for JSON.

    Macro averages are over the classes that have samples; a score with a zero denominator is 0. Among equal logits
    the first class wins, in top-1 and top-5 alike.

    Returns:
        `num_samples`, `accuracy`, `balanced_accuracy` (mean recall of the classes that have samples), `never_predicted`
        (names of such classes), `top5_accuracy` (top-K when there are K < 5 classes), `loss` (mean cross-entropy in
        nats), `expected_calibration_error`, `macro` and `weighted` (`precision`, `recall`, `f1`), `per_class` (these,
        `name` and `support`), `confusion_matrix` (rows are true classes).

    Raises:
        ArtifactError: The shapes do not match, or a label is outside [0, num_classes).
        EngineError: A logit is NaN or infinite.
    """
    _check(logits_nk, labels_n, class_names)
    labels_n = labels_n.astype(np.int64)
    num_samples, num_classes = logits_nk.shape
    log_probabilities_nk = log_softmax(logits_nk)
    bins = reliability_bins(np.exp(log_probabilities_nk), labels_n)
    rank_n = _rank_of_label(logits_nk, labels_n)
    cells = np.bincount(labels_n * num_classes + logits_nk.argmax(axis=1), minlength=num_classes**2)
    counts_kk = cells.reshape(num_classes, num_classes)
    support_k, scores = counts_kk.sum(axis=1), _scores(counts_kk)
    is_present_k = support_k > 0
    macro = {score: float(scores[score][is_present_k].mean()) for score in SCORES}
    never_k = is_present_k & (counts_kk.sum(axis=0) == 0)
    rows = zip(class_names, *(scores[score].tolist() for score in SCORES), support_k.tolist(), strict=True)
    return {
        "num_samples": num_samples,
        "accuracy": float(np.mean(rank_n == 0)),
        "balanced_accuracy": macro["recall"],
        "never_predicted": [name for name, never in zip(class_names, never_k, strict=True) if never],
        "top5_accuracy": float(np.mean(rank_n < 5)),
        "loss": float(-np.mean(log_probabilities_nk[np.arange(num_samples), labels_n])),
        "expected_calibration_error": bins.expected_calibration_error,
        "macro": macro,
        "weighted": {score: float(np.average(scores[score], weights=support_k)) for score in SCORES},
        "per_class": [dict(zip(("name", *SCORES, "support"), row, strict=True)) for row in rows],
        "confusion_matrix": counts_kk.tolist(),
    }


def caution(metrics: Mapping[str, Any]) -> str:
    """Say, after the accuracy, what it hides: the balanced accuracy, and the classes never predicted.

    Empty where it hides nothing: every class is predicted, the largest has at most SKEWED times the samples of the
    smallest, and balanced accuracy is about the same.
    """
    support = [row["support"] for row in metrics["per_class"] if row["support"]]
    gap, never = abs(metrics["accuracy"] - metrics["balanced_accuracy"]), metrics["never_predicted"]
    if not never and gap <= NOTED_GAP and max(support) <= SKEWED * min(support):
        return ""
    names = f", never predicted: {first_of(never, 5)}" if never else ""
    return f", balanced accuracy {metrics['balanced_accuracy']:.2%}{names}"


def absent(metrics: Mapping[str, Any]) -> str:
    """Say which classes have no samples, and so no part in the averages; empty if all have some."""
    names = [row["name"] for row in metrics["per_class"] if not row["support"]]
    return f"No test images, and so no part in the averages ({len(names):,}): {first_of(names, 5)}." if names else ""


def _scores(counts_kk: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, (num_classes,), from a confusion matrix whose rows are true classes."""
    correct_k, support_k, predicted_k = counts_kk.diagonal(), counts_kk.sum(axis=1), counts_kk.sum(axis=0)
    return {
        "precision": correct_k / np.maximum(predicted_k, 1),
        "recall": correct_k / np.maximum(support_k, 1),
        "f1": 2 * correct_k / np.maximum(support_k + predicted_k, 1),
    }


def _check(logits_nk: np.ndarray, labels_n: np.ndarray, class_names: Sequence[str]) -> None:
    num_samples, num_classes = len(labels_n), len(class_names)
    is_known_n = (labels_n >= 0) & (labels_n < num_classes)
    if not num_samples or logits_nk.shape != (num_samples, num_classes) or not is_known_n.all():
        raise ArtifactError(
            f"Cannot evaluate logits of shape {logits_nk.shape} with {num_samples} labels: expected shape "
            f"(N, {num_classes}), with N >= 1, and labels from 0 to {num_classes - 1}."
        )
    not_finite = np.flatnonzero(~np.isfinite(logits_nk).all(axis=1))
    if len(not_finite):
        raise EngineError(
            f"The model returned NaN or infinity for {len(not_finite)} of {num_samples} samples, first for sample "
            f"{not_finite[0]}. Its training diverged: lower the learning rate or clip gradients."
        )


def _rank_of_label(logits_nk: np.ndarray, labels_n: np.ndarray) -> np.ndarray:
    """Number of classes that rank above each sample's true one; 0 where the prediction is correct."""
    label_logit_n1 = np.take_along_axis(logits_nk, labels_n[:, None], axis=1)
    comes_earlier_nk = np.arange(logits_nk.shape[1]) < labels_n[:, None]
    tied_before_nk = (logits_nk == label_logit_n1) & comes_earlier_nk
    return np.asarray(np.count_nonzero((logits_nk > label_logit_n1) | tied_before_nk, axis=1))


@dataclass(frozen=True)
class ReliabilityBins:
    """Samples grouped by the probability of their predicted class; bin b covers (edges[b], edges[b+1]]."""

    edges: np.ndarray
    """float64, (num_bins + 1,), equally spaced from 0 to 1"""
    counts: np.ndarray
    """int64, (num_bins,)"""
    confidence: np.ndarray
    """float64, (num_bins,): mean probability of the predicted class; 0 in an empty bin"""
    accuracy: np.ndarray
    """float64, (num_bins,): share of correct predictions; 0 in an empty bin"""

    @property
    def expected_calibration_error(self) -> float:
        """|accuracy − confidence| (Guo et al. 2017), averaged over samples; 0 is best, 1 is worst."""
        return float(np.sum(np.abs(self.accuracy - self.confidence) * self.counts) / self.counts.sum())


def reliability_bins(probabilities_nk: np.ndarray, labels_n: np.ndarray, num_bins: int = NUM_BINS) -> ReliabilityBins:
    """Group samples into bins of equal width by the probability of their predicted class."""
    confidence_n = probabilities_nk.max(axis=1).astype(np.float64)
    correct_n = probabilities_nk.argmax(axis=1) == labels_n
    bin_n = bin_of(confidence_n, num_bins)
    counts = np.bincount(bin_n, minlength=num_bins)
    divisors = np.maximum(counts, 1)
    return ReliabilityBins(
        edges=np.linspace(0.0, 1.0, num_bins + 1),
        counts=counts,
        confidence=np.bincount(bin_n, weights=confidence_n, minlength=num_bins) / divisors,
        accuracy=np.bincount(bin_n, weights=correct_n, minlength=num_bins) / divisors,
    )


def bin_of(confidence_n: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """Index of the bin of each confidence, (N,)."""
    # Inner edges only: rounding can give a confidence slightly above 1.
    return np.searchsorted(np.linspace(0.0, 1.0, num_bins + 1)[1:-1], confidence_n, side="left")
