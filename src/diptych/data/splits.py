"""Training, validation and test samples, and how one is cut off another.

The cut is stratified and a pure function of (labels, fraction, seed). Its random numbers are Philox's raw
words, a stream that NumPy promises never to change, so a seed means the same samples in every version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.images import Images, pick
from diptych.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples in a fixed order.

    Attributes:
        images: uint8, (N, H, W, C), 0–255; RGB for three channels, grey for one.
        labels: int64, (N,), the index of each sample's class.
        ids: (N,), what each sample is called in its source: a file's path, or a number unless given.
    """

    images: Images
    labels: NDArray[np.int64]
    ids: NDArray[Any] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Count the samples that have no names."""
        if not len(self.ids):
            object.__setattr__(self, "ids", np.arange(len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.intp]) -> Split:
        """Return the samples at `indices`, in that order; of an array's images a copy."""
        return Split(pick(self.images, indices), self.labels[indices], self.ids[indices])


@dataclass(frozen=True, eq=False)
class Parts:
    """What a source of data brings by itself; a split that it does not bring is None, but `train` is then empty.

    `skipped` names the images that could not be read and were left out, each with its reason; `remarks` are for whoever
    asked.
    """

    class_names: tuple[str, ...]
    train: Split
    validation: Split | None = None
    test: Split | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def cut(
    split: Split, fraction: float, seed: int, class_names: tuple[str, ...], purpose: str = "validation"
) -> tuple[Split, Split]:
    """Cut a stratified, seeded share off a split.

    Args:
        split: the samples to divide.
        fraction: the share of each class to cut off, in [0, 1); rounded, but at least one sample of each
            class unless it is 0.
        seed: a number of 0 or more.
        class_names: the name of each label, for the error.
        purpose: what the share is cut off for, for the error.

    Returns:
        What remains and what was cut off, both in the order of `split`.

    Raises:
        DataError: a class has too few samples to be in both.
    """
    is_cut = np.zeros(len(split), dtype=bool)
    if fraction:
        shuffled = np.argsort(np.random.Philox(seed).random_raw(len(split)), kind="stable")
        shuffled = shuffled[np.argsort(split.labels[shuffled], kind="stable")]  # class by class
        count_k = np.bincount(split.labels, minlength=len(class_names))
        num_cut_k = np.maximum(1, np.rint(fraction * count_k).astype(np.int64))
        if (num_cut_k >= count_k).any():
            label = int((num_cut_k >= count_k).argmax())
            raise DataError(
                f"Class {class_names[label]!r} has {count_k[label]} samples, too few to cut {fraction:.0%} off for "
                f"{purpose}: give it more images, bring that split yourself, or choose another fraction."
            )
        place_n = np.arange(len(split)) - np.repeat(np.cumsum(count_k) - count_k, count_k)
        is_cut[shuffled[place_n < np.repeat(num_cut_k, count_k)]] = True
    return split.take(np.flatnonzero(~is_cut)), split.take(np.flatnonzero(is_cut))
