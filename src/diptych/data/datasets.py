"""The one door to data: a name or a path in, three splits of uint8 images out."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from diptych.data.decode import VERSION
from diptych.data.images import Kept
from diptych.data.ingest import BadImages, ingest
from diptych.data.limits import MAX_PIXELS
from diptych.data.listing import Listing
from diptych.data.preprocess import resize, to_channels
from diptych.data.rows import Form, Keeping
from diptych.data.sources import find
from diptych.data.splits import Parts, Split, cut
from diptych.errors import DataError, UsageError

TEST_FRACTION = 0.2
TEST_SEED = 20_240_229  # a constant: every seed of an experiment must be tested on the same samples


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything a training needs to know of its data.

    Attributes:
        name: the named dataset, or the folder's or file's own name.
        class_names: one for each label, in label order.
        train: samples to learn from.
        validation: samples to choose by; may be empty.
        test: samples to judge by.
        mirror: whether a mirrored image keeps its class.
        skipped: the images that could not be decoded and were left out, each with its reason.
        remarks: what else there is to say of how they were read.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mirror: bool
    skipped: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The (height, width, channels) of every image."""
        height, width, num_channels = self.train.images.shape[1:]
        return height, width, num_channels

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of class names, and of each split's shape, labels and images, in hexadecimal.

        Images are their pixels, or, where they come from files, the files' content and the decoder's version.
        """
        return self._digest(self.train, self.validation, self.test)

    @cached_property
    def test_fingerprint(self) -> str:
        """The same of the class names and the test split alone: whether two runs answered the same questions."""
        return self._digest(self.test)

    def _digest(self, *splits: Split) -> str:
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for split in splits:
            digest.update(json.dumps(split.images.shape).encode())
            digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
            digest.update(_content(split))
        return digest.hexdigest()


def _content(split: Split) -> memoryview:
    if isinstance(split.images, Kept):
        made_by = np.full((1, 32), VERSION, dtype=np.uint8)
        return np.concatenate([made_by, split.images.digests]).data
    return np.ascontiguousarray(split.images).data


def load(
    data: str,
    *,
    data_dir: Path | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
) -> Dataset:
    """Load a dataset.

    A split that the data does not bring is cut off its training samples, stratified by class: for test
    20 %, always the same samples, and from the rest `validation_fraction`, chosen by `seed`.

    Args:
        data: a dataset's name or a path, as in `read`.
        data_dir: as in `read`.
        image_size: as in `read`.
        channels: as in `read`.
        seed: what chooses the validation samples, 0 or more.
        validation_fraction: the share for validation, in [0, 1). With 0 the validation split is empty.

    Raises:
        UsageError: no such dataset or path, or an argument out of range.
        DataError: files that are missing, damaged or contradictory; see the readers.
    """
    whole = read(data, data_dir=data_dir, image_size=image_size, channels=channels)
    return divide(whole, seed, validation_fraction)


@dataclass(frozen=True, eq=False)
class Whole:
    """A dataset as its source brings it, its images of one size; what it does not bring is yet to be cut off."""

    name: str
    parts: Parts
    mirror: bool


def read(
    data: str,
    *,
    data_dir: Path | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    root: Path | None = None,
    pixel_shape: tuple[int, int, int] | None = None,
    bad_images: BadImages = "fail",
    keeping: Keeping | None = None,
) -> Whole:
    """The first half of `load`, which takes long: what no seed changes.

    Args:
        data: a name out of `sources.names()`, a folder of class folders, a CSV or Parquet file (or a folder of
            them), or an archive of any of these. A name wins; `./mnist` is a path.
        data_dir: where named datasets are kept, each in a folder of its name. Unless given, the environment
            variable DIPTYCH_DATA, or else `~/.cache/diptych`.
        image_size: the (height, width) to bring images to. Unless given, images that come as pixels keep their
            size and image files become 64 by 64 (ImageNet's 224 by 224).
        channels: 3 for RGB, 1 for grey. Unless given, pixels keep theirs and image files are RGB.
        root: what the paths in a table are relative to; the table's own folder unless given.
        pixel_shape: the (height, width, channels) of a CSV's pixels; inferred unless given.
        bad_images: what to do about image files that cannot be decoded.
        keeping: where decoded images are kept.

    Raises:
        UsageError: no such dataset or path, or an argument out of range.
        DataError: files that are missing, damaged or contradictory; see the readers.
    """
    if image_size is not None and min(image_size) < 1:
        raise UsageError(f"Image size {image_size} makes no sense: wanted a height and a width of at least 1.")
    if image_size is not None and math.prod(image_size) > MAX_PIXELS:
        raise UsageError(f"Image size {image_size} is too large: wanted at most {MAX_PIXELS:,} pixels.")
    if channels not in (None, 1, 3):
        raise UsageError(f"Images of {channels} channels are not supported: wanted 1 (grey) or 3 (RGB).")
    keeping = keeping or Keeping()
    found = find(data, data_dir=data_dir, root=root, pixel_shape=pixel_shape, tell=keeping.tell)
    if isinstance(found.content, Listing):
        form = Form(image_size or found.image_size, channels or 3)
        parts = ingest(found.content, form, keeping, bad_images)
    else:
        parts = _fit(found.content, image_size, channels)
    return Whole(found.name, parts, found.mirror)


def divide(whole: Whole, seed: int, validation_fraction: float) -> Dataset:
    """The second half of `load`: the splits that the source does not bring.

    Raises:
        UsageError: an argument out of range.
        DataError: no training samples, or too few of a class to cut a split off.
    """
    if not len(whole.parts.train):
        raise DataError(
            f"{whole.name!r} holds no training samples: wanted some for train, in a table or a folder of that name, "
            "or called so in a column split."
        )
    if seed < 0:
        raise UsageError(f"Seed {seed} makes no sense: wanted 0 or more.")
    if not 0 <= validation_fraction < 1:
        raise UsageError(f"Validation fraction {validation_fraction} makes no sense: wanted 0 up to below 1.")
    train, validation, test = _complete(whole.parts, seed, validation_fraction)
    names, skipped, remarks = whole.parts.class_names, whole.parts.skipped, whole.parts.remarks
    return Dataset(whole.name, names, train, validation, test, whole.mirror, skipped, remarks)


def _fit(parts: Parts, image_size: tuple[int, int] | None, channels: int | None) -> Parts:
    def fit(split: Split) -> Split:
        images_nhwc = to_channels(np.asarray(split.images), channels or split.images.shape[3])
        return Split(resize(images_nhwc, image_size or images_nhwc.shape[1:3]), split.labels, split.ids)

    validation, test = (split and fit(split) for split in (parts.validation, parts.test))
    return Parts(parts.class_names, fit(parts.train), validation, test)


def _complete(parts: Parts, seed: int, validation_fraction: float) -> tuple[Split, Split, Split]:
    train, validation, test = parts.train, parts.validation, parts.test
    after = ""
    if test is None:
        train, test = cut(train, TEST_FRACTION, TEST_SEED, parts.class_names, "test")
        after = f", after {TEST_FRACTION:.0%} went to test"
    if validation is None:
        train, validation = cut(train, validation_fraction, seed, parts.class_names, f"validation{after}")
    return train, validation, test
