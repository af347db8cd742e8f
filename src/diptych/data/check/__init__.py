"""What `data check` can find: every kind with its severity and meaning, and findings as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from diptych.data.readers import Listing

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
    "leakage": Kind("error", "Same image in several splits", "The splits share images, so results are too good."),
    "duplicate": Kind(
        "warning", "Duplicates", "Repeated in a split: they count more, and a held-out test split may share them."
    ),
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
