"""Logits to probabilities, in float64 and without overflow, for every number and picture of an evaluation."""

import numpy as np


def softmax(logits_nk: np.ndarray) -> np.ndarray:
    """Probabilities, float64, (num_samples, num_classes), of logits of any float dtype."""
    probabilities_nk: np.ndarray = np.exp(log_softmax(logits_nk))
    return probabilities_nk


def log_softmax(logits_nk: np.ndarray) -> np.ndarray:
    """Natural logarithms of the probabilities, float64, (num_samples, num_classes)."""
    logits_nk = logits_nk.astype(np.float64)
    logits_nk -= logits_nk.max(axis=1, keepdims=True)
    logits_nk -= np.log(np.exp(logits_nk).sum(axis=1, keepdims=True))
    return logits_nk
