"""Metrics from logits and labels, in NumPy; the same for every engine."""

from diptych.evaluation.calibration import ReliabilityBins, expected_calibration_error, reliability_bins
from diptych.evaluation.metrics import classification_report, evaluate_logits, log_softmax, softmax

__all__ = [
    "ReliabilityBins",
    "classification_report",
    "evaluate_logits",
    "expected_calibration_error",
    "log_softmax",
    "reliability_bins",
    "softmax",
]
