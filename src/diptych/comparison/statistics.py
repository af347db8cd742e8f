"""What pairs of runs say of a difference: its size with intervals, equivalence, and what could have been seen.

The seeds tell how much accuracy changes from training to training (t interval, equivalence test); the test images tell
how much it would change with other images (bootstrap, McNemar's test). Neither stands for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # which imports its parts as they are used

from diptych.errors import UsageError

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, at the level of 95 %."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Second arm minus first, over pairs of runs that share a seed."""

    num_pairs: int
    mean: float
    deviation: float
    """Of one pair's difference, over seeds."""
    interval: Interval
    """Of the mean, by Student's t over seeds."""
    p_value: float
    """Of a mean of zero, two-sided."""


def paired_difference(first_s: Sequence[float], second_s: Sequence[float], resolution: float = 0.0) -> Difference:
    """Mean of the differences of paired measurements, (S,) each.

    Args:
        first_s: of the first arm.
        second_s: of the second arm, in the same order.
        resolution: the step in which measurements come, such as 1/N for accuracy. Differences that are equal by luck
            of so coarse a scale would else pass for certain: the deviation is at least that of rounding to it.

    Raises:
        UsageError: fewer than two pairs, or not as many on one side as on the other.
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
    """P value of two one-sided t tests (Schuirmann 1987): small where the mean difference lies within ± `margin`.

    Args:
        first_s: of the first arm.
        second_s: of the second arm, in the same order.
        margin: the difference that would not matter.
        resolution: as for `paired_difference`.

    Raises:
        UsageError: fewer than two pairs, unequal numbers, or a margin that is not above 0.
    """
    if not margin > 0:
        raise UsageError(f"'margin' wants a number above 0, got {margin}.")
    differences_s = _differences(first_s, second_s)
    error = _deviation(differences_s, resolution) / np.sqrt(len(differences_s))
    if error == 0:
        return float(abs(differences_s.mean()) >= margin)
    freedom = len(differences_s) - 1
    above = scipy.stats.t.sf((differences_s.mean() + margin) / error, freedom)
    below = scipy.stats.t.cdf((differences_s.mean() - margin) / error, freedom)
    return float(max(above, below))


def detectable_mean(deviation: float, num_pairs: int) -> float:
    """The least true mean difference that a paired t test finds with a probability of 80 %, by the noncentral t."""
    freedom = num_pairs - 1
    critical = scipy.stats.t.ppf(1 - LEVEL / 2, freedom)

    def shortfall(effect: float) -> float:
        noncentrality = effect * np.sqrt(num_pairs)
        # The second tail, symmetric, vanishes long before SciPy ceases to compute it.
        found = scipy.stats.nct.sf(critical, freedom, noncentrality) + np.nan_to_num(
            scipy.stats.nct.sf(critical, freedom, -noncentrality)
        )
        return float(found) - POWER

    enough = 1.0
    while shortfall(enough) < 0:
        enough *= 2
    return deviation * float(scipy.optimize.brentq(shortfall, 0, enough, xtol=1e-10))


def image_interval(first_sn: np.ndarray, second_sn: np.ndarray) -> Interval:
    """Percentile bootstrap of the mean difference over test images; all pairs of an image are drawn together.

    It is the exact interval that resampling approaches: an image's summed difference is a whole number from -S to S,
    so the sum over N drawn images has a distribution that a discrete Fourier transform gives.

    Args:
        first_sn: whether each run of the first arm is right on each image, (S, N).
        second_sn: the same of the second arm.
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
    """P value of McNemar's test, mid-p (Fagerland et al. 2013): do two models err equally often, on the same images?

    Args:
        first_n: whether the first model is right on each image, (N,).
        second_n: the same of the second model.
    """
    only_first = int((first_n & ~second_n).sum())
    num_discordant = only_first + int((~first_n & second_n).sum())
    fewer = min(only_first, num_discordant - only_first)
    if 2 * fewer == num_discordant:
        return 1.0 - 0.5 * float(scipy.stats.binom.pmf(fewer, num_discordant, 0.5)) if num_discordant else 1.0
    tail = scipy.stats.binom.cdf(fewer, num_discordant, 0.5) - 0.5 * scipy.stats.binom.pmf(fewer, num_discordant, 0.5)
    return float(2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm 1979): any below a level is found with at most that error in all."""
    order = np.argsort(p_values)
    found, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        found[place] = largest
    return found


def _deviation(differences_s: np.ndarray, resolution: float) -> float:
    """Over seeds, and no less than rounding alone would bring."""
    return max(float(differences_s.std(ddof=1)), resolution / 12**0.5)


def _two_sided(mean: float, error: float, num_pairs: int) -> float:
    if error == 0:
        return float(mean == 0)
    return float(2 * scipy.stats.t.sf(abs(mean) / error, num_pairs - 1))


def _differences(first_s: Sequence[float], second_s: Sequence[float]) -> np.ndarray:
    if len(first_s) != len(second_s) or len(first_s) < 2:
        raise UsageError(
            f"Paired runs want at least 2 of each arm and as many of one as of the other; "
            f"{len(first_s)} and {len(second_s)} came."
        )
    return np.asarray(second_s, np.float64) - np.asarray(first_s, np.float64)
