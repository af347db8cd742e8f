"""The findings of `data check`, and the measurements of every image that they need: about 400 bytes each."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.data.archives import Progress
from diptych.data.decode import decode, sniff
from diptych.data.preprocess import each
from diptych.data.readers import Listing
from diptych.errors import DataError, ImageError

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    """A kind of finding; an error makes training fail or its measurement wrong, a warning is a likely mistake."""

    severity: Severity
    title: str
    meaning: str


KINDS = {
    "unreadable": Kind("error", "Unreadable", "The file cannot be opened: a broken link, a folder, or no permission."),
    "empty": Kind("error", "Empty files", "The file has no content: copy or download it again."),
    "not-an-image": Kind("error", "Not an image", "The content is not an image, despite the file name."),
    "truncated": Kind("error", "Truncated", "The file is incomplete: copy or download it again."),
    "damaged": Kind("error", "Damaged", "The content violates the format or its checksums."),
    "too-large": Kind("error", "Over the pixel limit", "More pixels than DIPTYCH_MAX_PIXELS allows."),
    "unsupported": Kind("error", "Unsupported", "An unsupported variant of the format: convert the image."),
    "mislabeled": Kind("warning", "Wrong extension", "The content can be decoded but has another format."),
    "conflict": Kind("error", "One image, several labels", "Identical pixels, different labels: at most one is right."),
    "leakage": Kind("error", "Same image in several splits", "The splits share images, so results are too optimistic."),
    "duplicate": Kind("warning", "Duplicates", "Repeated images count more, and may end up in a held-out split."),
    "near-leakage": Kind("warning", "Near-duplicates across splits", "Re-encoded, resized or brightened copies."),
    "near-duplicate": Kind("warning", "Near-duplicates", "Re-encoded, resized or brightened copies in one split."),
    "empty-class": Kind("error", "Empty classes", "A class without an image that can be decoded."),
    "untrained-class": Kind("error", "Classes missing from training", "A class that is tested but not trained on."),
    "absent-class": Kind("warning", "Classes missing from a split", "A class without images in some split."),
    "tiny-class": Kind("warning", "Tiny classes", "A class with very few training images."),
    "imbalance": Kind("note", "Imbalanced classes", "Accuracy hides rare classes: use macro F1, or class weights."),
    "blank": Kind("warning", "Blank images", "One flat color."),
    "dark": Kind("note", "Dark images", "Nearly every pixel is close to black."),
    "blurry": Kind("note", "Blurry images", "Far less sharp than most."),
    "odd-size": Kind("note", "Odd sizes", "Far smaller or larger than most, or of another size than nearly all."),
    "odd-shape": Kind("note", "Odd shapes", "Far wider or taller than most; resizing distorts them."),
}
"""Every kind, in the order of a report."""
UNUSABLE = tuple(KINDS)[:7]
"""Kinds of files that cannot be decoded, which a quarantine moves: those of `ImageError`."""


@dataclass(frozen=True)
class Sample:
    """An image: its index among all, its split, its id (a number comes with its split), and its class."""

    place: int
    split: str
    name: str
    label: str


@dataclass(frozen=True)
class Finding:
    """A finding: one of KINDS, the details, and the images concerned, unless it is about a class or everything."""

    kind: str
    reason: str
    samples: tuple[Sample, ...] = ()

    @property
    def severity(self) -> Severity:
        """error, warning or note."""
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `findings.json`."""
        images = [asdict(sample) for sample in self.samples]
        return {"kind": self.kind, "severity": self.severity, "reason": self.reason, "images": images}


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
_BRIGHT = int(0.98 * _LUMA_SIDE**2)
_FORMATS = {"jpg": "jpeg", "tif": "tiff"} | {name: name for name in ("jpeg", "png", "webp", "bmp", "gif", "tiff")}

_VALUES = np.dtype([
    ("is_good", np.bool_),  # whether the image could be decoded
    ("digest", "V16"),  # of shape and pixels
    ("size", np.int32, 2),  # height and width
    ("deviation", np.float32),  # the largest standard deviation of a channel, in levels
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
        (edges / contrast) ** 2 if contrast else 0.0,
        np.partition(small_luma, _BRIGHT)[_BRIGHT],
        np.packbits(signs).view(">u8")[0],
        small_luma,
        np.rint(chroma.ravel() / 2 + 128),
    )


def _averaged(image: NDArray[Any], side: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
