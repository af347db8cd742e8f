"""Bootstrap over test images for the measures that are no mere mean of right answers: macro F1, loss, calibration.

All runs of both sides see the same drawn images. Accuracy has its interval exactly (`statistics.image_interval`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy

from diptych.comparison.sides import Answered, Side
from diptych.comparison.statistics import LEVEL, Interval
from diptych.evaluation.calibration import NUM_BINS, bin_of

NUM_RESAMPLES = 2000
CHUNK = 100
SEED = 0
# Images by resample, how often each was drawn, and a run: the measure of each resample.
Measure = Callable[[np.ndarray, Answered], np.ndarray]


def image_intervals(first: Side, second: Side) -> dict[str, Interval]:
    """The 95 % percentile interval of the mean difference, second minus first, by measure."""
    num_images = len(first.first.labels_n)
    differences: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    for drawn_nb in _draws(num_images):
        for name, measure in MEASURES.items():
            means = [
                np.mean([measure(drawn_nb, answer) for answer in side.answers], axis=0) for side in (first, second)
            ]
            differences[name].append(means[1] - means[0])
    return {name: _interval(np.concatenate(parts)) for name, parts in differences.items()}


def _draws(num_images: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, (N, CHUNK), until there are enough resamples."""
    generator = np.random.default_rng(SEED)
    for _ in range(0, NUM_RESAMPLES, CHUNK):
        drawn = generator.integers(0, num_images, (CHUNK, num_images))
        yield np.stack([np.bincount(row, minlength=num_images) for row in drawn], axis=1).astype(np.float64)


def _interval(values_b: np.ndarray) -> Interval:
    low, high = np.quantile(values_b, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(low), float(high))


def _loss(drawn_nb: np.ndarray, answer: Answered) -> np.ndarray:
    losses_n = -answer.log_probabilities_nk[np.arange(len(answer.labels_n)), answer.labels_n]
    found: np.ndarray = losses_n @ drawn_nb / len(losses_n)
    return found


def _macro_f1(drawn_nb: np.ndarray, answer: Answered) -> np.ndarray:
    num_classes = answer.logits_nk.shape[1]
    right_kb, said_kb, true_kb = (
        _sums(classes_n, weights_n, num_classes) @ drawn_nb
        for classes_n, weights_n in (
            (answer.labels_n, answer.correct_n),
            (answer.predicted_n, np.ones(len(answer.labels_n))),
            (answer.labels_n, np.ones(len(answer.labels_n))),
        )
    )
    f1_kb = 2 * right_kb / np.maximum(said_kb + true_kb, 1)
    found: np.ndarray = f1_kb.mean(axis=0)
    return found


def _calibration_error(drawn_nb: np.ndarray, answer: Answered) -> np.ndarray:
    confidence_n = answer.probabilities_nk.max(axis=1)
    gaps_kb = _sums(bin_of(confidence_n), answer.correct_n - confidence_n, NUM_BINS) @ drawn_nb
    found: np.ndarray = np.abs(gaps_kb).sum(axis=0) / len(confidence_n)
    return found


def _sums(groups_n: np.ndarray, values_n: np.ndarray, num_groups: int) -> scipy.sparse.csr_array:
    """What multiplies counts of images into a sum for each group, (groups, N)."""
    places = (groups_n, np.arange(len(groups_n)))
    return scipy.sparse.csr_array((values_n.astype(np.float64), places), shape=(num_groups, len(groups_n)))


MEASURES: dict[str, Measure] = {"macro_f1": _macro_f1, "loss": _loss, "calibration_error": _calibration_error}
