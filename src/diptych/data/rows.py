"""Rows: decoded images of one size, kept in the cache or decoded whenever they are asked for.

What is kept has a key that follows from the files' content and from what is done to it, never from a time or a path:
which images cannot be decoded, what the others add up to, and their pixels, one uint8 array that is mapped into memory.
Bytes are decoded only where they have the digest that the key was made of.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data import cache
from diptych.data.cache import Caching
from diptych.data.decode import VERSION, decode
from diptych.data.listing import Encoded
from diptych.data.opencv import cv2
from diptych.data.paths import USUAL, user_path
from diptych.data.prefetch import each, num_threads
from diptych.data.preprocess import RESIZING, resize
from diptych.errors import ArtifactError, DataError

Tell: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Form:
    """What becomes of every image: the (height, width) and the number of channels, 3 for RGB or 1 for grey."""

    image_size: tuple[int, int]
    channels: int

    def load(self, encoded: bytes) -> NDArray[np.uint8]:
        """Decode and resize one image.

        Raises:
            DataError: it cannot be decoded.
        """
        return resize(decode(encoded, "", self.channels), self.image_size)


def quiet(doing: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Keeping:
    """What is kept, and where.

    Attributes:
        caching: whether pixels are kept: see `cache.wants`.
        folder: where what is kept lies; `pixels` in `cache_dir` unless given.
        tell: told of what is being done, of how many images are done, and of how many there are.
    """

    caching: Caching = "auto"
    folder: Path | None = None
    tell: Tell = quiet


def cache_dir() -> Path:
    """Where diptych keeps what it can make again: DIPTYCH_CACHE, or else `~/.cache/diptych`.

    Raises:
        UsageError: DIPTYCH_CACHE can be no folder; see `paths.user_path`.
    """
    told = os.environ.get("DIPTYCH_CACHE")
    return user_path(told, "DIPTYCH_CACHE") if told else Path(USUAL).expanduser()


class Named(Encoded, Protocol):
    """Images as files keep them, each with a name."""

    def name(self, place: int) -> str:
        """What the image at a place is called."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What came of decoding every image once.

    Attributes:
        faults: why an image cannot be decoded, by its place.
        moments: int64, (M, 2, C), sum of each channel's levels, and of their squares.
    """

    faults: dict[int, str]
    moments: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cached:
    """Rows that lie in a file, mapped into memory."""

    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    moments: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, H, W, C)."""
        return self.pixels.shape

    def fetch(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The images at some places, (n, H, W, C)."""
        return np.asarray(self.pixels[places])


@dataclass(frozen=True, eq=False)
class Streamed:
    """Rows that are decoded whenever they are asked for."""

    files: Named
    form: Form
    digests: NDArray[np.uint8]
    moments: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, H, W, C)."""
        return (len(self.digests), *self.form.image_size, self.form.channels)

    def fetch(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The images at some places, (n, H, W, C)."""
        images_nhwc = np.empty((len(places), *self.shape[1:]), dtype=np.uint8)

        def one(target: int) -> None:
            place = int(places[target])
            images_nhwc[target] = self.form.load(unchanged(self.files, place, self.digests))

        each(one, len(places), num_at_once=-(-len(places) // (4 * num_threads())))
        return images_nhwc


@dataclass(frozen=True, eq=False)
class Found:
    """Every image as a row, why those that cannot be decoded are blank, and what there is to say of the cache."""

    rows: Cached | Streamed
    faults: dict[int, str]
    remark: str | None = None


def rows(files: Named, num_images: int, form: Form, keeping: Keeping) -> Found:
    """Every image as a row.

    Raises:
        DataError: a file changes while it is looked over.
        ArtifactError: pixels are to be kept always, and cannot be written.
    """
    digests = _digests(files, num_images, keeping.tell)
    folder = keeping.folder or cache_dir() / "pixels"
    kept = cache.Kept(folder, _key(digests, form))
    shape = (num_images, *form.image_size, form.channels)
    looked = kept.scan()
    if looked and keeping.caching != "never" and kept.has_pixels():
        return _cached(kept, Scan(*looked), digests)
    remark = None
    if cache.wants(keeping.caching, folder, math.prod(shape)):
        try:
            with kept.filling(shape) as pixels:
                scan = _scan(files, digests, form, keeping.tell, pixels)
            kept.keep_scan(scan.faults, scan.moments)
            return _cached(kept, scan, digests)
        except ArtifactError as error:
            if keeping.caching == "always":
                raise
            remark = f"Decoded images are not kept: {error}"
    scan = Scan(*looked) if looked else _scan(files, digests, form, keeping.tell, None)
    if not looked:
        try:
            kept.keep_scan(scan.faults, scan.moments)
        except ArtifactError as error:
            remark = remark or f"What was found of the images is not kept: {error}"
    return Found(Streamed(files, form, digests, scan.moments), scan.faults, remark)


def unchanged(files: Named, place: int, digests: NDArray[np.uint8]) -> bytes:
    """The bytes of an image, if they are still those that the data are known by.

    Raises:
        DataError: they cannot be read, or are others.
    """
    encoded = files.read(place)
    if hashlib.sha256(encoded).digest() != digests[place].tobytes():
        raise DataError(f"{files.name(place)!r} changed while it was in use: bring it back as it was, then try again.")
    return encoded


def _cached(kept: cache.Kept, scan: Scan, digests: NDArray[np.uint8]) -> Found:
    return Found(Cached(kept.pixels(), digests, scan.moments), scan.faults)


def _digests(files: Named, num_images: int, tell: Tell) -> NDArray[np.uint8]:
    """SHA-256 of each file: uint8, (M, 32); zeros for one that cannot be read."""
    digests = np.zeros((num_images, 32), dtype=np.uint8)

    def one(place: int) -> None:
        try:
            digest = hashlib.sha256(files.read(place)).digest()
        except DataError:
            return  # the scan tells why
        digests[place] = np.frombuffer(digest, dtype=np.uint8)

    each(one, num_images, lambda done: tell("Reading", done, num_images))
    return digests


def _key(digests: NDArray[np.uint8], form: Form) -> str:
    made = json.dumps({"decoder": VERSION, "size": form.image_size, "channels": form.channels, "resizing": RESIZING})
    return hashlib.sha256(made.encode() + digests.tobytes()).hexdigest()[:32]


def _scan(files: Named, digests: NDArray[np.uint8], form: Form, tell: Tell, pixels: NDArray[np.uint8] | None) -> Scan:
    """Decode every image once, into `pixels` where they are to be kept."""
    faults: dict[int, str] = {}
    moments = np.zeros((len(digests), 2, form.channels), dtype=np.int64)

    def one(place: int) -> None:
        if not digests[place].any():
            faults[place] = _why_unreadable(files, place)
            return
        encoded = unchanged(files, place, digests)
        try:
            image_hwc = form.load(encoded)
        except DataError as error:
            faults[place] = _reason(error)
            return
        # Sums of whole numbers in float64, far below 2**53: exact.
        squares_hwc = cv2.multiply(image_hwc, image_hwc, dtype=cv2.CV_16U)
        moments[place] = [cv2.sumElems(levels)[: form.channels] for levels in (image_hwc, squares_hwc)]
        if pixels is not None:
            pixels[place] = image_hwc

    each(one, len(digests), lambda done: tell("Decoding", done, len(digests)))
    return Scan(dict(sorted(faults.items())), moments)


def _why_unreadable(files: Named, place: int) -> str:
    try:
        files.read(place)
    except DataError as error:
        return _reason(error)
    raise DataError(f"{files.name(place)!r} changed while it was in use: bring it back as it was, then try again.")


def _reason(error: DataError) -> str:
    """What is wrong with an image, without its name, which may be another next time."""
    return re.sub(r"^Cannot (read|decode) (['\"]).*\2: ", "", str(error))
