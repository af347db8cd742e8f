"""What `data check` can find: every kind with its severity and meaning, and findings as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

from diptych.data.readers import Listing

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    """A kind of finding; an error makes training fail or its measurement wrong, a warning is a likely mistake."""

    key: str
    severity: Severity
    title: str
    meaning: str


KINDS = {
    kind.key: kind
    for kind in (
        Kind("unreadable", "error", "Unreadable",
             "The file cannot be opened: a broken link, a folder, or no permission."),
        Kind("empty", "error", "Empty files", "The file has no content: copy or download it again."),
        Kind("not-an-image", "error", "Not an image", "The content is not an image, despite the file name."),
        Kind("truncated", "error", "Truncated", "The file is incomplete: copy or download it again."),
        Kind("damaged", "error", "Damaged", "The content violates the format or its checksums."),
        Kind("too-large", "error", "Over the pixel limit", "More pixels than DIPTYCH_MAX_PIXELS allows."),
        Kind("unsupported", "error", "Unsupported", "An unsupported variant of the format: convert the image."),
        Kind("mislabeled", "warning", "Wrong suffix",
             "The content has another format than the file name says, but can be decoded."),
        Kind("conflict", "error", "One image, several labels",
             "Identical pixels with different labels: at most one label is right."),
        Kind("leakage", "error", "Same image in several splits",
             "Identical pixels in training and in evaluation, which makes results too good."),
        Kind("duplicate", "warning", "Duplicates",
             "Identical pixels several times in a split: they count more than others, and a test split "
             "held out from it may contain them too."),
        Kind("near-leakage", "warning", "Near-duplicates across splits",
             "Nearly identical images in several splits: re-encoded, resized or brightened."),
        Kind("near-duplicate", "warning", "Near-duplicates",
             "Nearly identical images in one split: re-encoded, resized or brightened."),
        Kind("empty-class", "error", "Empty classes", "A class without an image that can be decoded."),
        Kind("untrained-class", "error", "Classes missing from training", "A class that is tested but not trained on."),
        Kind("absent-class", "warning", "Classes missing from a split", "A class without images in some split."),
        Kind("tiny-class", "warning", "Tiny classes", "A class with too few images for training or evaluation."),
        Kind("imbalance", "note", "Imbalanced classes",
             "Accuracy hides the rare classes: look at macro F1, or weight the classes."),
        Kind("blank", "warning", "Blank images", "One flat color."),
        Kind("dark", "note", "Dark images", "Nearly every pixel is close to black."),
        Kind("blurry", "note", "Blurry images", "Far less sharp than the other images."),
        Kind("odd-size", "note", "Odd sizes",
             "Far smaller or larger than the other images, or the only ones of another size."),
        Kind("odd-shape", "note", "Odd shapes",
             "Far wider or taller than the other images; resizing distorts them."),
    )
}  # fmt: skip
"""Every kind, in the order of a report."""
UNUSABLE = tuple(KINDS)[:7]
"""Kinds of files that cannot be decoded, which a quarantine moves."""


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

    @classmethod
    def of(cls, listing: Listing, kind: str, reason: str, *indices: int) -> Self:
        """Build a finding about the images at some indices of a listing."""
        samples = []
        for index in indices:
            split, listed, within = listing.find(index)
            name = str(listed.ids[within])
            label = listing.class_names[int(listed.labels[within])]
            samples.append(Sample(index, split, f"{split} {name}" if name.isdecimal() else name, label))
        return cls(kind, reason, tuple(samples))

    @property
    def severity(self) -> Severity:
        """error, warning or note."""
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `findings.json`."""
        images = [asdict(sample) for sample in self.samples]
        return {"kind": self.kind, "severity": self.severity, "reason": self.reason, "images": images}
