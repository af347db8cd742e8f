"""Statistics of two arms: every measure with its uncertainty, every pair of runs, and the images they disagree on.

Seeds show how much accuracy varies between runs (t interval, equivalence test). Test images show how much it would
vary with other images (bootstrap, McNemar's test). Neither replaces the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import scipy  # imports its submodules on first use

from diptych.comparison.runs import Arm, FinishedRun
from diptych.evaluation import NUM_BINS, bin_of

LEVEL = 0.05
POWER = 0.8
NUM_RESAMPLES = 2000
CHUNK = 100
SEED = 0
MAX_DISAGREEMENTS = 48
MAX_MISTAKES = 24
# The ends of a 95 % interval.
Interval = tuple[float, float]


@dataclass(frozen=True)
class Measure:
    """A metric of the test set."""

    name: str
    title: str
    unit: Literal["share", "nats"]
    better: Literal["higher", "lower"]


MEASURES = (
    Measure("accuracy", "accuracy", "share", "higher"),
    Measure("macro_f1", "macro F1", "share", "higher"),
    Measure("loss", "loss", "nats", "lower"),
    Measure("calibration_error", "calibration error", "share", "lower"),
)


@dataclass(frozen=True)
class Difference:
    """Second arm minus first, over pairs of runs that share a seed."""

    num_pairs: int
    mean: float
    deviation: float
    """Standard deviation of a pair's difference over seeds."""
    low: float
    """Start of Student's t interval of the mean over seeds."""
    high: float
    p_value: float
    """Two-sided p-value of a mean of zero."""


def pairs(first: Arm, second: Arm) -> list[dict[str, Any]]:
    """Return each pair of runs, as the report shows it."""
    return [
        {
            "seed": _seed(one, other),
            **{measure.name: [one.value(measure.name), other.value(measure.name)] for measure in MEASURES},
            "agreement": float(np.mean(one.predicted_n == other.predicted_n)),
            "only_first_right": int((one.correct_n & ~other.correct_n).sum()),
            "only_second_right": int((~one.correct_n & other.correct_n).sum()),
            "mcnemar_p": mcnemar(one.correct_n, other.correct_n),
        }
        for one, other in zip(first.runs, second.runs, strict=True)
    ]


def contrast(first: Arm, second: Arm, place: int, margin: float) -> dict[str, Any]:
    """Return every measure of two arms, as second minus first; `place` is the second arm's among all arms."""
    correct_sn = [np.stack([run.correct_n for run in arm.runs]) for arm in (first, second)]
    intervals = {"accuracy": image_interval(*correct_sn), **image_intervals(first, second)}
    return {
        "second": place,
        "agreement": float(np.mean([pair["agreement"] for pair in pairs(first, second)])),
        "measures": [_measured(measure, first, second, margin, intervals[measure.name]) for measure in MEASURES],
    }


def gallery(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return the images on which the first two arms disagree most, and the mistakes that all arms share."""
    first, second = arms[:2]
    both = list(zip(first.runs, second.runs, strict=True))
    differ_sn = np.stack([one.predicted_n != other.predicted_n for one, other in both])
    count_n = differ_sn.sum(axis=0)
    # Total variation of each image's two distributions.
    distance_sn = np.stack([0.5 * np.abs(a.probabilities_nk - b.probabilities_nk).sum(axis=1) for a, b in both])
    distance_sn[~differ_sn] = 0.0
    order = sorted(np.flatnonzero(count_n), key=lambda i: (-count_n[i], -distance_sn[:, i].max(), i))
    disagreements = []
    for i in order[:MAX_DISAGREEMENTS]:
        runs = both[distance_sn[:, i].argmax()]
        predicted = [int(run.predicted_n[i]) for run in runs]
        probabilities = [float(run.probabilities_nk[i, k]) for run, k in zip(runs, predicted, strict=True)]
        case = _case(runs[0], int(i), predicted, probabilities)
        disagreements.append({**case, "seed": _seed(*runs), "num_pairs": int(count_n[i])})
    return {
        "num_images": int(differ_sn.shape[1]),
        "num_disagreements": len(order),
        "disagreements": disagreements,
        **_shared_mistakes(arms),
    }


def _case(run: FinishedRun, image: int, predicted: list[int], probabilities: list[float]) -> dict[str, Any]:
    """Return an image of the gallery, with the first two arms' predictions."""
    label = int(run.labels_n[image])
    return {"id": image, "label": label, "predicted": predicted, "probabilities": probabilities}


def _seed(first: FinishedRun, second: FinishedRun) -> int | None:
    """Return the seed of a pair; None if its runs have different seeds."""
    return first.record.seed if first.record.seed == second.record.seed else None


def _measured(measure: Measure, first: Arm, second: Arm, margin: float, images: Interval) -> dict[str, Any]:
    first_s, second_s = ([run.value(measure.name) for run in arm.runs] for arm in (first, second))
    deviations = difference = equivalence_p = detectable = None
    if len(first_s) > 1:
        is_judged = measure.name == "accuracy"
        deviations = [float(np.std(values, ddof=1)) for values in (first_s, second_s)]
        difference = paired_difference(first_s, second_s, 1 / len(first.first.labels_n) if is_judged else 0.0)
        if is_judged:
            equivalence_p = equivalence(difference, margin)
            detectable = detectable_mean(difference.deviation, difference.num_pairs)
    return {
        **asdict(measure),
        "means": [float(np.mean(values)) for values in (first_s, second_s)],
        "deviations": deviations,
        "difference": asdict(difference) if difference else None,
        "image_interval": dict(zip(("low", "high"), images, strict=True)),
        "equivalence_p": equivalence_p,
        "detectable": detectable,
    }


def _shared_mistakes(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return images that every run assigns to the same wrong class: often a wrong label."""
    runs = [run for arm in arms for run in arm.runs]
    predicted_rn = np.stack([run.predicted_n for run in runs])
    classes = predicted_rn[0]
    images = np.flatnonzero((predicted_rn == classes).all(axis=0) & ~runs[0].correct_n)
    means = [np.mean([run.probabilities_nk for run in arm.runs], axis=0) for arm in arms[:2]]
    confidence = np.minimum(*(mean[images, classes[images]] for mean in means))
    order = images[np.argsort(-confidence, kind="stable")]
    shown = [
        _case(runs[0], int(i), [int(classes[i])] * 2, [float(mean[i, classes[i]]) for mean in means])
        for i in order[:MAX_MISTAKES]
    ]
    return {"num_shared": len(order), "shared_mistakes": shown}


def paired_difference(first_s: Sequence[float], second_s: Sequence[float], resolution: float = 0.0) -> Difference:
    """Return the mean difference of two or more paired measurements, (S,) each.

    The deviation is at least that of rounding to `resolution`, the step between possible measurements, such as 1/N for
    accuracy; without this bound, differences that happen to be equal would look certain.
    """
    differences_s = np.subtract(second_s, first_s)
    num_pairs, mean = len(differences_s), float(differences_s.mean())
    deviation = max(float(differences_s.std(ddof=1)), resolution / 12**0.5)
    error = deviation / num_pairs**0.5
    reach = float(scipy.stats.t.ppf(1 - LEVEL / 2, num_pairs - 1)) * error
    p_value = float(2 * scipy.stats.t.sf(abs(mean) / error, num_pairs - 1)) if error else float(mean == 0)
    return Difference(num_pairs, mean, deviation, mean - reach, mean + reach, p_value)


def equivalence(difference: Difference, margin: float) -> float:
    """Return the p-value of two one-sided t tests (Schuirmann 1987): small if the mean is within ± `margin`."""
    error = difference.deviation / difference.num_pairs**0.5
    return float(scipy.stats.t.sf((margin - abs(difference.mean)) / error, difference.num_pairs - 1))


def detectable_mean(deviation: float, num_pairs: int) -> float:
    """Return the true mean difference that a paired t test detects with a probability of 80 %, by the noncentral t."""
    freedom = num_pairs - 1
    critical = scipy.stats.t.ppf(1 - LEVEL / 2, freedom)

    def shortfall(effect: float) -> float:
        # SciPy returns NaN for the other tail once it is negligible.
        tails = [scipy.stats.nct.sf(critical, freedom, sign * effect * np.sqrt(num_pairs)) for sign in (1, -1)]
        return float(np.nansum(tails)) - POWER

    enough = 1.0
    while shortfall(enough) < 0:
        enough *= 2
    return deviation * float(scipy.optimize.brentq(shortfall, 0, enough, xtol=1e-10))


def image_interval(first_sn: np.ndarray, second_sn: np.ndarray) -> Interval:
    """Return the percentile bootstrap interval of the mean difference over test images.

    The interval is exact, the limit of resampling: an image's difference, summed over pairs, is an integer from -S to
    S, so a discrete Fourier transform yields the distribution of the sum over N drawn images. The arguments say
    whether each run of an arm is correct on each image, (S, N).
    """
    num_pairs, num_images = first_sn.shape
    sums_n = (second_sn.astype(int) - first_sn.astype(int)).sum(axis=0) + num_pairs
    length = scipy.fft.next_fast_len(2 * num_pairs * num_images + 1, real=True)
    shares = np.bincount(sums_n, minlength=2 * num_pairs + 1) / num_images
    likely = scipy.fft.irfft(scipy.fft.rfft(shares, length) ** num_images, length)
    low, high = np.searchsorted(np.cumsum(likely), [LEVEL / 2, 1 - LEVEL / 2])
    scale = num_pairs * num_images
    return float(low / scale - 1), float(high / scale - 1)


def mcnemar(first_n: np.ndarray, second_n: np.ndarray) -> float:
    """Return the mid-p value of McNemar's test (Fagerland et al. 2013) that two models err equally often.

    `first_n` and `second_n` say whether each model is correct on each image, (N,).
    """
    only_first, only_second = int((first_n & ~second_n).sum()), int((~first_n & second_n).sum())
    discordant = scipy.stats.binom(only_first + only_second, 0.5)
    fewer = min(only_first, only_second)
    if only_first == only_second:
        return float(1 - 0.5 * discordant.pmf(fewer)) if fewer else 1.0
    return float(2 * discordant.cdf(fewer) - discordant.pmf(fewer))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests (Holm 1979)."""
    order = np.argsort(p_values)
    scaled = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    corrected: list[float] = np.maximum.accumulate(scaled).clip(max=1.0)[np.argsort(order)].tolist()
    return corrected


def image_intervals(first: Arm, second: Arm) -> dict[str, Interval]:
    """Return the percentile bootstrap interval over test images of macro F1, loss and calibration error.

    The differences are second minus first; all runs of both arms see the same drawn images. Accuracy has an exact
    interval, `image_interval`.
    """
    generator, num_images = np.random.default_rng(SEED), len(first.first.labels_n)
    differences: list[np.ndarray] = []
    for _ in range(0, NUM_RESAMPLES, CHUNK):
        drawn = generator.integers(0, num_images, (CHUNK, num_images))
        drawn_nb = np.stack([np.bincount(row, minlength=num_images) for row in drawn], axis=1).astype(np.float64)
        means = [np.mean([_resampled(run, drawn_nb) for run in arm.runs], axis=0) for arm in (first, second)]
        differences.append(means[1] - means[0])
    lows, highs = np.quantile(np.concatenate(differences, axis=1), [LEVEL / 2, 1 - LEVEL / 2], axis=1).tolist()
    return dict(zip(("macro_f1", "loss", "calibration_error"), zip(lows, highs, strict=True), strict=True))


def _resampled(run: FinishedRun, drawn_nb: np.ndarray) -> np.ndarray:
    """Return macro F1, loss and calibration error, (3, B), given how often each image is drawn, (N, B)."""
    num_images, num_classes = run.logits_nk.shape
    correct_kb = _sums(run.labels_n, run.correct_n, num_classes) @ drawn_nb
    predicted_kb, true_kb = (
        _sums(n, np.ones(num_images), num_classes) @ drawn_nb for n in (run.predicted_n, run.labels_n)
    )
    macro_f1_b = np.mean(2 * correct_kb / np.maximum(predicted_kb + true_kb, 1), axis=0, where=true_kb > 0)
    loss_b = -run.log_probabilities_nk[np.arange(num_images), run.labels_n] @ drawn_nb / num_images
    confidence_n = run.probabilities_nk.max(axis=1)
    gaps_kb = _sums(bin_of(confidence_n), run.correct_n - confidence_n, NUM_BINS) @ drawn_nb
    return np.stack([macro_f1_b, loss_b, np.abs(gaps_kb).sum(axis=0) / num_images])


def _sums(groups_n: np.ndarray, values_n: np.ndarray, num_groups: int) -> scipy.sparse.csr_array:
    """Return the matrix, (groups, N), that turns counts of images into sums per group."""
    places = (groups_n, np.arange(len(groups_n)))
    return scipy.sparse.csr_array((values_n.astype(np.float64), places), shape=(num_groups, len(groups_n)))
