"""Decoded images of one size: an array, or `StoredImages` that are larger than memory.

`store` keeps on disk, under a key of the files' content, the faults and sums found by decoding every image once, and,
if there is room, all pixels. Without these, images are decoded when they are read, if their files are unchanged.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.data import cache
from diptych.data.archives import Progress, quiet
from diptych.data.decode import OPTIONAL, VERSION, decode
from diptych.data.paths import folder_named_by
from diptych.data.preprocess import RESIZING, each, resize
from diptych.data.readers import Listing
from diptych.errors import ArtifactError, DataError
from diptych.options import Caching


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Some image files of a listing at one size: like an array, but they take no memory until they are read.

    Pickles small: the cached pixels as a path, streamed images as their listing and digests.
    """

    listing: Listing
    """M image files."""
    image_shape: tuple[int, int, int]
    file_digests: NDArray[np.uint8]
    """The SHA-256 of each file, (M, 32)."""
    file_moments: NDArray[np.int64]
    """The sum of each channel's levels, and of their squares, (M, 2, C)."""
    indices: NDArray[np.intp]
    """The file of each image, (N,)."""
    cached: cache.PixelCache | None = None
    """The cached pixels of all M files; None if images are decoded whenever they are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return (len(self.indices), *self.image_shape)

    @property
    def moments(self) -> NDArray[np.int64]:
        """int64, (N, 2, C), the sum of each channel's levels, and of their squares."""
        return self.file_moments[self.indices]

    @cached_property
    def _pixels(self) -> NDArray[np.uint8] | None:
        return self.cached.pixels() if self.cached else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_pixels"}

    def __len__(self) -> int:
        return len(self.indices)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, indices: Any, /) -> NDArray[np.uint8]:
        chosen = self.indices[indices]
        if self._pixels is not None:
            return np.asarray(self._pixels[chosen])
        files = chosen.reshape(-1).tolist()
        images_nhwc = np.empty((len(files), *self.image_shape), dtype=np.uint8)

        def one(target: int) -> None:
            images_nhwc[target] = _decode(self.listing, files[target], self.file_digests, self.image_shape)

        each(one, len(files))
        return images_nhwc.reshape(*chosen.shape, *self.image_shape)


Images: TypeAlias = NDArray[np.uint8] | StoredImages
"""uint8 images, (N, H, W, C), 0–255."""


def store(
    listing: Listing,
    image_shape: tuple[int, int, int],
    caching: Caching = "auto",
    folder: Path | None = None,
    progress: Progress = quiet,
) -> tuple[StoredImages, dict[int, str], tuple[str, ...]]:
    """Read and hash every file, and decode each once unless the results are cached in `folder`.

    Returns the images, why some cannot be decoded, by index, and why the results could not be cached.
    """
    digests = _hash_files(listing, progress)
    folder, shape = folder or folder_named_by("DIPTYCH_CACHE") / "pixels", (len(listing), *image_shape)
    cached = cache.PixelCache(folder, _cache_key(digests, image_shape))
    known, remarks = cached.scan(), tuple[str, ...]()
    scan = known and known[:2]
    try:
        has_pixels = known is not None and caching != "never" and cached.has_pixels(known[2])
        if not has_pixels and (cache.wants(caching, folder, math.prod(shape)) or not scan):
            has_pixels = cache.wants(caching, folder, math.prod(shape))
            with cached.writing(shape) if has_pixels else nullcontext() as pixels:
                scan = _decode_all(listing, digests, image_shape, progress, pixels)
            cached.write_scan(*scan, has_pixels=has_pixels)
    except ArtifactError as error:
        if caching == "always":
            raise
        has_pixels, remarks = False, (f"Decoded images are not cached: {error}",)
        if not scan:
            scan = _decode_all(listing, digests, image_shape, progress)
            with suppress(ArtifactError):  # there may be room for this
                cached.write_scan(*scan, has_pixels=False)
    assert scan  # cached, or made just now
    everything = np.arange(len(listing))
    stored = StoredImages(listing, image_shape, digests, scan[1], everything, cached if has_pixels else None)
    return stored, scan[0], remarks


def pick(images: Images, indices: NDArray[np.intp]) -> Images:
    """Return the images at some indices: a copy of an array's, a view of stored ones."""
    if isinstance(images, StoredImages):
        return replace(images, indices=images.indices[indices])
    return images[indices]


def _hash_files(listing: Listing, progress: Progress) -> NDArray[np.uint8]:
    """Return the SHA-256 of each file: uint8, (M, 32); zeros for one that cannot be read."""
    digests = np.zeros((len(listing), 32), dtype=np.uint8)

    def one(index: int) -> None:
        with suppress(DataError):  # `_decode_all` records why
            digests[index] = np.frombuffer(hashlib.sha256(listing.read(index)).digest(), dtype=np.uint8)

    each(one, len(listing), lambda done: progress("Reading", done, len(listing)))
    return digests


def _cache_key(digests: NDArray[np.uint8], image_shape: tuple[int, int, int]) -> str:
    height, width, channels = image_shape
    made = json.dumps(
        {"decoder": (VERSION, OPTIONAL), "size": (height, width), "channels": channels, "resizing": RESIZING}
    )
    return hashlib.sha256(made.encode() + digests.tobytes()).hexdigest()[:32]


def _decode_all(
    listing: Listing,
    digests: NDArray[np.uint8],
    image_shape: tuple[int, int, int],
    progress: Progress,
    pixels: NDArray[np.uint8] | None = None,
) -> tuple[dict[int, str], NDArray[np.int64]]:
    """Decode every image once, into `pixels` if given; return faults and moments."""
    faults: dict[int, str] = {}
    moments = np.zeros((len(digests), 2, image_shape[2]), dtype=np.int64)

    def one(index: int) -> None:
        try:
            image_hwc = _decode(listing, index, digests, image_shape)
        except _ChangedError:
            raise
        except DataError as error:
            # Without the image's name, which may differ in the next run.
            faults[index] = re.sub(r"^Cannot (read|decode) (['\"]).*\2: ", "", str(error))
            return
        # Sums of whole numbers in float64, far below 2**53: exact.
        squares_hwc = cv2.multiply(image_hwc, image_hwc, dtype=cv2.CV_16U)
        moments[index] = [cv2.sumElems(levels)[: image_shape[2]] for levels in (image_hwc, squares_hwc)]
        if pixels is not None:
            pixels[index] = image_hwc

    each(one, len(digests), lambda done: progress("Decoding", done, len(digests)))
    return dict(sorted(faults.items())), moments


class _ChangedError(DataError):
    """A file has changed since it was hashed."""


def _decode(
    listing: Listing, index: int, digests: NDArray[np.uint8], image_shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Decode a file whose digest must be the same; one that could not be read has zeros, and must fail again."""
    encoded = listing.read(index)
    if hashlib.sha256(encoded).digest() != digests[index].tobytes():
        raise _ChangedError(f"{listing.id_of(index)!r} changed while in use: restore it and try again.")
    return resize(decode(encoded, "", image_shape[2]), image_shape[:2])
