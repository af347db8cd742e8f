"""Measure every image in one pass: each is decoded once and reduced to some four hundred bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

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
_ANGLES = np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_FREQUENCIES)[:, np.newaxis] / (2 * _SIDE)
_COSINES = (np.cos(_ANGLES) * np.sqrt(2 / _SIDE)).astype(np.float32)  # the first rows of the orthonormal DCT-II
_KINDS = {"unknown": "not-an-image", "too large": "too-large"}
_SUFFIXES = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp", ".gif": "gif", ".tif": "tiff",
    ".tiff": "tiff",
}  # fmt: skip


_VALUES = np.dtype([
    ("is_good", np.bool_),  # whether the image could be decoded
    ("digest", "V16"),  # of shape and pixels
    ("size", np.int32, 2),  # height and width
    ("deviation", np.float32),  # the largest standard deviation of a channel, in levels
    ("sharpness", np.float32),  # variance of the Laplacian, as a multiple of the image's own variance
    ("bright", np.uint8),  # the level that 2 % of the image is brighter than
    ("hash", np.uint64),  # a perceptual hash: signs of 63 low frequencies of the luma, brightness left out
    ("luma", np.uint8, _LUMA_SIDE**2),  # 16 by 16
    ("chroma", np.uint8, 2 * _CHROMA_SIDE**2),  # 4 by 4, red and blue less luma
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measures:
    """The measures of M images.

    Attributes:
        values: (M,), with the fields above; zeros for an image that cannot be decoded.
        faults: why an image cannot be decoded, kind and reason, by index.
        mislabeled: the formats of name and content, by index, where they differ.
    """

    values: NDArray[Any]
    faults: dict[int, tuple[str, str]] = field(default_factory=dict)
    mislabeled: dict[int, str] = field(default_factory=dict)


def measure(listing: Listing, progress: Progress) -> Measures:
    """Decode and measure every image, in threads."""
    num_images = len(listing)
    measures = Measures(np.zeros(num_images, dtype=_VALUES))

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
    """Decode one image: uint8, (H, W, 1 or 3)."""
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
        measures.mislabeled[index] = f"named {named.upper()}, contains {str(content).upper()}"
    return image_hwc


def _measure(image_hwc: NDArray[np.uint8], index: int, measures: Measures) -> NDArray[np.uint8]:
    """Record the numbers of one image and return its thumbnail, uint8, (32, 32, 3 or 1)."""
    height, width = image_hwc.shape[:2]
    digest = hashlib.blake2b(np.array(image_hwc.shape, dtype="<i8").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(image_hwc).data)
    values = measures.values[index]  # a view
    values["digest"] = np.void(digest.digest())
    values["size"] = height, width
    values["is_good"] = True
    seen_hwc, shrink = image_hwc, LARGEST / max(height, width)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        seen_hwc = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA)
    is_gray = image_hwc.shape[2] == 1
    gray_hw = seen_hwc.reshape(seen_hwc.shape[:2]) if is_gray else cv2.cvtColor(seen_hwc, cv2.COLOR_RGB2GRAY)
    values["deviation"] = cv2.meanStdDev(seen_hwc)[1].max()
    contrast = cv2.meanStdDev(gray_hw)[1].item()
    edges = cv2.meanStdDev(cv2.Laplacian(gray_hw, cv2.CV_16S))[1].item()
    values["sharpness"] = (edges / contrast) ** 2 if contrast else 0.0
    thumbnail = cv2.resize(seen_hwc, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(thumbnail.reshape(_SIDE, _SIDE, -1), dtype=np.uint8)


def _describe(thumbnails_nhwc: NDArray[np.uint8], chunk: slice, measures: Measures) -> None:
    """Reduce a chunk of thumbnails to hashes and to small pictures of luma and chroma."""
    rgb_nhwc = thumbnails_nhwc.astype(np.float32)
    luma_nhw = rgb_nhwc @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    waves_nuv = _COSINES @ luma_nhw @ _COSINES.T
    signs_nb = waves_nuv.reshape(len(luma_nhw), -1) > 0
    signs_nb[:, 0] = False  # the mean
    values = measures.values[chunk]  # a view
    values["hash"] = np.packbits(signs_nb, axis=1).view(">u8")[:, 0]
    luma_nc = _averaged(luma_nhw, _LUMA_SIDE)
    values["luma"] = np.rint(luma_nc)
    values["bright"] = np.partition(values["luma"], _BRIGHT, axis=1)[:, _BRIGHT]
    chroma = [_averaged(rgb_nhwc[..., channel] - luma_nhw, _CHROMA_SIDE) for channel in (0, 2)]  # at most ±227
    values["chroma"] = np.rint(np.concatenate(chroma, axis=1) / 2 + 128)


def _averaged(plane_nhw: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    across = plane_nhw.shape[1] // side
    cells = plane_nhw.reshape(len(plane_nhw), side, across, side, across).mean(axis=(2, 4))
    return np.asarray(cells.reshape(len(plane_nhw), -1), dtype=np.float32)
