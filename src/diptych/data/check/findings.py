"""What a check of data can find: every kind with its severity and its meaning, and findings as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong.

    Attributes:
        key: its name in JSON.
        severity: error, what a training would fail at or be judged wrongly by; warning, what likely is a mistake;
            note, what is worth a look.
        title: what to call it.
        meaning: what it is and what to do about it.
    """

    key: str
    severity: Severity
    title: str
    meaning: str


_FILES = (
    Kind("unreadable", "error", "Unreadable", "The system gives no bytes: a dangling link, a folder, no permission."),
    Kind("empty", "error", "Empty files", "Files of no bytes, as a broken copy or download leaves them."),
    Kind("not-an-image", "error", "Not an image", "The content is of no image format, whatever the name says."),
    Kind("truncated", "error", "Cut short", "The file ends before the image does: fetch or copy it again."),
    Kind("damaged", "error", "Damaged", "Bytes inside contradict the format or its checksums."),
    Kind("too-large", "error", "Over the pixel cap", "More pixels than are ever decoded (DIPTYCH_MAX_PIXELS)."),
    Kind("unsupported", "error", "Unsupported", "An image, but of a layout that is not read: save it in another."),
    Kind("mislabelled", "warning", "Wrong suffix", "The content is of another format than the name says; it decodes."),
)
_DUPLICATES = (
    Kind(
        "conflict",
        "error",
        "One image, several labels",
        "The very same pixels under different labels: at most one is right.",
    ),
    Kind(
        "leakage",
        "error",
        "Same image in several splits",
        "The very same pixels are learned from and judged by, which makes a measurement too good.",
    ),
    Kind(
        "duplicate",
        "warning",
        "Duplicates",
        "The very same pixels more than once in a split: they count more than others, and a test split that is "
        "cut off them shares them.",
    ),
    Kind(
        "near-leakage",
        "warning",
        "Near-duplicates across splits",
        "Almost the same picture in several splits: encoded again, resized, or brightened.",
    ),
    Kind(
        "near-duplicate",
        "warning",
        "Near-duplicates",
        "Almost the same picture more than once in a split: encoded again, resized, or brightened.",
    ),
)
_CLASSES = (
    Kind("empty-class", "error", "Empty classes", "A class without an image that can be decoded."),
    Kind("untrained-class", "error", "Classes that training lacks", "A class that is tested but cannot be learned."),
    Kind("absent-class", "warning", "Classes that a split lacks", "A class that a split cannot say anything about."),
    Kind("tiny-class", "warning", "Tiny classes", "A class with too few images to learn it or to measure it."),
    Kind(
        "imbalance", "note", "Imbalanced classes", "Accuracy hides the rare classes: look at macro F1, weigh classes."
    ),
)
_IMAGES = (
    Kind("blank", "warning", "Blank images", "One flat colour, without anything to see."),
    Kind("dark", "note", "Dark images", "Hardly anything is brighter than black."),
    Kind("blurry", "note", "Blurry images", "Far less sharp than the other images of this data."),
    Kind("odd-size", "note", "Odd sizes", "Far smaller or larger than the others, or of another size than all others."),
    Kind("odd-shape", "note", "Odd shapes", "Far flatter or taller than the others; resizing will distort them."),
)
KINDS = {kind.key: kind for kind in (*_FILES, *_DUPLICATES, *_CLASSES, *_IMAGES)}
"""Every kind, in the order in which they are told."""
UNUSABLE = tuple(kind.key for kind in _FILES if kind.severity == "error")
"""Kinds of files that cannot be decoded, which are what a quarantine takes."""


@dataclass(frozen=True)
class Sample:
    """One image of the data.

    Attributes:
        place: its number among all images, split after split.
        split: train, validation or test.
        name: what its source calls it: a path; a number with its split.
        label: its class.
    """

    place: int
    split: str
    name: str
    label: str

    def to_json(self) -> dict[str, Any]:
        """As `findings.json` has it."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Attributes:
        kind: one of KINDS.
        reason: what exactly, in a few words.
        samples: the images that it is about; none where it is about a class or about the whole.
    """

    kind: str
    reason: str
    samples: tuple[Sample, ...] = ()

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        """As `findings.json` has it."""
        images = [sample.to_json() for sample in self.samples]
        return {"kind": self.kind, "severity": self.severity, "reason": self.reason, "images": images}
