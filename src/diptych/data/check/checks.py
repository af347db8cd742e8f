"""Check data before training: files, duplicates, classes, and images unlike the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

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

MOST_BITS = 6
"""How many of 63 bits of the hashes of near-duplicates may differ."""
ALIKE, ALIKE_IN_A_CROWD = 0.985, 0.998
"""Least correlation of near-duplicates' luma at 16 by 16; the second where the data's images look much alike."""
CROWDED = 0.05
"""Pairs of similar hashes but different pictures, per image, from which on the data's images look much alike."""
MOST_TINT = 16.0
"""Levels of chroma, on average, by which near-duplicates may differ."""
LEAST_CONTRAST = 4.0
"""Levels of standard deviation below which a picture is too flat to be told from another."""
MOST_PAIRS = 100
"""Pairs per image at which the search ends: fewer connect a group."""
_BLOCKS = 9
_REACH = 32
_PAIRS_AT_ONCE = 2**16

Pairs = NDArray[np.intp]


def check(listing: Listing, progress: Progress = quiet) -> tuple[Finding, ...]:
    """Find what is wrong with data, in the order of KINDS; every image is decoded once."""
    measures = measure(listing, progress)
    checks = (_check_files, _find_duplicates, _find_near_duplicates, _check_classes, _find_outliers)
    findings = [finding for one in checks for finding in one(listing, measures)]
    return tuple(sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)))


def _check_files(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield the files that cannot be decoded, and those whose names say another format than they have."""
    for index, (kind, reason) in sorted(measures.faults.items()):
        yield Finding.of(listing, kind, reason.rstrip("."), index)
    for index, reason in sorted(measures.mislabeled.items()):
        yield Finding.of(listing, "mislabeled", reason, index)


def _check_classes(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield classes with too few images to train on or to measure; `train` is the first split, and always there."""
    num_classes, is_good_m = len(listing.class_names), measures.values["is_good"]
    cells = (listing.split_numbers * num_classes + listing.labels)[is_good_m]
    counts_sk = np.bincount(cells, minlength=len(listing.splits) * num_classes).reshape(-1, num_classes)
    listed_k = np.bincount(listing.labels, minlength=num_classes)
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


def _find_duplicates(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield every group of images with identical pixels."""
    good = np.flatnonzero(measures.values["is_good"])
    _, group_n, counts = np.unique(measures.values["digest"][good], return_inverse=True, return_counts=True)
    is_repeated_n = counts[group_n] > 1
    for members in _grouped(good[is_repeated_n], group_n[is_repeated_n]):
        labels, splits = _labels_and_splits(listing, members)
        if len(labels) > 1:
            yield Finding.of(listing, "conflict", f"labeled {_listed(labels)}", *members)
        if len(splits) > 1:
            yield Finding.of(listing, "leakage", f"in {_listed(splits)}", *members)
        elif len(labels) == 1:
            yield Finding.of(listing, "duplicate", f"{len(members)} times in {splits[0]}", *members)


def _find_near_duplicates(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield every group of images that are almost the same picture; one represents all with identical pixels.

    Candidates are pairs whose perceptual hashes (signs of a DCT's low frequencies; Zauner 2010, "Implementation and
    benchmarking of perceptual image hash functions") differ in few bits. Of nine blocks of seven bits, three at least
    then agree, so that sorting by every choice of three blocks brings such pairs side by side: N log N, not N².
    Small pictures then decide.
    """
    places = np.flatnonzero(measures.values["is_good"])
    places = places[np.sort(np.unique(measures.values["digest"][places], return_index=True)[1])]
    places = places[measures.values["luma"][places].std(axis=1) >= LEAST_CONTRAST]
    pairs = places[_candidates(measures.values["hash"][places])]
    likeness_p, is_tinted_alike_p = _compared(pairs, measures)
    is_like_p = (likeness_p >= ALIKE) & is_tinted_alike_p
    if np.count_nonzero(~is_like_p) > CROWDED * len(places):
        is_like_p = (likeness_p >= ALIKE_IN_A_CROWD) & is_tinted_alike_p
    for members in _groups(pairs[is_like_p]):
        labels, splits = _labels_and_splits(listing, members)
        kind = "near-leakage" if len(splits) > 1 else "near-duplicate"
        reason = f"in {_listed(splits)}" + (f", labeled {_listed(labels)}" if len(labels) > 1 else "")
        yield Finding.of(listing, kind, reason, *members)


def _candidates(hashes_n: NDArray[np.uint64]) -> Pairs:
    """Pairs of places whose hashes are the same or differ in few bits, (P, 2).

    Of places with the same hash, one is compared with those of other hashes. In a crowd not all pairs are listed.
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


def _compared(pairs: Pairs, measures: Measures) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The correlation of each pair's luma, and whether their chroma is alike."""
    likeness_p = np.empty(len(pairs), dtype=np.float32)
    is_tinted_alike_p = np.empty(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        one_pc, other_pc = (_standardized(measures.values["luma"][pairs[part, side]]) for side in (0, 1))
        likeness_p[part] = (one_pc * other_pc).mean(axis=1)
        tints = [measures.values["chroma"][pairs[part, side]].astype(np.float32) for side in (0, 1)]
        is_tinted_alike_p[part] = np.abs(tints[0] - tints[1]).mean(axis=1) <= MOST_TINT
    return likeness_p, is_tinted_alike_p


def _standardized(luma_nc: NDArray[np.uint8]) -> NDArray[np.float32]:
    centered_nc = luma_nc - luma_nc.mean(axis=1, keepdims=True, dtype=np.float32)
    return np.asarray(centered_nc / centered_nc.std(axis=1, keepdims=True))


def _groups(pairs: Pairs) -> list[list[int]]:
    """Return the groups that pairs connect, in order."""
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    members, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(pairs.shape)
    links = coo_array((np.ones(len(pairs), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(members),) * 2)
    return _grouped(members, connected_components(links, directed=False)[1]) if len(members) else []


def _grouped(places: NDArray[np.intp], group_n: NDArray[np.intp]) -> list[list[int]]:
    """Return the indices of each group together, in order."""
    order = np.argsort(group_n, kind="stable")
    starts = np.flatnonzero(np.diff(group_n[order]))
    return sorted(members.tolist() for members in np.split(places[order], starts + 1) if len(members))


def _labels_and_splits(listing: Listing, places: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the names of the images' classes and splits."""
    labels = [listing.class_names[label] for label in np.unique(listing.labels[places]).tolist()]
    names = list(listing.splits)
    return labels, [names[split] for split in np.unique(listing.split_numbers[places]).tolist()]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _find_outliers(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield the images that are unlike the others; if many are, one finding says that this is common in the data."""
    good = np.flatnonzero(measures.values["is_good"])
    if not len(good):
        return
    is_blank_n = measures.values["deviation"][good] < BLANK
    for index in good[is_blank_n].tolist():
        luma = int(measures.values["luma"][index].mean())
        tone = "black" if luma < 16 else "white" if luma > 239 else "one color"
        yield Finding.of(listing, "blank", f"{tone} all over", index)
    seen = good[~is_blank_n]

    measured = measures.values["size"][seen]
    texts = {"dark": "are dark", "blurry": "are far less sharp than most"}
    texts |= {"odd-size": "are far smaller or larger than most", "odd-shape": "are far wider or taller than most"}
    is_so = {"dark": measures.values["bright"][seen] < DARK}
    median = 0.0
    if len(seen) >= MIN_TO_COMPARE:
        is_so["blurry"], median = _blurry(measures.values["sharpness"][seen])
        is_so["odd-size"] = _odd_size(measured)
        is_so["odd-shape"] = _odd_shape(measured) & ~is_so["odd-size"]
    for kind, is_so_n in is_so.items():
        indices = seen[is_so_n].tolist()
        if len(indices) > max(COMMON * len(seen), FEW):
            yield Finding(kind, f"{len(indices) / len(seen):.0%} of all images {texts[kind]}: common in this dataset")
            continue
        for index in indices:
            height, width = measures.values["size"][index].tolist()
            reasons = {
                "dark": f"98 % below level {measures.values['bright'][index] + 1}",
                "blurry": f"{median / max(measures.values['sharpness'][index], 1e-9):,.0f} times less sharp than most",
            }
            yield Finding.of(listing, kind, reasons.get(kind, f"{width:,} × {height:,} pixels"), index)


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
