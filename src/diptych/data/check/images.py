"""Images that are unlike the others: blank, dark, blurry, of an odd size or shape.

Where many are, it is the way of the data and no mistake: then it is told once, for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from diptych.data.check.findings import Finding
from diptych.data.check.measure import Measures
from diptych.data.check.subject import Subject

BLANK = 2.0
"""Levels of standard deviation, of every channel, below which there is nothing to see."""
DARK = 32
"""The level of 255 that 2 % of an image have to reach, or it is dark."""
BLURRY, BLURRY_DEVIATIONS, SHARP = 40, 4, 0.05
"""How many times less sharp than the median, how many deviations below it on a scale of logarithms, and what is sharp
in any company."""
FEWEST_TO_COMPARE = 20
"""Images from which on there is a rule to be an exception of."""
ODD_SIZE, ODD_SHAPE = 8, 4
"""How many times shorter or longer than the median's side, or than its height by its width."""
ALL_BUT = 0.01
"""The share of images that may differ from the one size of all others and still be exceptions."""
WAY_OF_THE_DATA, FEW = 0.05, 3
"""The share of images from which on something is the way of the data, unless it is few images."""


def unlike(subject: Subject, found: Measures) -> Iterator[Finding]:
    """Yield the images that are unlike the others."""
    good = np.flatnonzero(found.is_good_m)
    if not len(good):
        return
    is_blank_n = found.deviations_m[good] < BLANK
    for place in good[is_blank_n].tolist():
        yield subject.finding("blank", _colour(found, place), place)
    seen = good[~is_blank_n]

    def exceptions(kind: str, is_so_n: NDArray[np.bool_], reason: Callable[[int], str], way: str) -> Iterator[Finding]:
        places = seen[is_so_n].tolist()
        if len(places) > max(WAY_OF_THE_DATA * len(seen), FEW):
            yield Finding(kind, f"{len(places) / len(seen):.0%} of all images {way}: taken for the way of this data")
            return
        for place in places:
            yield subject.finding(kind, reason(place), place)

    def size(place: int) -> str:
        height, width = found.sizes_m[place].tolist()
        return f"{width:,} × {height:,} pixels"

    yield from exceptions(
        "dark", found.bright_m[seen] < DARK, lambda place: f"98 % below level {found.bright_m[place] + 1}", "are dark"
    )
    if len(seen) >= FEWEST_TO_COMPARE:
        is_blurry_n, median = _blurry(found.sharpness_m[seen])
        yield from exceptions(
            "blurry",
            is_blurry_n,
            lambda place: f"{median / max(found.sharpness_m[place], 1e-9):,.0f} times less sharp than most",
            "are far less sharp than most",
        )
        is_odd_n, is_flat_n = _odd_size(found.sizes_m[seen]), _odd_shape(found.sizes_m[seen])
        yield from exceptions("odd-size", is_odd_n, size, "are far smaller or larger than most")
        yield from exceptions("odd-shape", is_flat_n & ~is_odd_n, size, "are far flatter or taller than most")


def _blurry(sharpness_n: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    logarithms_n = np.log(np.maximum(sharpness_n, 1e-9))
    median = float(np.median(logarithms_n))
    deviation = 1.4826 * float(np.median(np.abs(logarithms_n - median)))
    least = median - max(np.log(BLURRY), BLURRY_DEVIATIONS * deviation)
    return logarithms_n < min(least, np.log(SHARP)), float(np.exp(median))


def _odd_size(sizes_n2: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Far smaller or larger than the median; or of another size, where all others have one."""
    sides_n = np.sqrt(sizes_n2.prod(axis=1, dtype=np.float64))
    factors_n = sides_n / np.median(sides_n)
    is_odd_n = (factors_n * ODD_SIZE <= 1) | (factors_n >= ODD_SIZE)
    kinds, which_n, counts = np.unique(sizes_n2, axis=0, return_inverse=True, return_counts=True)
    is_rare_n = which_n.reshape(-1) != counts.argmax()
    is_uniform = 0 < is_rare_n.sum() <= ALL_BUT * len(sizes_n2) and len(kinds) > 1
    return np.asarray(is_odd_n | is_rare_n if is_uniform else is_odd_n)


def _odd_shape(sizes_n2: NDArray[np.int32]) -> NDArray[np.bool_]:
    shapes_n = np.log(sizes_n2[:, 0] / sizes_n2[:, 1])
    return np.asarray(np.abs(shapes_n - np.median(shapes_n)) >= np.log(ODD_SHAPE))


def _colour(found: Measures, place: int) -> str:
    luma = int(found.luma_m[place].mean())
    tone = "black" if luma < 16 else "white" if luma > 239 else "one colour"
    return f"{tone} all over"
