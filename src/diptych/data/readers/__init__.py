"""Readers of the formats on disk, and `Listing`, which every one of them returns.

They raise `DataError`, in one line, for files that are missing, damaged or contradictory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import read_file
from diptych.data.rules import Finding
from diptych.errors import DataError

if TYPE_CHECKING:
    from diptych.data.readers.parquet import ParquetImages

Pixels: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images, (N, H, W, 1 or 3), and labels, (N,)."""


def labeled(name: str, images_nhwc: NDArray[np.uint8], labels_n: NDArray[Any], known: range) -> Pixels:
    """Return a file's images with their labels as int64, each of which must be known."""
    wrong = np.flatnonzero((labels_n < known[0]) | (labels_n > known[-1]))
    if wrong.size:
        label = f"label {labels_n[wrong[0]]} for image {wrong[0]}"
        raise DataError(f"{name!r} has the {label}, expected {known[0]} to {known[-1]}.")
    return images_nhwc, labels_n.astype(np.int64)


def as_names(names: Iterable[str]) -> NDArray[Any]:
    """Return names as an array of variable-width strings: each takes its own length, not that of the longest."""
    return np.array(list(names), dtype=np.dtypes.StringDType())


@dataclass(frozen=True, eq=False)
class Files:
    """Image files by their paths below one folder, with `/`."""

    root: Path
    names: NDArray[Any]

    def read(self, index: int) -> bytes:
        """Return the bytes of one file; safe to call from any thread."""
        return read_file(self.root / str(self.names[index]))


@dataclass(frozen=True, eq=False)
class ListedSplit:
    """The images of one split: encoded, or pixels, uint8, (N, H, W, 1 or 3); and their classes, int64, (N,).

    `ids`, (N,), are unique within the split and the same on every machine: paths or numbers.
    """

    images: Files | ParquetImages | NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[Any]

    @classmethod
    def of_pixels(cls, images_nhwc: NDArray[np.uint8], labels_n: NDArray[np.int64]) -> Self:
        """Number the images of an array."""
        return cls(images_nhwc, labels_n, np.arange(len(labels_n)))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Listing:
    """Every image of a source, before any is decoded.

    A split that the source lacks is None, but `train` is then empty. An index counts the images of all splits, one
    split after the other. `inferred` is what the reader decided by itself, as clauses such as "label column 'label'",
    `findings` what it noticed; whether training accepts it, `rules.KINDS` says.
    """

    class_names: tuple[str, ...]
    train: ListedSplit
    validation: ListedSplit | None = None
    test: ListedSplit | None = None
    inferred: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of_pixels(cls, class_names: tuple[str, ...], train: Pixels, test: Pixels) -> Self:
        """Build a listing from the arrays of two splits."""
        return cls(class_names, ListedSplit.of_pixels(*train), test=ListedSplit.of_pixels(*test))

    @classmethod
    def of(cls, class_names: tuple[str, ...], splits: Mapping[str, ListedSplit], **others: Any) -> Self:
        """Build a listing from the splits that a source has."""
        train, first = splits.get("train"), next(iter(splits.values()))
        if train is None:
            images = first.images[:0] if isinstance(first.images, np.ndarray) else first.images
            train = ListedSplit(images, first.labels[:0], first.ids[:0])
        return cls(class_names, train, splits.get("validation"), splits.get("test"), **others)

    @cached_property
    def splits(self) -> dict[str, ListedSplit]:
        """The splits that the source has, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def has_files(self) -> bool:
        """Whether images are encoded; otherwise they are pixels."""
        return not isinstance(self.train.images, np.ndarray)

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))

    def find(self, index: int) -> tuple[str, ListedSplit, int]:
        """Return an image's split, by name and in full, and its index there."""
        for name, split in self.splits.items():
            if index < len(split):
                return name, split, index
            index -= len(split)
        raise IndexError(index)

    def read(self, index: int) -> bytes:
        """Return the bytes of one encoded image."""
        _, split, within = self.find(index)
        assert not isinstance(split.images, np.ndarray)  # callers check `has_files`
        return split.images.read(within)

    def id_of(self, index: int) -> str:
        """Return the id of one image."""
        _, split, within = self.find(index)
        return str(split.ids[within])
