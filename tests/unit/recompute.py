"""Recompute a comparison from its runs' `predictions.npz`, with SciPy and statsmodels.

`python recompute.py COMPARISON_FOLDER` prints the largest difference from `comparison.json`; it imports no diptych.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import signal, special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import DescrStatsW


def answers(run):
    """Logits and labels of a run."""
    with np.load(Path(run) / "predictions.npz") as found:
        return found["logits"], found["labels"]


def rightness(run):
    logits, labels = answers(run)
    return logits.argmax(1) == labels


def recomputed(found):
    """Every number of the first contrast, by name."""
    first, second = ([rightness(run) for run in side["runs"]] for side in found["sides"][:2])
    a, b = (np.array([right.mean() for right in side]) for side in (first, second))
    margin = found["subject"]["margin"]
    gaps = b - a
    if np.std(gaps, ddof=1) < 1 / len(first[0]) / 12**0.5:
        gaps = widened(gaps, 1 / len(first[0]) / 12**0.5)
    described = DescrStatsW(gaps)
    low, high = described.tconfint_mean(0.05)
    table = [
        [[np.sum(one & two), np.sum(one & ~two)], [np.sum(~one & two), np.sum(~one & ~two)]]
        for one, two in zip(first, second, strict=True)
    ]
    return {
        "means": [a.mean(), b.mean()],
        "deviations": [np.std(a, ddof=1), np.std(b, ddof=1)],
        "mean": np.mean(b - a),
        "low": low,
        "high": high,
        "p_value": described.ttest_mean(0)[1],
        "equivalence_p": described.ttost_mean(-margin, margin)[0],
        "mcnemar_p": [mid_p(np.array(cells)) for cells in table],
        "image_interval": image_interval(np.array(second, int) - np.array(first, int)),
        "power": 0.8,
        **resampled(found),
    }


def resampled(found, resamples=2000, chunk=100):
    """Percentile bootstrap of macro F1, loss and calibration error, one resample after the other."""
    sides = [[prepared(run) for run in side["runs"]] for side in found["sides"][:2]]
    generator, num_images = np.random.default_rng(0), found["subject"]["num_test"]
    gaps = []
    for _ in range(0, resamples, chunk):
        for drawn in generator.integers(0, num_images, (chunk, num_images)):
            times = np.bincount(drawn, minlength=num_images).astype(float)
            first, second = (np.mean([measured(run, times) for run in side], axis=0) for side in sides)
            gaps.append(second - first)
    lows, highs = np.quantile(gaps, [0.025, 0.975], axis=0)
    names = ("macro_f1", "loss", "calibration_error")
    return {f"{name} images": [low, high] for name, low, high in zip(names, lows, highs, strict=True)}


def prepared(run):
    """Predicted classes, labels, losses, confidences of a run's images, and how many classes there are."""
    logits, labels = answers(run)
    probabilities = special.softmax(logits.astype(float), axis=1)
    losses = -special.log_softmax(logits.astype(float), axis=1)[np.arange(len(labels)), labels]
    return logits.argmax(1), labels, losses, probabilities.max(1), logits.shape[1]


def measured(run, times):
    """Macro F1, loss and calibration error where each image counts so many times."""
    said, labels, losses, confidence, classes = run
    right = np.bincount(labels, times * (said == labels), classes)
    all_said, all_true = np.bincount(said, times, classes), np.bincount(labels, times, classes)
    f1 = np.divide(2 * right, all_said + all_true, out=np.zeros(classes), where=all_said + all_true > 0)
    bins = np.ceil(confidence * 15).astype(int) - 1
    gaps = np.bincount(np.clip(bins, 0, 14), times * ((said == labels) - confidence), 15)
    return f1.mean(), times @ losses / len(labels), np.abs(gaps).sum() / len(labels)


def widened(gaps, deviation):
    """As many numbers of the same mean and of this deviation: the least that counting images can tell."""
    apart = np.linspace(-1, 1, len(gaps))
    return np.mean(gaps) + deviation * apart / np.std(apart, ddof=1)


def image_interval(gaps_sn):
    """Quantiles of the mean over images drawn with replacement: the distribution of a sum, by repeated doubling."""
    num_pairs, num_images = gaps_sn.shape
    one = np.bincount(gaps_sn.sum(0) + num_pairs, minlength=2 * num_pairs + 1) / num_images
    total, remaining = np.ones(1), num_images
    while remaining:
        if remaining % 2:
            total = signal.fftconvolve(total, one)
        one, remaining = signal.fftconvolve(one, one), remaining // 2
    places = [np.argmax(np.cumsum(total) >= level) for level in (0.025, 0.975)]
    return [place / (num_pairs * num_images) - 1 for place in places]


def mid_p(cells):
    """The exact test's p value less half the probability of what came (Fagerland et al. 2013)."""
    fewer, discordant = min(cells[0, 1], cells[1, 0]), cells[0, 1] + cells[1, 0]
    exact = mcnemar(cells, exact=True).pvalue
    point = stats.binom.pmf(fewer, discordant, 0.5)
    if not discordant:
        return 1.0
    return exact - point if 2 * fewer != discordant else 1 - 0.5 * point


def claimed(found):
    """The same numbers, as `comparison.json` has them."""
    accuracy = found["contrasts"][0]["measures"][0]
    assert "accuracy" == accuracy["name"]
    return {
        **{name: accuracy[name] for name in ("means", "deviations", "equivalence_p")},
        **{name: accuracy["difference"][name] for name in ("mean", "low", "high", "p_value")},
        "mcnemar_p": [pair["mcnemar_p"] for pair in found["pairs"]["1"]],
        "image_interval": list(accuracy["image_interval"].values()),
        **{
            f"{measure['name']} images": list(measure["image_interval"].values())
            for measure in found["contrasts"][0]["measures"][1:]
        },
        # What is called detectable is found with a probability of 80 %.
        "power": power(accuracy["detectable"], **accuracy["difference"]),
    }


def power(effect, *, deviation, num_pairs, **_):
    """Of a two-sided t test at 5 %; the tail on the wrong side is smaller than rounding."""
    freedom = num_pairs - 1
    return stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, effect / deviation * num_pairs**0.5)


def apart(found):
    """The largest difference of each number."""
    ours, theirs = claimed(found), recomputed(found)
    return {name: float(np.abs(np.subtract(ours[name], theirs[name])).max()) for name in theirs}


if __name__ == "__main__":
    for name, difference in apart(json.loads((Path(sys.argv[1]) / "comparison.json").read_text())).items():
        print(f"{name:14} {difference:.1e}")
