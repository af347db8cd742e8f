"""Load a dataset: a name or a path in, three splits of uint8 images out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.artifacts.record import SplitSizes
from diptych.data.archives import Progress, quiet
from diptych.data.decode import MAX_PIXELS, VERSION
from diptych.data.images import Images, StoredImages, pick, store
from diptych.data.preprocess import resize, to_channels
from diptych.data.readers import Listing
from diptych.data.rules import Finding, class_findings, judge
from diptych.data.sources import find
from diptych.errors import DataError, UsageError, first_of
from diptych.options import BadImages, Caching
from diptych.processes import memory

TEST_FRACTION = 0.2
TEST_SEED = 20_240_229  # a constant: all runs must be tested on the same samples


@dataclass(frozen=True, eq=False)
class Split:
    """Samples in a fixed order."""

    images: Images
    """RGB for three channels, gray for one."""
    labels: NDArray[np.int64]
    """The index of each sample's class, (N,)."""
    ids: NDArray[Any]
    """Each sample's id in its source, (N,): a file's path, or a number."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.intp]) -> Split:
        """Return the samples at `indices`, in that order; images of an array are copied."""
        return Split(pick(self.images, indices), self.labels[indices], self.ids[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that training needs to know about its data.

    A split that the source lacks is empty. Pickles with its fingerprints, so that another process reads nothing again.
    """

    name: str
    """The named dataset, or the name of the folder or file."""
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mirror: bool = False
    """Whether a mirrored image keeps its class."""
    skipped: tuple[tuple[str, str], ...] = ()
    """The images that could not be decoded and were skipped, each with its reason."""
    inferred: tuple[str, ...] = ()
    """What the reader decided by itself, as clauses."""
    remarks: tuple[str, ...] = ()
    """What else to report about the data."""

    @classmethod
    def of(cls, class_names: tuple[str, ...], splits: Mapping[str, Split], name: str = "", **others: Any) -> Self:
        """Build a dataset from the splits that its source has; `train` is always there."""
        none = splits["train"].take(np.arange(0))
        train, validation, test = (splits.get(split, none) for split in ("train", "validation", "test"))
        return cls(name, class_names, train, validation, test, **others)

    def divide(self, seed: int, validation_fraction: float, test_fraction: float = TEST_FRACTION) -> Self:
        """Hold out the splits that the source lacks; see `load`. Raises DataError if there are too few samples."""
        findings = [one for one in self._findings if one.kind != "absent-class"]
        judge(findings, self.name)
        splits: dict[str, Any] = self.splits
        inferred = list(self.inferred)
        shares = {"test": (test_fraction, TEST_SEED), "validation": (validation_fraction, seed)}
        for name, (fraction, chosen_by) in shares.items():
            if not len(splits[name]) and fraction:
                num, purpose = len(splits["train"]), "the test" if name == "test" else name
                splits["train"], splits[name] = cut(splits["train"], fraction, chosen_by, self.num_classes)
                part = f"{len(splits[name]):,} of {num:,} training images"
                inferred.append(f"no {name} split: {part} were held out for {purpose}")
        divided = replace(self, **splits, inferred=tuple(inferred))
        findings += [one for one in divided._findings if one.kind == "absent-class"]
        return replace(divided, remarks=(*self.remarks, *judge(findings, self.name)))

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def _findings(self) -> list[Finding]:
        labels = {name: split.labels for name, split in self.splits.items() if len(split) or name == "train"}
        return [*class_findings(self.class_names, labels)]

    @property
    def sizes(self) -> SplitSizes:
        """The number of images in each split."""
        return SplitSizes(*map(len, self.splits.values()))

    @property
    def lines(self) -> tuple[str, ...]:
        """What is said before these data are used: classes, split sizes and what was inferred; then the remarks."""
        said, classes = list(self.inferred), f"{self.num_classes} classes"
        if not said or not said[0].startswith(classes):  # from folder names
            said.insert(0, f"{classes}: {first_of(self.class_names, 5)}")
        said.insert(1, str(self.sizes))
        return (f"{self.name}: {'; '.join(said)}", *self.remarks)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The (height, width, channels) of every image."""
        height, width, num_channels = self.train.images.shape[1:]
        return height, width, num_channels

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the class names, and of each split's shape, labels and images, in hexadecimal.

        For image files, the files' content and the decoder's version are hashed instead of the pixels.
        """
        return self._digest(*self.splits.values())

    @cached_property
    def test_fingerprint(self) -> str:
        """The SHA-256 of the class names and the test split, computed like `fingerprint`."""
        return self._digest(self.test)

    def _digest(self, *splits: Split) -> str:
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for split in splits:
            digest.update(json.dumps(split.images.shape).encode())
            digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
            if isinstance(split.images, StoredImages):
                digest.update(np.full((1, 32), VERSION, dtype=np.uint8).data)
                digest.update(split.images.file_digests[split.images.indices].data)
            else:
                digest.update(np.ascontiguousarray(split.images).data)
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "fingerprint": self.fingerprint, "test_fingerprint": self.test_fingerprint}


def load(
    data: str, *, seed: int = 0, validation_fraction: float = 0.1, test_fraction: float = TEST_FRACTION, **options: Any
) -> Dataset:
    """Load a dataset; `options` are those of `read`.

    A split that the data lacks is held out from its training samples, stratified by class: `test_fraction`, in (0, 1),
    for test, always the same samples, and `validation_fraction` of the rest, in [0, 1), chosen by `seed`.
    """
    return read(data, **options).divide(seed, validation_fraction, test_fraction)


def read(
    data: str,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    bad_images: BadImages = "fail",
    caching: Caching = "auto",
    progress: Progress = quiet,
    **location: Any,
) -> Dataset:
    """Read a dataset as its source divides it; the slow part of `load`, independent of the seed.

    DATA is a name from `sources.NAMED`, or a path to what `sources.KINDS` says; names take precedence. The other
    arguments are the fields of `options.DataOptions`, `location` those of `SourceOptions`. Without a size or channels,
    pixels keep theirs, and image files become RGB of 64 by 64 (ImageNet's 224 by 224).
    """
    if image_size and math.prod(image_size) > MAX_PIXELS:
        raise UsageError(f"The image size must be at most {MAX_PIXELS:,} pixels, got {image_size}.")
    source = find(data, progress=progress, **location)
    remarks = judge(source.listing.findings, source.name, skip=bad_images == "skip")
    others: dict[str, Any] = {"name": source.name, "mirror": source.mirror, "inferred": source.listing.inferred}
    if source.listing.has_files:
        image_shape = (*(image_size or source.image_size), channels or 3)
        dataset = ingest(source.listing, image_shape, bad_images=bad_images, caching=caching, progress=progress)
        return replace(dataset, **others, remarks=(*remarks, *dataset.remarks))
    num_bytes = len(source.listing) * math.prod(image_size or ()) * (channels or 1)
    if num_bytes > memory():
        of_memory = f"{num_bytes / 1e9:,.1f} GB; this machine has {memory() / 1e9:,.1f} GB of memory"
        raise UsageError(f"{len(source.listing):,} images of {image_size} need {of_memory}: set a smaller image_size.")
    resized = {}
    for name, listed in source.listing.splits.items():
        assert isinstance(listed.images, np.ndarray)  # the listing has no files
        images_nhwc = to_channels(listed.images, channels or listed.images.shape[3])
        resized[name] = Split(resize(images_nhwc, image_size or images_nhwc.shape[1:3]), listed.labels, listed.ids)
    return Dataset.of(source.listing.class_names, resized, **others, remarks=remarks)


def ingest(
    listing: Listing,
    image_shape: tuple[int, int, int],
    *,
    bad_images: BadImages = "fail",
    caching: Caching = "auto",
    folder: Path | None = None,
    progress: Progress = quiet,
) -> Dataset:
    """Put image files into a store, and skip those that cannot be decoded, or raise DataError; see `read`."""
    stored, faults, remarks = store(listing, image_shape, caching, folder, progress)
    skipped = tuple((listing.id_of(index), fault) for index, fault in faults.items())
    if skipped:
        named = first_of([f"{name!r}: {fault.rstrip('.')}" for name, fault in skipped], joint="; ")
        count = f"{len(skipped):,} of {len(listing):,} images"
        if bad_images == "fail":
            advice = "Fix or remove them, or skip them with --bad-images skip; `diptych data check` lists them all."
            raise DataError(f"{count} cannot be decoded: {named}. {advice}")
        remarks = (*remarks, f"Skipped {count} that cannot be decoded: {named}.")
    is_good_m = ~np.isin(np.arange(len(listing)), [*faults])
    splits, first = {}, 0
    for split, listed in listing.splits.items():
        good = np.flatnonzero(is_good_m[first : first + len(listed)])
        splits[split] = Split(pick(stored, first + good), listed.labels[good], listed.ids[good])
        first += len(listed)
    return Dataset.of(listing.class_names, splits, skipped=skipped, remarks=remarks)


def cut(split: Split, fraction: float, seed: int, num_classes: int) -> tuple[Split, Split]:
    """Hold out a stratified, seeded share of a split: a pure function of (labels, fraction, seed).

    Its random numbers are Philox's raw words, a stream that NumPy promises never to change, so that a seed chooses the
    same samples in every version.

    The fraction of each class is rounded, but at least one sample unless it is 0; a class keeps its last sample.
    Returns the samples that remain and those held out, both in the order of `split`.
    """
    is_cut = np.zeros(len(split), dtype=bool)
    if fraction:
        shuffled = np.argsort(np.random.Philox(seed).random_raw(len(split)), kind="stable")
        by_class = shuffled[np.argsort(split.labels[shuffled], kind="stable")]
        ends_k = np.cumsum(np.bincount(split.labels, minlength=num_classes))
        for members in np.split(by_class, ends_k[:-1]):
            num_cut = min(max(1, round(fraction * len(members))), len(members) - 1)
            is_cut[members[: max(0, num_cut)]] = True
    return split.take(np.flatnonzero(~is_cut)), split.take(np.flatnonzero(is_cut))
