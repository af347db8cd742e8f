"""Recompute a comparison's bootstrap from its runs' `predictions.npz`, one resample after the other, with SciPy.

`python recompute.py COMPARISON_FOLDER` prints the largest difference from `comparison.json`; it imports no diptych.
The t tests and McNemar's test are compared with statsmodels in test_statistics.py.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import special


def prepared(run):
    """Predicted classes, labels, losses and confidences of a run's images, and the number of classes."""
    with np.load(Path(run) / "predictions.npz") as arrays:
        logits, labels = arrays["logits"].astype(float), arrays["labels"]
    losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return logits.argmax(1), labels, losses, special.softmax(logits, axis=1).max(1), logits.shape[1]


def measured(run, times):
    """Accuracy, macro F1, loss and calibration error if each image counts so many times."""
    predicted, labels, losses, confidence, classes = run
    right = np.bincount(labels, times * (predicted == labels), classes)
    all_predicted, all_true = np.bincount(predicted, times, classes), np.bincount(labels, times, classes)
    f1 = np.divide(2 * right, all_predicted + all_true, out=np.zeros(classes), where=all_predicted + all_true > 0)
    bins = np.ceil(confidence * 15).astype(int) - 1
    gaps = np.bincount(np.clip(bins, 0, 14), times * ((predicted == labels) - confidence), 15)
    return right.sum() / len(labels), f1.mean(), times @ losses / len(labels), np.abs(gaps).sum() / len(labels)


def apart(content, resamples=2000, chunk=100):
    """The largest difference of each number of the first contrast from the recomputed one, by name."""
    sides = [[prepared(run) for run in side["runs"]] for side in content["sides"][:2]]
    generator, num_images = np.random.default_rng(0), content["subject"]["num_test"]

    def means(times):
        return [np.mean([measured(run, times) for run in side], axis=0) for side in sides]

    gaps = []
    for _ in range(0, resamples, chunk):
        for drawn in generator.integers(0, num_images, (chunk, num_images)):
            first, second = means(np.bincount(drawn, minlength=num_images).astype(float))
            gaps.append(second - first)
    intervals, whole = np.quantile(gaps, [0.025, 0.975], axis=0).T, np.transpose(means(np.ones(num_images)))
    differences = {}
    for place, measure in enumerate(content["contrasts"][0]["measures"]):
        differences[measure["name"]] = np.abs(whole[place] - measure["means"]).max()
        if measure["name"] != "accuracy":  # its interval is exact
            found = list(measure["image_interval"].values())
            differences[f"{measure['name']} images"] = np.abs(intervals[place] - found).max()
    return differences


if __name__ == "__main__":
    for name, difference in apart(json.loads((Path(sys.argv[1]) / "comparison.json").read_text())).items():
        print(f"{name:24} {difference:.1e}")
