"""The one pass over all images: each is decoded once, and leaves some four hundred bytes of numbers behind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.data.check.subject import Subject
from diptych.data.decode import decode, sniff
from diptych.data.images import Progress as Tell
from diptych.data.preprocess import each
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
    """What is kept of every image; zeros for one that cannot be decoded.

    Attributes:
        faults: why an image cannot be decoded, kind and reason, by place.
        mislabelled: what the name and the content say, by place, where they differ.
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


def measured(subject: Subject, tell: Tell) -> Measures:
    """Decode and measure every image, in threads.

    Args:
        subject: the images.
        tell: told of what is being done, of how many images are done, and of how many there are.
    """
    num_images = len(subject)
    found = Measures(
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
        for place in range(first, last):
            image_hwc = _image(subject, place, found)
            if image_hwc is not None:
                thumbnails_nhwc[place - first] = _measure(image_hwc, place, found)
        _describe(thumbnails_nhwc, slice(first, last), found)

    def told(num_chunks: int) -> None:
        tell("Checking", min(num_chunks * _CHUNK, num_images), num_images)

    each(chunk, -(-num_images // _CHUNK), told, num_at_once=1)
    return found


def load(subject: Subject, place: int) -> NDArray[np.uint8]:
    """The image at a place, decoded again: uint8, (H, W, 1 or 3).

    Raises:
        DataError: it cannot be decoded.
    """
    source = subject.encoded(place)
    return subject.pixels(place) if source is None else decode(source[0].read(source[1]), "")


def _image(subject: Subject, place: int, found: Measures) -> NDArray[np.uint8] | None:
    """The image at a place, or None and a fault."""
    source = subject.encoded(place)
    if source is None:
        return subject.pixels(place)
    try:
        encoded = source[0].read(source[1])
        image_hwc = decode(encoded, "")
    except DataError as error:
        kind = error.kind if isinstance(error, ImageError) else "unreadable"
        found.faults[place] = (_KINDS.get(kind, kind), str(error).partition(": ")[2] or str(error))
        return None
    split, within = subject.find(place)
    said = _SUFFIXES.get(PurePosixPath(str(split.ids[within])).suffix.lower())
    is_really = sniff(encoded)
    if said and said != is_really:
        found.mislabelled[place] = f"named {said.upper()}, holds {str(is_really).upper()}"
    return image_hwc


def _measure(image_hwc: NDArray[np.uint8], place: int, found: Measures) -> NDArray[np.uint8]:
    """Note down what one image tells; its thumbnail, uint8, (32, 32, 3 or 1)."""
    height, width = image_hwc.shape[:2]
    digest = hashlib.blake2b(np.array(image_hwc.shape, dtype="<i8").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(image_hwc).data)
    found.digests_m[place] = np.void(digest.digest())
    found.sizes_m[place] = height, width
    found.is_good_m[place] = True
    seen_hwc, shrink = image_hwc, LARGEST / max(height, width)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        seen_hwc = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA)
    is_grey = image_hwc.shape[2] == 1
    grey_hw = seen_hwc.reshape(seen_hwc.shape[:2]) if is_grey else cv2.cvtColor(seen_hwc, cv2.COLOR_RGB2GRAY)
    found.deviations_m[place] = cv2.meanStdDev(seen_hwc)[1].max()
    contrast = cv2.meanStdDev(grey_hw)[1].item()
    edges = cv2.meanStdDev(cv2.Laplacian(grey_hw, cv2.CV_16S))[1].item()
    found.sharpness_m[place] = (edges / contrast) ** 2 if contrast else 0.0
    thumbnail = cv2.resize(seen_hwc, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(thumbnail.reshape(_SIDE, _SIDE, -1), dtype=np.uint8)


def _describe(thumbnails_nhwc: NDArray[np.uint8], places: slice, found: Measures) -> None:
    """Bring a chunk of thumbnails down to hashes and to small pictures of luma and chroma."""
    rgb_nhwc = thumbnails_nhwc.astype(np.float32)
    luma_nhw = rgb_nhwc @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    waves_nuv = _COSINES @ luma_nhw @ _COSINES.T
    signs_nb = waves_nuv.reshape(len(luma_nhw), -1) > 0
    signs_nb[:, 0] = False  # the mean
    found.hashes_m[places] = np.packbits(signs_nb, axis=1).view(">u8")[:, 0]
    luma_nc = _averaged(luma_nhw, _LUMA_SIDE)
    found.luma_m[places] = np.rint(luma_nc)
    found.bright_m[places] = np.partition(found.luma_m[places], _BRIGHT, axis=1)[:, _BRIGHT]
    chroma = [_averaged(rgb_nhwc[..., channel] - luma_nhw, _CHROMA_SIDE) for channel in (0, 2)]  # at most ±227
    found.chroma_m[places] = np.rint(np.concatenate(chroma, axis=1) / 2 + 128)


def _averaged(plane_nhw: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    across = plane_nhw.shape[1] // side
    cells = plane_nhw.reshape(len(plane_nhw), side, across, side, across).mean(axis=(2, 4))
    return np.asarray(cells.reshape(len(plane_nhw), -1), dtype=np.float32)


def _cosines() -> NDArray[np.float32]:
    """The first rows of the orthonormal DCT-II, (8, 32)."""
    angles = np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_FREQUENCIES)[:, np.newaxis] / (2 * _SIDE)
    return np.asarray(np.cos(angles) * np.sqrt(2 / _SIDE), dtype=np.float32)


_COSINES = _cosines()
