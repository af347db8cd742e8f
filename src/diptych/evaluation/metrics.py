"""The numbers of a test set, computed once, in NumPy and scikit-learn, from any engine's logits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.errors import ArtifactError, DataError, EngineError
from diptych.evaluation.calibration import expected_calibration_error
from diptych.evaluation.softmax import log_softmax


def evaluate_logits(logits_nk: np.ndarray, labels_n: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Everything that is reported of a classifier's answers, ready for JSON.

    A class without samples counts in the macro averages, with 0 for what cannot be computed. Of equal
    logits the class that comes first wins, in top-1 and top-5 alike.

    Args:
        logits_nk: float, (num_samples, num_classes).
        labels_n: integers in [0, num_classes), (num_samples,).
        class_names: one name a class, in the order of the logits.

    Returns:
        `num_samples`, `accuracy`, `top5_accuracy` (top-K when there are K < 5 classes), `loss` (mean
        cross-entropy in nats), `expected_calibration_error`, `macro` and `weighted` (`precision`, `recall`,
        `f1`), `per_class` (these, `name` and `support`), `confusion_matrix` (rows are true classes).

    Raises:
        ArtifactError: shapes that do not fit each other.
        DataError: a label that no class has.
        EngineError: logits that are not finite.
    """
    _check(logits_nk, labels_n, class_names)
    labels_n = labels_n.astype(np.int64)
    num_samples, num_classes = logits_nk.shape
    log_probabilities_nk = log_softmax(logits_nk)
    predicted_n = logits_nk.argmax(axis=1)
    rank_n = _rank_of_label(logits_nk, labels_n)
    return {
        "num_samples": num_samples,
        "accuracy": float(np.mean(rank_n == 0)),
        "top5_accuracy": float(np.mean(rank_n < 5)),
        "loss": float(-np.mean(log_probabilities_nk[np.arange(num_samples), labels_n])),
        "expected_calibration_error": expected_calibration_error(np.exp(log_probabilities_nk), labels_n),
        "macro": _average(labels_n, predicted_n, num_classes, "macro"),
        "weighted": _average(labels_n, predicted_n, num_classes, "weighted"),
        "per_class": _per_class(labels_n, predicted_n, class_names),
        "confusion_matrix": _confusion_matrix(labels_n, predicted_n, num_classes),
    }


def classification_report(metrics: Mapping[str, Any]) -> str:
    """scikit-learn's text report of what `evaluate_logits` returned."""
    from sklearn.metrics import classification_report as sklearn_report

    counts = np.array(metrics["confusion_matrix"])
    true, predicted = np.indices(counts.shape)
    return str(
        sklearn_report(
            y_true=true.ravel().repeat(counts.ravel()),
            y_pred=predicted.ravel().repeat(counts.ravel()),
            labels=range(len(counts)),
            target_names=[row["name"] for row in metrics["per_class"]],
            digits=4,
            zero_division=0,
        )
    )


def _check(logits_nk: np.ndarray, labels_n: np.ndarray, class_names: Sequence[str]) -> None:
    num_samples, num_classes = len(labels_n), len(class_names)
    if labels_n.ndim != 1 or logits_nk.shape != (num_samples, num_classes) or num_samples == 0:
        raise ArtifactError(
            f"Cannot evaluate logits of shape {logits_nk.shape} with labels of shape {labels_n.shape} and "
            f"{num_classes} class names: (N, {num_classes}) and (N,) with at least one sample are wanted."
        )
    stray = np.flatnonzero((labels_n < 0) | (labels_n >= num_classes))
    if len(stray):
        raise DataError(
            f"Label {labels_n[stray[0]]} of sample {stray[0]} is no class: labels from 0 to "
            f"{num_classes - 1} are wanted."
        )
    broken = np.flatnonzero(~np.isfinite(logits_nk).all(axis=1))
    if len(broken):
        raise EngineError(
            f"The model gave NaN or infinity for {len(broken)} of {num_samples} samples, first for sample "
            f"{broken[0]}. Its training diverged: lower the learning rate or clip gradients."
        )


def _rank_of_label(logits_nk: np.ndarray, labels_n: np.ndarray) -> np.ndarray:
    """How many classes each sample puts before its true one; 0 where the prediction is right."""
    label_logit_n1 = np.take_along_axis(logits_nk, labels_n[:, None], axis=1)
    comes_earlier_nk = np.arange(logits_nk.shape[1]) < labels_n[:, None]
    tied_before_nk = (logits_nk == label_logit_n1) & comes_earlier_nk
    rank_n: np.ndarray = np.count_nonzero((logits_nk > label_logit_n1) | tied_before_nk, axis=1)
    return rank_n


def _average(labels_n: np.ndarray, predicted_n: np.ndarray, num_classes: int, kind: str) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels_n, predicted_n, labels=range(num_classes), average=kind, zero_division=0
    )
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}


def _per_class(labels_n: np.ndarray, predicted_n: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        labels_n, predicted_n, labels=range(len(class_names)), average=None, zero_division=0
    )
    return [
        {"name": name, "precision": precision, "recall": recall, "f1": f1, "support": support}
        for name, precision, recall, f1, support in zip(
            class_names, *(column.tolist() for column in columns), strict=True
        )
    ]


def _confusion_matrix(labels_n: np.ndarray, predicted_n: np.ndarray, num_classes: int) -> list[list[int]]:
    cells = np.bincount(labels_n * num_classes + predicted_n, minlength=num_classes**2)
    matrix: list[list[int]] = cells.reshape(num_classes, num_classes).tolist()
    return matrix
