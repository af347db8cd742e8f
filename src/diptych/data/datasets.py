"""The one door to data: a name or a folder in, three splits of uint8 images out."""

import difflib
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from diptych.data.named import DIGITS, NAMED, NamedDataset, read_named
from diptych.data.preprocess import resize, to_channels
from diptych.data.readers.folder import read_folder
from diptych.data.splits import Parts, Split, cut
from diptych.errors import UsageError

FOLDER_IMAGE_SIZE = (64, 64)
FOLDER_CHANNELS = 3
TEST_FRACTION = 0.2
TEST_SEED = 20_240_229  # a constant: every seed of an experiment must be tested on the same samples


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything a training needs to know of its data.

    Attributes:
        name: the named dataset, or the folder's own name.
        class_names: one for each label, in label order.
        train: samples to learn from.
        validation: samples to choose by; may be empty.
        test: samples to judge by.
        mirror: whether a mirrored image keeps its class.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mirror: bool

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
        """The SHA-256 of class names, and of each split's shape, labels and pixels, in hexadecimal."""
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
            digest.update(np.ascontiguousarray(split.images).data)
        return digest.hexdigest()


def names() -> list[NamedDataset]:
    """Return the datasets that have a name, smallest first."""
    return list(NAMED.values())


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
        data: a name out of `names()`, or a folder of class folders. A name wins; `./mnist` is a folder.
        data_dir: where named datasets are kept, each in a folder of its name. Unless given, the environment
            variable DIPTYCH_DATA, or else `~/.cache/diptych`.
        image_size: the (height, width) to bring images to. Unless given, a named dataset keeps its own
            and a folder's images become 64 by 64.
        channels: 3 for RGB, 1 for grey. Unless given, a named dataset keeps its own and a folder is RGB.
        seed: what chooses the validation samples, 0 or more.
        validation_fraction: the share for validation, in [0, 1). With 0 the validation split is empty.

    Returns:
        The dataset, wholly in memory.

    Raises:
        UsageError: no such dataset or folder, or an argument out of range.
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
) -> Whole:
    """The first half of `load`, which takes long: what no seed changes."""
    if image_size is not None and min(image_size) < 1:
        raise UsageError(f"Image size {image_size} makes no sense: wanted a height and a width of at least 1.")
    if channels not in (None, 1, 3):
        raise UsageError(f"Images of {channels} channels are not supported: wanted 1 (grey) or 3 (RGB).")
    folder = Path(data).expanduser()
    if data in NAMED:
        parts = _fit(read_named(NAMED[data], data_dir or _default_data_dir()), image_size, channels)
        return Whole(data, parts, NAMED[data].mirror)
    if folder.is_dir():
        parts = read_folder(folder, image_size or FOLDER_IMAGE_SIZE, channels or FOLDER_CHANNELS)
        return Whole(folder.resolve().name, parts, False)
    raise UsageError(_unknown(data))


def divide(whole: Whole, seed: int, validation_fraction: float) -> Dataset:
    """The second half of `load`: the splits that the source does not bring."""
    if seed < 0:
        raise UsageError(f"Seed {seed} makes no sense: wanted 0 or more.")
    if not 0 <= validation_fraction < 1:
        raise UsageError(f"Validation fraction {validation_fraction} makes no sense: wanted 0 up to below 1.")
    train, validation, test = _complete(whole.parts, seed, validation_fraction)
    return Dataset(whole.name, whole.parts.class_names, train, validation, test, whole.mirror)


def at_hand(data: str, data_dir: Path | None = None) -> bool:
    """Whether a dataset can be read without fetching anything."""
    if data not in NAMED:
        return Path(data).expanduser().is_dir()
    folder = (data_dir or _default_data_dir()) / data
    return NAMED[data] is DIGITS or (folder.is_dir() and any(folder.iterdir()))


def _default_data_dir() -> Path:
    return Path(os.environ.get("DIPTYCH_DATA") or "~/.cache/diptych").expanduser()


def _unknown(data: str) -> str:
    if Path(data).expanduser().exists():
        return f"{data!r} is no folder; wanted a folder of class folders or one of {', '.join(NAMED)}."
    close = difflib.get_close_matches(data.lower(), NAMED, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"No dataset or folder {data!r}: {hint}Known are {', '.join(NAMED)}, and any folder of class folders."


def _fit(parts: Parts, image_size: tuple[int, int] | None, channels: int | None) -> Parts:
    def fit(split: Split) -> Split:
        images_nhwc = to_channels(split.images, channels or split.images.shape[3])
        return Split(resize(images_nhwc, image_size or images_nhwc.shape[1:3]), split.labels)

    validation, test = (split and fit(split) for split in (parts.validation, parts.test))
    return Parts(parts.class_names, fit(parts.train), validation, test)


def _complete(parts: Parts, seed: int, validation_fraction: float) -> tuple[Split, Split, Split]:
    train, validation, test = parts.train, parts.validation, parts.test
    if test is None:
        train, test = cut(train, TEST_FRACTION, TEST_SEED, parts.class_names)
    if validation is None:
        train, validation = cut(train, validation_fraction, seed, parts.class_names)
    return train, validation, test
