"""What is checked: every image of a source, one after the other, from files or from arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diptych.data.check.findings import Finding, Sample
from diptych.data.readers import EncodedImages, ListedSplit, Listing


@dataclass(frozen=True, eq=False)
class Subject:
    """The images of all splits.

    Attributes:
        class_names: one for each label.
        split_names: those of the splits that are there.
        splits: the images of each, files or arrays.
    """

    class_names: tuple[str, ...]
    split_names: tuple[str, ...]
    splits: tuple[ListedSplit, ...]

    def __len__(self) -> int:
        return len(self.labels_m)

    @cached_property
    def labels_m(self) -> NDArray[np.int64]:
        """int64, (M,), every image's class."""
        return np.concatenate([np.asarray(split.labels, dtype=np.int64) for split in self.splits])

    @cached_property
    def split_m(self) -> NDArray[np.intp]:
        """intp, (M,), the place of every image's split."""
        return np.repeat(np.arange(len(self.splits)), [len(split) for split in self.splits])

    @cached_property
    def _first(self) -> NDArray[np.intp]:
        return np.cumsum([0, *(len(split) for split in self.splits)])

    def find(self, place: int) -> tuple[ListedSplit, int]:
        """The split of an image, and its place there."""
        split = int(self.split_m[place])
        return self.splits[split], place - int(self._first[split])

    def sample(self, place: int) -> Sample:
        """What there is to say of an image."""
        split, within = self.find(place)
        split_name, name = self.split_names[int(self.split_m[place])], str(split.ids[within])
        label = self.class_names[int(split.labels[within])]
        return Sample(place, split_name, f"{split_name} {name}" if name.isdecimal() else name, label)

    def finding(self, kind: str, reason: str, *places: int) -> Finding:
        """A finding about the images at some places."""
        return Finding(kind, reason, tuple(self.sample(place) for place in places))

    def encoded(self, place: int) -> tuple[EncodedImages, int] | None:
        """Where an image's file is read from; None where there is none, but pixels."""
        split, within = self.find(place)
        return None if isinstance(split.images, np.ndarray) else (split.images, within)

    def pixels(self, place: int) -> NDArray[np.uint8]:
        """The image at a place that is an array's: uint8, (H, W, 1 or 3)."""
        split, within = self.find(place)
        assert isinstance(split.images, np.ndarray)  # as `encoded` says
        return np.asarray(split.images[within])


def subject_of(content: Listing) -> Subject:
    """All images of a source."""
    return Subject(content.class_names, tuple(content.splits), tuple(content.splits.values()))
