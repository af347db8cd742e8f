"""Check data before training: files, duplicates, classes, and images unlike the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.archives import Progress, quiet
from diptych.data.check import Measures, measure, samples_at
from diptych.data.readers import Listing
from diptych.data.rules import KINDS, Finding, Sample, class_findings

BLANK = 2.0  # levels of standard deviation, of every channel, below which an image is blank
DARK = 32  # the level of 255 that 2 % of an image must reach, or it is dark
FEW_COLORS, FEWER = 64, 32  # colors of a placeholder at most, and times fewer than the median
PLAIN, FEWER_TONES = 0.75, 24  # or: the least share of one tone, and times fewer tones than the median
COPIES = 3  # of one image, in several classes, that are a placeholder
BLURRY, BLURRY_DEVIATIONS = 40, 4  # times less sharp than the median, and deviations below it in logarithms
SHARP = 0.05  # the sharpness of an image that is sharp whatever the others are
MIN_TO_COMPARE = 20  # with fewer images, none is an outlier
ODD_SIZE, ODD_SHAPE = 8, 4  # times shorter or longer than the median's side, or than its height by its width
ALL_BUT = 0.01  # the largest share of images that are outliers because all others have the same size
COMMON, FEW = 0.05, 3  # the share and number of images above which something is common, and not an outlier

MOST_BITS = 6  # of 63 bits of the hashes of near-duplicates that may differ
ALIKE = 0.985  # least correlation of near-duplicates' luma at 16 by 16
ALIKE_IN_A_CROWD = 0.998  # the same where the data's images look much alike
CROWDED = 0.05  # pairs of similar hashes but different pictures, per image, above which images look much alike
MOST_TINT = 16.0  # levels of chroma, on average, by which near-duplicates may differ
LEAST_CONTRAST = 4.0  # levels of standard deviation below which a picture is too flat to compare
MOST_PAIRS = 100  # per image; the search stops there, as fewer connect a group
_BLOCKS = 9
_REACH = 32
_PAIRS_AT_ONCE = 2**16

Pairs = NDArray[np.intp]


def check(listing: Listing, progress: Progress = quiet) -> tuple[Finding, ...]:
    """Find what is wrong with data, in the order of KINDS; every image is decoded once."""
    measures, faults = measure(listing, progress)
    findings = [Finding(*fault, samples_at(listing, index)) for index, fault in faults.items()] + [*listing.findings]
    for find in (_find_duplicates, _find_near_duplicates, _check_classes, _find_outliers):
        findings += find(listing, measures)
    return tuple(sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)))


def _check_classes(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield classes with too few images to train on or to measure."""
    is_good = np.split(measures["is_good"], np.cumsum([len(split) for split in listing.splits.values()])[:-1])
    good = {name: split.labels[some] for (name, split), some in zip(listing.splits.items(), is_good, strict=True)}
    yield from class_findings(listing.class_names, good)


def _find_duplicates(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield every group of images with identical pixels."""
    good = np.flatnonzero(measures["is_good"])
    _, first_d, distinct_n = np.unique(measures["digest"][good], return_index=True, return_inverse=True)
    pairs = good[np.stack([first_d[distinct_n], np.arange(len(good))], axis=1)]
    for members in _groups(pairs[pairs[:, 0] != pairs[:, 1]]):
        samples, labels, splits = _described(listing, members)
        if len(labels) > 1 and len(members) >= COPIES:
            yield Finding("placeholder", f"the same image {len(members)} times, in {len(labels)} classes", samples)
        if len(labels) > 1:
            yield Finding("conflict", f"labeled {' and '.join(labels)}", samples)
        if len(splits) > 1:
            yield Finding("leakage", f"in {' and '.join(splits)}", samples)
        elif len(labels) == 1:
            yield Finding("duplicate", f"{len(members)} times in {splits[0]}", samples)


def _find_near_duplicates(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield every group of images that are almost the same picture; one represents all with identical pixels.

    Candidates differ in few bits of a perceptual hash (Zauner 2010, "Implementation and benchmarking of perceptual
    image hash functions"); small pictures then decide.
    """
    places = np.flatnonzero(measures["is_good"])
    places = places[np.sort(np.unique(measures["digest"][places], return_index=True)[1])]
    places = places[measures["luma"][places].std(axis=1) >= LEAST_CONTRAST]
    pairs = places[_candidates(measures["hash"][places])]
    parts = np.array_split(pairs, 1 + len(pairs) // _PAIRS_AT_ONCE)
    likeness_p = np.concatenate([_likeness(*measures[part.T]) for part in parts])
    is_crowded = np.count_nonzero(likeness_p < ALIKE) > CROWDED * len(places)
    for members in _groups(pairs[likeness_p >= (ALIKE_IN_A_CROWD if is_crowded else ALIKE)]):
        samples, labels, splits = _described(listing, members)
        kind = "near-leakage" if len(splits) > 1 else "near-duplicate"
        reason = f"in {' and '.join(splits)}" + (f", labeled {' and '.join(labels)}" if len(labels) > 1 else "")
        yield Finding(kind, reason, samples)


def _candidates(hashes_n: NDArray[np.uint64]) -> Pairs:
    """Pairs of places whose hashes are the same or differ in few bits, (P, 2); not all of a crowd.

    Of nine blocks of seven bits, at least three agree: sorting by every choice of three brings such pairs side by side.
    """
    distinct_d, first_d = np.unique(hashes_n, return_index=True)
    width = 63 // _BLOCKS
    blocks = [((1 << width) - 1) << (width * block) for block in range(_BLOCKS)]
    found = [np.empty(0, dtype=np.intp)]
    for chosen in combinations(blocks, _BLOCKS - MOST_BITS):
        pairs = _neighbors(distinct_d & np.uint64(sum(chosen)), distinct_d)
        found.append(pairs[:, 0] * len(distinct_d) + pairs[:, 1])
        if sum(map(len, found)) > MOST_PAIRS * len(distinct_d):
            break
    others = np.stack(np.divmod(np.unique(np.concatenate(found)), max(len(distinct_d), 1)), axis=1)
    return np.concatenate([_neighbors(hashes_n, hashes_n), first_d[others]])


def _neighbors(keys_n: NDArray[np.uint64], hashes_n: NDArray[np.uint64]) -> Pairs:
    """Pairs of places of one key whose hashes differ in few bits, the smaller first; of many, the nearest alone."""
    order = np.lexsort((hashes_n, keys_n))
    keys_n, ordered_n = keys_n[order], hashes_n[order]
    found = [np.empty((0, 2), dtype=np.intp)]
    for reach in range(1, _REACH + 1):
        same = np.flatnonzero(keys_n[reach:] == keys_n[:-reach])
        if not len(same):
            break
        same = same[np.bitwise_count(ordered_n[same] ^ ordered_n[same + reach]) <= MOST_BITS]
        found.append(np.sort(np.stack([order[same], order[same + reach]], axis=1), axis=1))
    return np.concatenate(found)


def _likeness(one_p: NDArray[Any], other_p: NDArray[Any]) -> NDArray[np.float32]:
    """Return the correlation of the luma of pairs of images, from their measures; 0 where the colors differ."""
    tint_p = np.abs(one_p["chroma"] - other_p["chroma"].astype(np.float32)).mean(axis=1)
    correlation_p = (_standardized(one_p["luma"]) * _standardized(other_p["luma"])).mean(axis=1)
    return np.where(tint_p <= MOST_TINT, correlation_p, 0)


def _standardized(luma_nc: NDArray[np.uint8]) -> NDArray[np.float32]:
    centered_nc = luma_nc - luma_nc.mean(axis=1, keepdims=True, dtype=np.float32)
    return np.asarray(centered_nc / centered_nc.std(axis=1, keepdims=True))


def _groups(pairs: Pairs) -> list[list[int]]:
    """Return the groups that pairs connect, in order."""
    if not len(pairs):
        return []
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    members, ends = np.unique(pairs, return_inverse=True)
    links = coo_array((np.ones(len(pairs), dtype=np.int8), tuple(ends.reshape(-1, 2).T)), shape=(len(members),) * 2)
    _, group_n = connected_components(links, directed=False)
    order = np.argsort(group_n, kind="stable")
    starts = np.flatnonzero(np.diff(group_n[order])) + 1
    return sorted(group.tolist() for group in np.split(members[order], starts))


def _described(listing: Listing, places: Sequence[int]) -> tuple[tuple[Sample, ...], list[str], list[str]]:
    """Return images, and the names of their classes and splits."""
    samples = samples_at(listing, *places)
    labels, splits = (dict.fromkeys(getattr(sample, field) for sample in samples) for field in ("label", "split"))
    return samples, [*labels], [*splits]


def _find_outliers(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield the images that are unlike the others; if many are, one finding says that this is common in the data."""
    good = np.flatnonzero(measures["is_good"])
    is_blank_n = measures["deviation"][good] < BLANK
    for index in good[is_blank_n].tolist():
        yield Finding("blank", "one color all over", samples_at(listing, index))
    seen = good[~is_blank_n]
    bright_n, sizes_n2 = measures["bright"][seen], measures["size"][seen]
    sharpness_n = np.maximum(measures["sharpness"][seen], 1e-9)
    is_so, median = {"dark": bright_n < DARK}, 0.0
    if len(seen) >= MIN_TO_COMPARE:
        median = float(np.median(sharpness_n))
        is_so["blurry"] = _is_blurry(sharpness_n, median)
        is_so["odd-size"] = _is_odd_size(sizes_n2)
        shapes_n = np.log(sizes_n2[:, 0] / sizes_n2[:, 1])
        is_so["odd-shape"] = np.abs(shapes_n - np.median(shapes_n)) >= np.log(ODD_SHAPE)
        is_so["odd-shape"] &= ~is_so["odd-size"]
        colors_n, tones_n, plain_n = (measures[name][seen] for name in ("colors", "tones", "plain"))
        is_drawn_n = colors_n <= min(FEW_COLORS, np.median(colors_n) / FEWER)
        is_drawn_n |= (tones_n <= np.median(tones_n) / FEWER_TONES) & (plain_n >= PLAIN)
        is_so["placeholder"] = is_drawn_n & ~is_so["dark"] & ~is_so["odd-size"]
    for kind, is_so_n in is_so.items():
        places = np.flatnonzero(is_so_n).tolist()
        if len(places) > max(COMMON * len(seen), FEW):
            yield Finding(kind, f"{len(places) / len(seen):.0%} of all images: common in this dataset")
            continue
        for place in places:
            height, width = sizes_n2[place].tolist()
            reasons = {
                "dark": f"98% below level {int(bright_n[place]) + 1}",
                "placeholder": f"{measures['colors'][seen][place]} colors, {measures['plain'][seen][place]:.0%} is one",
                "blurry": f"{median / sharpness_n[place]:,.0f} times less sharp than most",
            }
            reason = reasons.get(kind, f"{width:,} × {height:,} pixels")
            yield Finding(kind, reason, samples_at(listing, int(seen[place])))


def _is_blurry(sharpness_n: NDArray[np.float32], median: float) -> NDArray[np.bool_]:
    falls_n = np.log(median / sharpness_n)
    deviation = 1.4826 * float(np.median(np.abs(falls_n)))
    is_blurry_n = falls_n > max(np.log(BLURRY), BLURRY_DEVIATIONS * deviation)
    return np.asarray(is_blurry_n & (sharpness_n < SHARP))


def _is_odd_size(sizes_n2: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Far smaller or larger than the median; or of another size, if all others have one."""
    sides_n = np.sqrt(sizes_n2.prod(axis=1, dtype=np.float64))
    is_odd_n = np.abs(np.log(sides_n / np.median(sides_n))) >= np.log(ODD_SIZE)
    sizes, counts = np.unique(sizes_n2, axis=0, return_counts=True)
    is_rare_n = (sizes_n2 != sizes[counts.argmax()]).any(axis=1)
    return np.asarray(is_odd_n | (is_rare_n & (is_rare_n.mean() <= ALL_BUT)))
