"""Statistics of paired runs: differences with intervals, equivalence, and the difference that could be detected.

Seeds show how much accuracy varies between trainings (t interval, equivalence test). Test images show how much it would
vary with other images (bootstrap, McNemar's test). Neither replaces the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # imports its submodules on first use

from diptych.comparison.runs import Arm, FinishedRun
from diptych.errors import UsageError
from diptych.evaluation.calibration import NUM_BINS, bin_of

LEVEL = 0.05
POWER = 0.8
NUM_RESAMPLES = 2000
CHUNK = 100
SEED = 0
# Given how often each resample drew each image, (N, B), and a run, returns the measure of each resample, (B,).
Measure = Callable[[np.ndarray, FinishedRun], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Second arm minus first, over pairs of runs that share a seed."""

    num_pairs: int
    mean: float
    deviation: float
    """Standard deviation of a pair's difference over seeds."""
    interval: Interval
    """Student's t interval of the mean over seeds."""
    p_value: float
    """Two-sided p-value of a mean of zero."""


def paired_difference(first_s: Sequence[float], second_s: Sequence[float], resolution: float = 0.0) -> Difference:
    """Return the mean difference of paired measurements, (S,) each.

    Args:
        first_s: measurements of the first arm.
        second_s: measurements of the second arm, in the same order.
        resolution: step between possible measurements, such as 1/N for accuracy. The deviation is at least that of
            rounding to it; without this bound, differences that happen to be equal would look certain.

    Raises:
        UsageError: fewer than two pairs, or arms of unequal size.
    """
    differences_s = _differences(first_s, second_s)
    num_pairs = len(differences_s)
    mean, deviation = float(differences_s.mean()), _deviation(differences_s, resolution)
    error = deviation / np.sqrt(num_pairs)
    reach = float(scipy.stats.t.ppf(1 - LEVEL / 2, num_pairs - 1)) * error
    return Difference(
        num_pairs,
        mean,
        deviation,
        Interval(mean - reach, mean + reach),
        _two_sided(mean, error, num_pairs),
    )


def equivalence(first_s: Sequence[float], second_s: Sequence[float], margin: float, resolution: float = 0.0) -> float:
    """Return the p-value of two one-sided t tests (Schuirmann 1987): small if the mean is within ± `margin`.

    Args:
        first_s: measurements of the first arm.
        second_s: measurements of the second arm, in the same order.
        margin: difference that does not matter.
        resolution: as for `paired_difference`.

    Raises:
        UsageError: fewer than two pairs, arms of unequal size, or a margin that is not above 0.
    """
    if not margin > 0:
        raise UsageError(f"'margin' must be above 0, got {margin}.")
    differences_s = _differences(first_s, second_s)
    error = _deviation(differences_s, resolution) / np.sqrt(len(differences_s))
    if error == 0:
        return float(abs(differences_s.mean()) >= margin)
    freedom = len(differences_s) - 1
    above = scipy.stats.t.sf((differences_s.mean() + margin) / error, freedom)
    below = scipy.stats.t.cdf((differences_s.mean() - margin) / error, freedom)
    return float(max(above, below))


def detectable_mean(deviation: float, num_pairs: int) -> float:
    """Return the true mean difference that a paired t test detects with a probability of 80 %, by the noncentral t."""
    freedom = num_pairs - 1
    critical = scipy.stats.t.ppf(1 - LEVEL / 2, freedom)

    def shortfall(effect: float) -> float:
        noncentrality = effect * np.sqrt(num_pairs)
        # SciPy returns NaN for the other tail once it is negligible.
        power = scipy.stats.nct.sf(critical, freedom, noncentrality) + np.nan_to_num(
            scipy.stats.nct.sf(critical, freedom, -noncentrality)
        )
        return float(power) - POWER

    enough = 1.0
    while shortfall(enough) < 0:
        enough *= 2
    return deviation * float(scipy.optimize.brentq(shortfall, 0, enough, xtol=1e-10))


def image_interval(first_sn: np.ndarray, second_sn: np.ndarray) -> Interval:
    """Return the percentile bootstrap interval of the mean difference over test images.

    The interval is exact, the limit of resampling: an image's difference, summed over pairs, is an integer from -S to
    S, so a discrete Fourier transform yields the distribution of the sum over N drawn images.

    Args:
        first_sn: whether each run of the first arm is correct on each image, (S, N).
        second_sn: the same for the second arm.
    """
    num_pairs, num_images = first_sn.shape
    sums_n = (second_sn.astype(int) - first_sn.astype(int)).sum(axis=0) + num_pairs
    length = scipy.fft.next_fast_len(2 * num_pairs * num_images + 1, real=True)
    shares = np.bincount(sums_n, minlength=2 * num_pairs + 1) / num_images
    likely = scipy.fft.irfft(scipy.fft.rfft(shares, length) ** num_images, length)
    low, high = np.searchsorted(np.cumsum(likely), [LEVEL / 2, 1 - LEVEL / 2])
    scale = num_pairs * num_images
    return Interval(float(low / scale - 1), float(high / scale - 1))


def mcnemar(first_n: np.ndarray, second_n: np.ndarray) -> float:
    """Return the mid-p value of McNemar's test (Fagerland et al. 2013) that two models err equally often.

    Args:
        first_n: whether the first model is correct on each image, (N,).
        second_n: the same for the second model.
    """
    only_first = int((first_n & ~second_n).sum())
    num_discordant = only_first + int((~first_n & second_n).sum())
    fewer = min(only_first, num_discordant - only_first)
    if 2 * fewer == num_discordant:
        return 1.0 - 0.5 * float(scipy.stats.binom.pmf(fewer, num_discordant, 0.5)) if num_discordant else 1.0
    tail = scipy.stats.binom.cdf(fewer, num_discordant, 0.5) - 0.5 * scipy.stats.binom.pmf(fewer, num_discordant, 0.5)
    return float(2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests (Holm 1979)."""
    order = np.argsort(p_values)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def image_intervals(first: Arm, second: Arm) -> dict[str, Interval]:
    """Return the percentile bootstrap interval over test images of macro F1, loss and calibration error.

    The differences are second minus first; all runs of both arms see the same drawn images. Accuracy has an exact
    interval, `image_interval`.
    """
    num_images = len(first.first.labels_n)
    differences: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    for drawn_nb in _draws(num_images):
        for name, measure in MEASURES.items():
            means = [np.mean([measure(drawn_nb, run) for run in arm.runs], axis=0) for arm in (first, second)]
            differences[name].append(means[1] - means[0])
    return {name: _interval(np.concatenate(parts)) for name, parts in differences.items()}


def _deviation(differences_s: np.ndarray, resolution: float) -> float:
    """Return the standard deviation over seeds, at least that of rounding."""
    return max(float(differences_s.std(ddof=1)), resolution / 12**0.5)


def _two_sided(mean: float, error: float, num_pairs: int) -> float:
    if error == 0:
        return float(mean == 0)
    return float(2 * scipy.stats.t.sf(abs(mean) / error, num_pairs - 1))


def _differences(first_s: Sequence[float], second_s: Sequence[float]) -> np.ndarray:
    if len(first_s) != len(second_s) or len(first_s) < 2:
        raise UsageError(
            f"Paired runs need the same number of runs in both arms, at least 2; "
            f"got {len(first_s)} and {len(second_s)}."
        )
    return np.asarray(second_s, np.float64) - np.asarray(first_s, np.float64)


def _draws(num_images: int) -> Iterator[np.ndarray]:
    """Yield how often each resample draws each image, (N, CHUNK)."""
    generator = np.random.default_rng(SEED)
    for _ in range(0, NUM_RESAMPLES, CHUNK):
        drawn = generator.integers(0, num_images, (CHUNK, num_images))
        yield np.stack([np.bincount(row, minlength=num_images) for row in drawn], axis=1).astype(np.float64)


def _interval(values_b: np.ndarray) -> Interval:
    low, high = np.quantile(values_b, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(low), float(high))


def _loss(drawn_nb: np.ndarray, run: FinishedRun) -> np.ndarray:
    losses_n = -run.log_probabilities_nk[np.arange(len(run.labels_n)), run.labels_n]
    loss_b: np.ndarray = losses_n @ drawn_nb / len(losses_n)
    return loss_b


def _macro_f1(drawn_nb: np.ndarray, run: FinishedRun) -> np.ndarray:
    num_classes = run.logits_nk.shape[1]
    correct_kb, predicted_kb, true_kb = (
        _sums(classes_n, weights_n, num_classes) @ drawn_nb
        for classes_n, weights_n in (
            (run.labels_n, run.correct_n),
            (run.predicted_n, np.ones(len(run.labels_n))),
            (run.labels_n, np.ones(len(run.labels_n))),
        )
    )
    f1_kb = 2 * correct_kb / np.maximum(predicted_kb + true_kb, 1)
    macro_b: np.ndarray = f1_kb.mean(axis=0)
    return macro_b


def _calibration_error(drawn_nb: np.ndarray, run: FinishedRun) -> np.ndarray:
    confidence_n = run.probabilities_nk.max(axis=1)
    gaps_kb = _sums(bin_of(confidence_n), run.correct_n - confidence_n, NUM_BINS) @ drawn_nb
    error_b: np.ndarray = np.abs(gaps_kb).sum(axis=0) / len(confidence_n)
    return error_b


def _sums(groups_n: np.ndarray, values_n: np.ndarray, num_groups: int) -> scipy.sparse.csr_array:
    """Return the matrix, (groups, N), that turns counts of images into sums per group."""
    places = (groups_n, np.arange(len(groups_n)))
    return scipy.sparse.csr_array((values_n.astype(np.float64), places), shape=(num_groups, len(groups_n)))


MEASURES: dict[str, Measure] = {"macro_f1": _macro_f1, "loss": _loss, "calibration_error": _calibration_error}
