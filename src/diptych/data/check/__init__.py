"""The findings of `data check`, and the measurements of every image that they need: about 400 bytes each."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.data.archives import Progress
from diptych.data.decode import decode
from diptych.data.preprocess import each
from diptych.data.readers import Listing
from diptych.data.rules import Sample
from diptych.data.signatures import FORMATS, SUFFIXES, sniff
from diptych.errors import DataError, ImageError


def samples_at(listing: Listing, *indices: int) -> tuple[Sample, ...]:
    """Return the images at some indices of a listing."""
    samples = []
    for index in indices:
        split, listed, within = listing.find(index)
        name = str(listed.ids[within])
        label = listing.class_names[int(listed.labels[within])]
        samples.append(Sample(index, split, f"{split} {name}" if name.isdecimal() else name, label))
    return tuple(samples)


LARGEST = 256
"""Pixels on the longer side at which sharpness and flatness are measured: what a model can see of an image."""
_SIDE, _LUMA_SIDE, _CHROMA_SIDE, _FREQUENCIES = 32, 16, 4, 8
_MOST_PIXELS, _DIGITS = 64, (2**16, 2**8, 1)
_BRIGHT = int(0.98 * _LUMA_SIDE**2)
_FORMATS = {suffix[1:]: suffix[1:] for suffix in SUFFIXES} | FORMATS

_VALUES = np.dtype([
    ("is_good", np.bool_),  # whether the image could be decoded
    ("digest", "V16"),  # of shape and pixels
    ("size", np.int32, 2),  # height and width
    ("deviation", np.float32),  # the largest standard deviation of a channel, in levels
    ("colors", np.uint16),  # different ones among up to 64 × 64 of its pixels
    ("tones", np.uint16),  # different colors of five bits a channel
    ("plain", np.float32),  # the share of the most frequent tone
    ("sharpness", np.float32),  # variance of the Laplacian, as a multiple of the image's own variance
    ("bright", np.uint8),  # the level that 2 % of the image is brighter than
    ("hash", np.uint64),  # a perceptual hash: signs of 63 low frequencies of the luma, brightness left out
    ("luma", np.uint8, (_LUMA_SIDE**2,)),
    ("chroma", np.uint8, (2 * _CHROMA_SIDE**2,)),  # red and blue less luma
])  # fmt: skip
Measures = NDArray[Any]
"""One row of these values for each image, zeros for one that cannot be decoded."""


def measure(listing: Listing, progress: Progress) -> tuple[Measures, dict[int, tuple[str, str]]]:
    """Decode and measure every image, in threads; return also the kind and details of faults, by index."""
    values, faults = np.zeros(len(listing), dtype=_VALUES), dict[int, tuple[str, str]]()

    def one(index: int) -> None:
        try:
            values[index] = _measured(load(listing, index, faults))
        except DataError as error:
            kind = error.kind if isinstance(error, ImageError) else "unreadable"
            reason = str(error).partition(": ")[2] or str(error)
            faults[index] = (kind, reason.rstrip("."))

    each(one, len(listing), lambda done: progress("Checking", done, len(listing)))
    return values, dict(sorted(faults.items()))


def load(listing: Listing, index: int, faults: dict[int, tuple[str, str]] | None = None) -> NDArray[np.uint8]:
    """Decode one image: uint8, (H, W, 1 or 3); add a misleading file name to `faults`."""
    if not listing.has_files:
        _, split, within = listing.find(index)
        return np.asarray(split.images[within])  # type: ignore[index]
    encoded = listing.read(index)
    image_hwc = decode(encoded, "")
    content, suffix = sniff(encoded), PurePosixPath(listing.id_of(index)).suffix
    named = _FORMATS.get(suffix.lower().removeprefix("."), content)
    if faults is not None and named != content:
        faults[index] = ("mislabeled", f"named {str(named).upper()}, contains {str(content).upper()}")
    return image_hwc


def _measured(image_hwc: NDArray[np.uint8]) -> tuple[Any, ...]:
    """Return the values of one image."""
    height, width = image_hwc.shape[:2]
    digest = hashlib.blake2b(str(image_hwc.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image_hwc).data)
    shrink = min(1, LARGEST / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    seen = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA)
    seen_hw3 = cv2.cvtColor(seen, cv2.COLOR_GRAY2RGB) if seen.ndim == 2 else seen
    gray_hw = cv2.cvtColor(seen_hw3, cv2.COLOR_RGB2GRAY)
    contrast = cv2.meanStdDev(gray_hw)[1].item()
    edges = cv2.meanStdDev(cv2.Laplacian(gray_hw, cv2.CV_16S))[1].item()

    step = -(-max(height, width) // _MOST_PIXELS)
    colors_n = image_hwc[::step, ::step].reshape(-1, image_hwc.shape[2]) @ np.array(_DIGITS[-image_hwc.shape[2] :])
    colors, (_, counts) = np.unique(colors_n), np.unique(colors_n & 0xF8F8F8, return_counts=True)
    thumbnail = _averaged(seen_hw3, _SIDE).astype(np.float32)
    luma = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)
    signs = cv2.dct(luma)[:_FREQUENCIES, :_FREQUENCIES].ravel() > 0
    signs[0] = False  # the mean
    small_luma = np.rint(_averaged(luma, _LUMA_SIDE).ravel())
    red_and_blue = _averaged(thumbnail, _CHROMA_SIDE)[..., ::2]
    chroma = red_and_blue - _averaged(luma, _CHROMA_SIDE)[..., np.newaxis]  # at most ±227
    return (
        True,
        digest.digest(),
        (height, width),
        cv2.meanStdDev(seen)[1].max(),
        len(colors),
        len(counts),
        counts.max() / counts.sum(),
        (edges / contrast) ** 2 if contrast else 0.0,
        np.partition(small_luma, _BRIGHT)[_BRIGHT],
        np.packbits(signs).view(">u8")[0],
        small_luma,
        np.rint(chroma.ravel() / 2 + 128),
    )


def _averaged(image: NDArray[Any], side: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
