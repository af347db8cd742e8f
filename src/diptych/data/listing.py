"""What a source of image files holds, before one of them is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data import decode

Names: TypeAlias = NDArray[Any]
"""(N,), of NumPy's variable-width strings."""


def as_names(names: Iterable[str]) -> Names:
    """Names as an array in which each takes its own length, not that of the longest."""
    return np.array(list(names), dtype=np.dtypes.StringDType())


class Encoded(Protocol):
    """Images as files keep them, one at a time."""

    def read(self, place: int) -> bytes:
        """The bytes of the image at a place, from any thread.

        Raises:
            DataError: they cannot be read.
        """


@dataclass(frozen=True, eq=False)
class Files:
    """Images that are files below one folder."""

    root: Path
    names: Names
    """(N,), their paths below `root`, with `/`."""

    def read(self, place: int) -> bytes:
        """The bytes of the image at a place, from any thread."""
        return decode.read(self.root / str(self.names[place]))


@dataclass(frozen=True, eq=False)
class Listed:
    """The images of one split.

    Attributes:
        encoded: where they are read from.
        labels: int64, (N,), the index of each one's class.
        ids: (N,), what each is called: unique within the split, the same on every machine.
    """

    encoded: Encoded
    labels: NDArray[np.int64]
    ids: Names

    def __len__(self) -> int:
        return len(self.labels)


def none_of(listed: Listed) -> Listed:
    """A split without images, beside one that has some."""
    return Listed(listed.encoded, listed.labels[:0], listed.ids[:0])


@dataclass(frozen=True, eq=False)
class Listing:
    """All images of a source; a split that it does not bring is None, but `train` is then empty."""

    class_names: tuple[str, ...]
    train: Listed
    validation: Listed | None = None
    test: Listed | None = None

    def splits(self) -> Iterator[tuple[str, Listed]]:
        """The splits that are there, by name."""
        for name in ("train", "validation", "test"):
            listed = getattr(self, name)
            if listed is not None:
                yield name, listed
