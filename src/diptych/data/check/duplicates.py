"""Find images that occur more than once: with identical pixels, or as almost the same picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from diptych.data.check.findings import Finding
from diptych.data.check.measure import Measures
from diptych.data.readers import Listing

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


def find_duplicates(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield every group of images with identical pixels."""
    good = np.flatnonzero(measures.is_good_m)
    _, group_n, counts = np.unique(measures.digests_m[good], return_inverse=True, return_counts=True)
    is_repeated_n = counts[group_n] > 1
    for members in _grouped(good[is_repeated_n], group_n[is_repeated_n]):
        labels, splits = _labels(listing, members), _splits(listing, members)
        if len(labels) > 1:
            yield Finding.of(listing, "conflict", f"labelled {_listed(labels)}", *members)
        if len(splits) > 1:
            yield Finding.of(listing, "leakage", f"in {_listed(splits)}", *members)
        elif len(labels) == 1:
            yield Finding.of(listing, "duplicate", f"{len(members)} times in {splits[0]}", *members)


def find_near_duplicates(listing: Listing, measures: Measures) -> Iterator[Finding]:
    """Yield every group of images that are almost the same picture; one represents all with identical pixels.

    Candidates are pairs whose perceptual hashes (signs of a DCT's low frequencies; Zauner 2010, "Implementation and
    benchmarking of perceptual image hash functions") differ in few bits. Of nine blocks of seven bits, three at least
    then agree, so that sorting by every choice of three blocks brings such pairs side by side: N log N, not N².
    Small pictures then decide.
    """
    _, first = np.unique(measures.digests_m[measures.is_good_m], return_index=True)
    places = np.flatnonzero(measures.is_good_m)[np.sort(first)]
    places = places[measures.luma_m[places].std(axis=1) >= LEAST_CONTRAST]
    pairs = places[_candidates(measures.hashes_m[places])]
    likeness_p, is_tinted_alike_p = _compared(pairs, measures)
    is_like_p = (likeness_p >= ALIKE) & is_tinted_alike_p
    if np.count_nonzero(~is_like_p) > CROWDED * len(places):
        is_like_p = (likeness_p >= ALIKE_IN_A_CROWD) & is_tinted_alike_p
    for members in _groups(pairs[is_like_p]):
        labels, splits = _labels(listing, members), _splits(listing, members)
        kind = "near-leakage" if len(splits) > 1 else "near-duplicate"
        reason = f"in {_listed(splits)}" + (f", labelled {_listed(labels)}" if len(labels) > 1 else "")
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
        pairs = _neighbours(distinct_d & np.uint64(sum(chosen)), distinct_d)
        found.append(pairs[:, 0] * len(distinct_d) + pairs[:, 1])
        if sum(map(len, found)) > MOST_PAIRS * len(distinct_d):
            break
    others = np.stack(np.divmod(np.unique(np.concatenate(found)), max(len(distinct_d), 1)), axis=1)
    return np.concatenate([_neighbours(hashes_n, hashes_n), first_d[others]])


def _neighbours(keys_n: NDArray[np.uint64], hashes_n: NDArray[np.uint64]) -> Pairs:
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
        one_pc, other_pc = (_standardised(measures.luma_m[pairs[part, side]]) for side in (0, 1))
        likeness_p[part] = (one_pc * other_pc).mean(axis=1)
        tints = [measures.chroma_m[pairs[part, side]].astype(np.float32) for side in (0, 1)]
        is_tinted_alike_p[part] = np.abs(tints[0] - tints[1]).mean(axis=1) <= MOST_TINT
    return likeness_p, is_tinted_alike_p


def _standardised(luma_nc: NDArray[np.uint8]) -> NDArray[np.float32]:
    centred_nc = luma_nc - luma_nc.mean(axis=1, keepdims=True, dtype=np.float32)
    return np.asarray(centred_nc / centred_nc.std(axis=1, keepdims=True), dtype=np.float32)


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


def _labels(listing: Listing, places: Sequence[int]) -> list[str]:
    return [listing.class_names[label] for label in np.unique(listing.labels[places]).tolist()]


def _splits(listing: Listing, places: Sequence[int]) -> list[str]:
    names = list(listing.splits)
    return [names[split] for split in np.unique(listing.split_numbers[places]).tolist()]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
