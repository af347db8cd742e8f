"""From a listing of image files to splits of one size; those that cannot be decoded are found before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.images import Kept
from diptych.data.listing import Listed, Listing
from diptych.data.rows import Form, Keeping, rows
from diptych.data.splits import Parts, Split
from diptych.errors import DataError

BadImages: TypeAlias = Literal["fail", "skip"]
_MOST_NAMED = 3


def ingest(listing: Listing, form: Form, keeping: Keeping, bad_images: BadImages = "fail") -> Parts:
    """Bring a source's images to one size, now or, where they are too many to be kept, whenever they are asked for.

    Args:
        listing: what the source holds.
        form: the size and the channels that every image gets.
        keeping: where decoded images are kept, if they are.
        bad_images: whether one that cannot be decoded is an error, or left out.

    Raises:
        DataError: an image cannot be decoded and is not left out; or a class has no image left.
    """
    names, splits = zip(*listing.splits(), strict=True)
    every = _Every(splits)
    found = rows(every, len(every), form, keeping)
    is_good_m = ~np.isin(np.arange(len(every)), [*found.faults])
    skipped = [(every.name(place), fault) for place, fault in found.faults.items()]
    if skipped and bad_images == "fail":
        raise DataError(_complaint(skipped, len(every)))
    parts, first = {}, 0
    for name, listed in zip(names, splits, strict=True):
        good = np.flatnonzero(is_good_m[first : first + len(listed)])
        parts[name] = Split(Kept(found.rows, first + good), listed.labels[good], listed.ids[good])
        _check_classes(listing.class_names, listed.labels, parts[name].labels, name)
        first += len(listed)
    remarks = (found.remark,) if found.remark else ()
    return Parts(
        listing.class_names, parts["train"], parts.get("validation"), parts.get("test"), tuple(skipped), remarks
    )


@dataclass(frozen=True, eq=False)
class _Every:
    """The images of all splits, one after the other."""

    splits: Sequence[Listed]

    def __len__(self) -> int:
        return sum(map(len, self.splits))

    def read(self, place: int) -> bytes:
        listed, within = self._find(place)
        return listed.encoded.read(within)

    def name(self, place: int) -> str:
        listed, within = self._find(place)
        return str(listed.ids[within])

    def _find(self, place: int) -> tuple[Listed, int]:
        for listed in self.splits:
            if place < len(listed):
                return listed, place
            place -= len(listed)
        raise IndexError(place)


def _check_classes(names: tuple[str, ...], before: NDArray[np.int64], after: NDArray[np.int64], split: str) -> None:
    lost = sorted(set(before.tolist()) - set(after.tolist()))
    if lost:
        raise DataError(
            f"Class {names[lost[0]]!r} has no image left for {split}, because none of its files can be decoded: "
            "mend them, or remove the class."
        )


def _complaint(bad: list[tuple[str, str]], num_images: int) -> str:
    told = "; ".join(f"{name!r}: {fault.rstrip('.')}" for name, fault in bad[:_MOST_NAMED])
    more = f"; and {len(bad) - _MOST_NAMED:,} more" if len(bad) > _MOST_NAMED else ""
    return (
        f"{len(bad):,} of {num_images:,} images cannot be decoded: {told}{more}. Mend or remove them, "
        "or leave them out with --bad-images skip; `diptych data check` lists them all."
    )
