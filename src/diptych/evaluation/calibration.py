"""Calibration: whether predictions made with a probability of 80 % are right 80 % of the time (Guo et al. 2017)."""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15


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
        """|accuracy − confidence|, averaged over samples; 0 is best, 1 is worst."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.sum(gaps * self.counts) / self.counts.sum())


def reliability_bins(probabilities_nk: np.ndarray, labels_n: np.ndarray, num_bins: int = NUM_BINS) -> ReliabilityBins:
    """Group samples into bins of equal width by the probability of their predicted class.

    Args:
        probabilities_nk: float, (num_samples, num_classes), rows sum to 1.
        labels_n: integers, (num_samples,), the true classes.
        num_bins: number of bins between 0 and 1.
    """
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


def expected_calibration_error(probabilities_nk: np.ndarray, labels_n: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error; takes the arguments of `reliability_bins`."""
    return reliability_bins(probabilities_nk, labels_n, num_bins).expected_calibration_error
