"""Measure every image in one pass: each is decoded once and reduced to some four hundred bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.data.decode import decode, sniff
from diptych.data.images import Progress
from diptych.data.preprocess import each
from diptych.data.readers import Listing
from diptych.errors import DataError, ImageError

LARGEST = 256
"""Pixels on the longer side at which sharpness and flatness are measured: what a model can see of an image."""
_CHUNK = 64
_SIDE, _LUMA_SIDE, _CHROMA_SIDE, _FREQUENCIES = 32, 16, 4, 8
_BRIGHT = int(0.98 * _LUMA_SIDE**2)
_KINDS = {"unknown": "not-an-image", "too large": "too-large"}
_FORMATS = {
    "jpeg": (".jpg", ".jpeg"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "gif": (".gif",),
    "tiff": (".tif", ".tiff"),
}
_SUFFIXES = {suffix: name for name, suffixes in _FORMATS.items() for suffix in suffixes}


@dataclass(frozen=True, eq=False)
class Measures:
    """Numbers of every image; zeros for one that cannot be decoded.

    Attributes:
        faults: why an image cannot be decoded, kind and reason, by index.
        mislabelled: the formats of name and content, by index, where they differ.
        is_good_m: bool, (M,), whether an image could be decoded.
        digests_m: 16 bytes each, (M,), of shape and pixels.
        sizes_m: int32, (M, 2), height and width.
        deviations_m: float32, (M,), the largest standard deviation of a channel, in levels.
        sharpness_m: float32, (M,), variance of the Laplacian, as a multiple of the image's own variance.
        bright_m: uint8, (M,), the level that 2 % of the image is brighter than.
        hashes_m: uint64, (M,), a perceptual hash: signs of 63 low frequencies of the luma, brightness left out.
        luma_m: uint8, (M, 256), 16 by 16.
        chroma_m: uint8, (M, 32), 4 by 4, red and blue less luma.
    """

    faults: dict[int, tuple[str, str]]
    mislabelled: dict[int, str]
    is_good_m: NDArray[np.bool_]
    digests_m: NDArray[np.void]
    sizes_m: NDArray[np.int32]
    deviations_m: NDArray[np.float32]
    sharpness_m: NDArray[np.float32]
    bright_m: NDArray[np.uint8]
    hashes_m: NDArray[np.uint64]
    luma_m: NDArray[np.uint8]
    chroma_m: NDArray[np.uint8]


def measure(listing: Listing, progress: Progress) -> Measures:
    """Decode and measure every image, in threads."""
    num_images = len(listing)
    measures = Measures(
        faults={},
        mislabelled={},
        is_good_m=np.zeros(num_images, dtype=np.bool_),
        digests_m=np.zeros(num_images, dtype="V16"),
        sizes_m=np.zeros((num_images, 2), dtype=np.int32),
        deviations_m=np.zeros(num_images, dtype=np.float32),
        sharpness_m=np.zeros(num_images, dtype=np.float32),
        bright_m=np.zeros(num_images, dtype=np.uint8),
        hashes_m=np.zeros(num_images, dtype=np.uint64),
        luma_m=np.zeros((num_images, _LUMA_SIDE**2), dtype=np.uint8),
        chroma_m=np.zeros((num_images, 2 * _CHROMA_SIDE**2), dtype=np.uint8),
    )

    def chunk(number: int) -> None:
        first = number * _CHUNK
        last = min(first + _CHUNK, num_images)
        thumbnails_nhwc = np.zeros((last - first, _SIDE, _SIDE, 3), dtype=np.uint8)
        for index in range(first, last):
            image_hwc = _decode(listing, index, measures)
            if image_hwc is not None:
                thumbnails_nhwc[index - first] = _measure(image_hwc, index, measures)
        _describe(thumbnails_nhwc, slice(first, last), measures)

    def report(num_chunks: int) -> None:
        progress("Checking", min(num_chunks * _CHUNK, num_images), num_images)

    each(chunk, -(-num_images // _CHUNK), report, num_at_once=1)
    return measures


def load(listing: Listing, index: int) -> NDArray[np.uint8]:
    """Decode one image: uint8, (H, W, 1 or 3).

    Raises:
        DataError: it cannot be decoded.
    """
    if listing.has_files:
        return decode(listing.read(index), "")
    _, split, within = listing.find(index)
    return np.asarray(split.images[within])  # type: ignore[index]


def _decode(listing: Listing, index: int, measures: Measures) -> NDArray[np.uint8] | None:
    """Decode one image, or record its fault."""
    if not listing.has_files:
        return load(listing, index)
    try:
        encoded = listing.read(index)
        image_hwc = decode(encoded, "")
    except DataError as error:
        kind = error.kind if isinstance(error, ImageError) else "unreadable"
        measures.faults[index] = (_KINDS.get(kind, kind), str(error).partition(": ")[2] or str(error))
        return None
    named = _SUFFIXES.get(PurePosixPath(listing.id_of(index)).suffix.lower())
    content = sniff(encoded)
    if named and named != content:
        measures.mislabelled[index] = f"named {named.upper()}, holds {str(content).upper()}"
    return image_hwc


def _measure(image_hwc: NDArray[np.uint8], index: int, measures: Measures) -> NDArray[np.uint8]:
    """Record the numbers of one image and return its thumbnail, uint8, (32, 32, 3 or 1)."""
    height, width = image_hwc.shape[:2]
    digest = hashlib.blake2b(np.array(image_hwc.shape, dtype="<i8").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(image_hwc).data)
    measures.digests_m[index] = np.void(digest.digest())
    measures.sizes_m[index] = height, width
    measures.is_good_m[index] = True
    seen_hwc, shrink = image_hwc, LARGEST / max(height, width)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        seen_hwc = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA)
    is_grey = image_hwc.shape[2] == 1
    grey_hw = seen_hwc.reshape(seen_hwc.shape[:2]) if is_grey else cv2.cvtColor(seen_hwc, cv2.COLOR_RGB2GRAY)
    measures.deviations_m[index] = cv2.meanStdDev(seen_hwc)[1].max()
    contrast = cv2.meanStdDev(grey_hw)[1].item()
    edges = cv2.meanStdDev(cv2.Laplacian(grey_hw, cv2.CV_16S))[1].item()
    measures.sharpness_m[index] = (edges / contrast) ** 2 if contrast else 0.0
    thumbnail = cv2.resize(seen_hwc, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(thumbnail.reshape(_SIDE, _SIDE, -1), dtype=np.uint8)


def _describe(thumbnails_nhwc: NDArray[np.uint8], chunk: slice, measures: Measures) -> None:
    """Reduce a chunk of thumbnails to hashes and to small pictures of luma and chroma."""
    rgb_nhwc = thumbnails_nhwc.astype(np.float32)
    luma_nhw = rgb_nhwc @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    waves_nuv = _COSINES @ luma_nhw @ _COSINES.T
    signs_nb = waves_nuv.reshape(len(luma_nhw), -1) > 0
    signs_nb[:, 0] = False  # the mean
    measures.hashes_m[chunk] = np.packbits(signs_nb, axis=1).view(">u8")[:, 0]
    luma_nc = _averaged(luma_nhw, _LUMA_SIDE)
    measures.luma_m[chunk] = np.rint(luma_nc)
    measures.bright_m[chunk] = np.partition(measures.luma_m[chunk], _BRIGHT, axis=1)[:, _BRIGHT]
    chroma = [_averaged(rgb_nhwc[..., channel] - luma_nhw, _CHROMA_SIDE) for channel in (0, 2)]  # at most ±227
    measures.chroma_m[chunk] = np.rint(np.concatenate(chroma, axis=1) / 2 + 128)


def _averaged(plane_nhw: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    across = plane_nhw.shape[1] // side
    cells = plane_nhw.reshape(len(plane_nhw), side, across, side, across).mean(axis=(2, 4))
    return np.asarray(cells.reshape(len(plane_nhw), -1), dtype=np.float32)


def _cosines() -> NDArray[np.float32]:
    """Return the first rows of the orthonormal DCT-II, (8, 32)."""
    angles = np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_FREQUENCIES)[:, np.newaxis] / (2 * _SIDE)
    return np.asarray(np.cos(angles) * np.sqrt(2 / _SIDE), dtype=np.float32)


_COSINES = _cosines()
