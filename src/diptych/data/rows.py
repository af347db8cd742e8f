"""Rows: decoded images of one size, kept in the cache or decoded whenever they are asked for.

What is kept has a key that follows from the files' content and from what is done to it, never from a time or a path:
which images cannot be decoded, what the others add up to, and their pixels, one uint8 array that is mapped into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.artifacts.store import atomic_write, read_npz, settle, sha256_of, staging, write_npz
from diptych.data.decode import VERSION, decode
from diptych.data.listing import Encoded
from diptych.data.opencv import cv2
from diptych.data.prefetch import each, num_threads
from diptych.data.preprocess import RESIZING, resize
from diptych.errors import ArtifactError, DataError

Caching: TypeAlias = Literal["auto", "always", "never"]
Tell: TypeAlias = Callable[[str, int, int], None]
CACHE_BYTES = 4 * 2**30


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
        caching: whether pixels are kept: those of at most CACHE_BYTES and half of the free space, all, or none.
        folder: where what is kept lies.
        tell: told of what is being done, of how many images are done, and of how many there are.
    """

    caching: Caching = "auto"
    folder: Path = field(default_factory=lambda: cache_dir() / "pixels")
    tell: Tell = quiet


def cache_dir() -> Path:
    """Where diptych keeps what it can make again: DIPTYCH_CACHE, or else `~/.cache/diptych`."""
    return Path(os.environ.get("DIPTYCH_CACHE") or "~/.cache/diptych").expanduser()


@dataclass(frozen=True, eq=False)
class Scan:
    """What came of decoding every image once.

    Attributes:
        digests: uint8, (M, 32), SHA-256 of each image's file; zeros for one that cannot be read.
        faults: (M,), why an image cannot be decoded; empty where it can.
        moments: int64, (M, 2, C), sum of each channel's levels, and of their squares.
    """

    digests: NDArray[np.uint8]
    faults: NDArray[np.str_]
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

    encoded: Encoded
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
            try:
                images_nhwc[target] = self.form.load(self.encoded.read(int(places[target])))
            except DataError as error:
                raise DataError(
                    f"An image that could be decoded at the start cannot be now: {_fault(error)} "
                    "Did its file change? Start again; what is there is looked over first."
                ) from error

        each(one, len(places), num_at_once=-(-len(places) // (4 * num_threads())))
        return images_nhwc


def rows(encoded: Encoded, num_images: int, form: Form, keeping: Keeping) -> tuple[Cached | Streamed, NDArray[np.str_]]:
    """Every image as a row, and why those that cannot be decoded are blank.

    Raises:
        ArtifactError: the cache cannot be written.
    """
    digests = _digests(encoded, num_images, keeping.tell)
    key = _key(digests, form)
    scan_path, pixels_path = keeping.folder / f"{key}.npz", keeping.folder / f"{key}.npy"
    scan = _kept_scan(scan_path, digests)
    if _is_cached(keeping, (num_images, *form.image_size, form.channels)):
        if scan is None or not _is_whole(pixels_path):
            scan = _fill(pixels_path, encoded, digests, form, keeping.tell)
            _keep_scan(scan_path, scan)
        pixels = np.load(pixels_path, mmap_mode="r")
        return Cached(pixels, digests, scan.moments), scan.faults
    if scan is None:
        scan = _scan(encoded, digests, form, keeping.tell, None)
        _keep_scan(scan_path, scan)
    return Streamed(encoded, form, digests, scan.moments), scan.faults


def _digests(encoded: Encoded, num_images: int, tell: Tell) -> NDArray[np.uint8]:
    digests = np.zeros((num_images, 32), dtype=np.uint8)

    def one(place: int) -> None:
        try:
            digest = hashlib.sha256(encoded.read(place)).digest()
        except DataError:
            return  # the scan tells why
        digests[place] = np.frombuffer(digest, dtype=np.uint8)

    each(one, num_images, lambda done: tell("Reading", done, num_images))
    return digests


def _key(digests: NDArray[np.uint8], form: Form) -> str:
    made = json.dumps({"decoder": VERSION, "size": form.image_size, "channels": form.channels, "resizing": RESIZING})
    return hashlib.sha256(made.encode() + digests.tobytes()).hexdigest()[:32]


def _scan(
    encoded: Encoded, digests: NDArray[np.uint8], form: Form, tell: Tell, pixels: NDArray[np.uint8] | None
) -> Scan:
    """Decode every image once, into `pixels` where they are to be kept."""
    faults = [""] * len(digests)
    moments = np.zeros((len(digests), 2, form.channels), dtype=np.int64)

    def one(place: int) -> None:
        try:
            image_hwc = form.load(encoded.read(place))
        except DataError as error:
            faults[place] = _fault(error)
            return
        # Sums of whole numbers in float64, far below 2**53: exact.
        squares_hwc = cv2.multiply(image_hwc, image_hwc, dtype=cv2.CV_16U)
        moments[place] = [cv2.sumElems(levels)[: form.channels] for levels in (image_hwc, squares_hwc)]
        if pixels is not None:
            pixels[place] = image_hwc

    each(one, len(digests), lambda done: tell("Decoding", done, len(digests)))
    return Scan(digests, np.array(faults, dtype=np.str_), moments)


def _fault(error: DataError) -> str:
    """What is wrong with an image, without its name, which may be another next time."""
    return str(error).partition(": ")[2] or str(error)


def _is_cached(keeping: Keeping, shape: tuple[int, ...]) -> bool:
    if keeping.caching != "auto":
        return keeping.caching == "always"
    keeping.folder.mkdir(parents=True, exist_ok=True)
    return int(np.prod(shape)) <= min(CACHE_BYTES, shutil.disk_usage(keeping.folder).free // 2)


def _fill(path: Path, encoded: Encoded, digests: NDArray[np.uint8], form: Form, tell: Tell) -> Scan:
    shape = (len(digests), *form.image_size, form.channels)
    with staging(path.parent) as folder:
        pixels = np.lib.format.open_memmap(folder / path.name, mode="w+", dtype=np.uint8, shape=shape)
        scan = _scan(encoded, digests, form, tell, pixels)
        pixels.flush()
        del pixels
        digest = sha256_of(folder / path.name)
        settle(folder / path.name, path)
    with atomic_write(_digest_path(path)) as file:
        file.write(f"{digest}  {path.name}\n".encode())
    return scan


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether kept pixels are there and are those that were written: a damaged disk must not train a model."""
    digest = _digest_path(path)
    return path.is_file() and digest.is_file() and digest.read_text().split(" ")[0] == sha256_of(path)


def _kept_scan(path: Path, digests: NDArray[np.uint8]) -> Scan | None:
    try:
        arrays = read_npz(path)
        return Scan(digests, arrays["faults"], arrays["moments"])
    except (ArtifactError, KeyError):  # none yet, or a damaged one, which is made again
        return None


def _keep_scan(path: Path, scan: Scan) -> None:
    write_npz(path, {"faults": scan.faults, "moments": scan.moments})
