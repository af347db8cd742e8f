"""Classes that cannot be learned, or not be measured: without images, with few, with far fewer than others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from diptych.data.check.findings import Finding
from diptych.data.check.measure import Measures
from diptych.data.check.subject import Subject

TINY = 10
"""Training images below which a class is tiny."""
IMBALANCE = 10
"""How many times more training images the largest class may have than the smallest."""


def counted(subject: Subject, found: Measures) -> NDArray[np.int64]:
    """How many images can be decoded: int64, (splits, classes)."""
    counts_sk = np.zeros((len(subject.split_names), len(subject.class_names)), dtype=np.int64)
    np.add.at(counts_sk, (subject.split_m[found.is_good_m], subject.labels_m[found.is_good_m]), 1)
    return counts_sk


def unfit(subject: Subject, found: Measures) -> Iterator[Finding]:
    """Yield what is wrong with classes; `train` is the first split, and always there."""
    counts_sk = counted(subject, found)
    listed_k = np.bincount(subject.labels_m, minlength=len(subject.class_names))
    for label, name in enumerate(subject.class_names):
        counts = counts_sk[:, label].tolist()
        if not any(counts):
            lost = f"none of its {listed_k[label]:,} files can be decoded" if listed_k[label] else "no images"
            yield Finding("empty-class", f"{name}: {lost}")
            continue
        without = [split for split, count in zip(subject.split_names, counts, strict=True) if not count]
        if not counts[0]:
            yield Finding("untrained-class", f"{name}: {sum(counts):,} images, none of them for training")
        elif without:
            yield Finding("absent-class", f"{name}: none for {' and '.join(without)}")
        if 0 < counts[0] < TINY:
            yield Finding("tiny-class", f"{name}: {counts[0]} for training")
    largest, smallest = int(counts_sk[0].argmax()), int(np.where(counts_sk[0], counts_sk[0], np.inf).argmin())
    most, fewest = int(counts_sk[0, largest]), int(counts_sk[0, smallest])
    if fewest and most > IMBALANCE * fewest:
        names = subject.class_names
        ratio = f"{most / fewest:,.0f} times as many"
        yield Finding("imbalance", f"{names[largest]} has {most:,} images, {ratio} as {names[smallest]} ({fewest:,})")
