"""Check data before training: files, duplicates, classes, and images unlike the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from diptych.data.check.duplicates import find_duplicates, find_near_duplicates
from diptych.data.check.findings import KINDS, Finding
from diptych.data.check.measure import Measures, measure
from diptych.data.images import Progress, quiet
from diptych.data.readers import Listing

TINY = 10
"""Training images below which a class is tiny."""
IMBALANCE = 10
"""How many times more training images the largest class may have than the smallest."""
BLANK = 2.0
"""Levels of standard deviation, of every channel, below which an image is blank."""
DARK = 32
"""The level of 255 that 2 % of an image must reach, or it is dark."""
BLURRY, BLURRY_DEVIATIONS, SHARP = 40, 4, 0.05
"""How many times less sharp than the median, how many deviations below it in logarithms, and what counts as sharp."""
MIN_TO_COMPARE = 20
"""Images from which on there is a rule to be an exception of."""
ODD_SIZE, ODD_SHAPE = 8, 4
"""How many times shorter or longer than the median's side, or than its height by its width."""
ALL_BUT = 0.01
"""The share of images that may differ from the one size of all others and still be exceptions."""
COMMON, FEW = 0.05, 3
"""The share of images from which on something is common in this dataset, unless it is few images."""


def check(listing: Listing, progress: Progress = quiet) -> tuple[Finding, ...]:
    """Find what is wrong with data, in the order of KINDS; every image is decoded once."""
    measures = measure(listing, progress)
    checks = (_check_files, find_duplicates, find_near_duplicates, _check_classes, find_outliers)
    findings = [finding for one in checks for finding in one(listing, measures)]
    return tuple(sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)))


def _check_files(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield the files that cannot be decoded, and those whose names say another format than they have."""
    for index, (kind, reason) in sorted(measures.faults.items()):
        yield Finding.of(listing, kind, reason.rstrip("."), index)
    for index, reason in sorted(measures.mislabelled.items()):
        yield Finding.of(listing, "mislabelled", reason, index)


def _check_classes(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield classes with too few images to train on or to measure; `train` is the first split, and always there."""
    counts_sk = np.zeros((len(listing.splits), len(listing.class_names)), dtype=np.int64)
    np.add.at(counts_sk, (listing.split_numbers[measures.is_good_m], listing.labels[measures.is_good_m]), 1)
    listed_k = np.bincount(listing.labels, minlength=len(listing.class_names))
    for label, name in enumerate(listing.class_names):
        counts = counts_sk[:, label].tolist()
        if not any(counts):
            lost = f"none of its {listed_k[label]:,} files can be decoded" if listed_k[label] else "no images"
            yield Finding("empty-class", f"{name}: {lost}")
            continue
        without = [split for split, count in zip(listing.splits, counts, strict=True) if not count]
        if not counts[0]:
            yield Finding("untrained-class", f"{name}: {sum(counts):,} images, none of them for training")
        elif without:
            yield Finding("absent-class", f"{name}: none for {' and '.join(without)}")
        if 0 < counts[0] < TINY:
            yield Finding("tiny-class", f"{name}: {counts[0]} for training")
    largest, smallest = int(counts_sk[0].argmax()), int(np.where(counts_sk[0], counts_sk[0], np.inf).argmin())
    most, fewest = int(counts_sk[0, largest]), int(counts_sk[0, smallest])
    if fewest and most > IMBALANCE * fewest:
        names, ratio = listing.class_names, f"{most / fewest:,.0f} times as many"
        yield Finding("imbalance", f"{names[largest]} has {most:,} images, {ratio} as {names[smallest]} ({fewest:,})")


def find_outliers(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield the images that are unlike the others; if many are, one finding says that this is common in the data."""
    good = np.flatnonzero(measures.is_good_m)
    if not len(good):
        return
    is_blank_n = measures.deviations_m[good] < BLANK
    for index in good[is_blank_n].tolist():
        luma = int(measures.luma_m[index].mean())
        tone = "black" if luma < 16 else "white" if luma > 239 else "one colour"
        yield Finding.of(listing, "blank", f"{tone} all over", index)
    seen = good[~is_blank_n]

    def exceptions(kind: str, is_so_n: NDArray[np.bool_], reason: Callable[[int], str], way: str) -> Iterator[Finding]:
        indices = seen[is_so_n].tolist()
        if len(indices) > max(COMMON * len(seen), FEW):
            yield Finding(kind, f"{len(indices) / len(seen):.0%} of all images {way}: common in this dataset")
            return
        for index in indices:
            yield Finding.of(listing, kind, reason(index), index)

    def size(index: int) -> str:
        height, width = measures.sizes_m[index].tolist()
        return f"{width:,} × {height:,} pixels"

    def darkness(index: int) -> str:
        return f"98 % below level {measures.bright_m[index] + 1}"

    yield from exceptions("dark", measures.bright_m[seen] < DARK, darkness, "are dark")
    if len(seen) < MIN_TO_COMPARE:
        return
    is_blurry_n, median = _blurry(measures.sharpness_m[seen])

    def blur(index: int) -> str:
        return f"{median / max(measures.sharpness_m[index], 1e-9):,.0f} times less sharp than most"

    is_odd_n, is_flat_n = _odd_size(measures.sizes_m[seen]), _odd_shape(measures.sizes_m[seen])
    yield from exceptions("blurry", is_blurry_n, blur, "are far less sharp than most")
    yield from exceptions("odd-size", is_odd_n, size, "are far smaller or larger than most")
    yield from exceptions("odd-shape", is_flat_n & ~is_odd_n, size, "are far flatter or taller than most")


def _blurry(sharpness_n: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    logarithms_n = np.log(np.maximum(sharpness_n, 1e-9))
    median = float(np.median(logarithms_n))
    deviation = 1.4826 * float(np.median(np.abs(logarithms_n - median)))
    least = median - max(np.log(BLURRY), BLURRY_DEVIATIONS * deviation)
    return logarithms_n < min(least, np.log(SHARP)), float(np.exp(median))


def _odd_size(sizes_n2: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Far smaller or larger than the median; or of another size, if all others have one."""
    sides_n = np.sqrt(sizes_n2.prod(axis=1, dtype=np.float64))
    factors_n = sides_n / np.median(sides_n)
    is_odd_n = (factors_n * ODD_SIZE <= 1) | (factors_n >= ODD_SIZE)
    _, size_n, counts = np.unique(sizes_n2, axis=0, return_inverse=True, return_counts=True)
    is_rare_n = size_n.reshape(-1) != counts.argmax()
    is_uniform = 0 < is_rare_n.sum() <= ALL_BUT * len(sizes_n2)
    return np.asarray(is_odd_n | is_rare_n if is_uniform else is_odd_n)


def _odd_shape(sizes_n2: NDArray[np.int32]) -> NDArray[np.bool_]:
    shapes_n = np.log(sizes_n2[:, 0] / sizes_n2[:, 1])
    return np.asarray(np.abs(shapes_n - np.median(shapes_n)) >= np.log(ODD_SHAPE))
